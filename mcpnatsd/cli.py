"""The command line: verbs, one call each.

On the shim's way, so each verb imports its own room, and only when it is the one that was asked
for.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from mcpnatsd.errors import McpnatsdError, UsageError

if TYPE_CHECKING:
    from mcpnatsd.config.settings import ClientSettings

DEFAULT_CONFIG: Final = Path("/etc/mcpnatsd.yaml")
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells say
BROKEN_PIPE: Final = 141  # 128 + SIGPIPE
IO_ERROR: Final = 74  # EX_IOERR

_EXAMPLES: Final = """\
examples:
  mcpnatsd run --config mcpnatsd.yaml        serve what the file lists
  mcpnatsd list                              what is on the bus
  mcpnatsd info time                         its tools, and what they take
  mcpnatsd call time get_current_time timezone=Europe/Paris
  mcpnatsd connect time                      a stdio MCP server, for the file of an MCP host

NATS is found by --nats, by MCPNATSD_NATS_URL, by a daemon that runs on this machine, or at
nats://127.0.0.1:4222, in this order. Every other flag for NATS has a variable too: MCPNATSD_CREDS,
MCPNATSD_NKEY, MCPNATSD_TOKEN, MCPNATSD_USER, MCPNATSD_PASSWORD, MCPNATSD_TLS_CA, MCPNATSD_TLS_CERT,
MCPNATSD_TLS_KEY, MCPNATSD_PREFIX, MCPNATSD_INBOX_PREFIX, MCPNATSD_NAME.
"""

_ABOUT: Final[Mapping[str, str]] = {
    "run": """\
Starts the servers that the file lists when they are wanted, offers each on NATS, and opens the
endpoints of the file. Without NATS it starts, says so, and keeps trying. SIGTERM finishes what is
open, for up to 30 seconds; a second one does not wait.""",
    "check": """\
Says everything that is wrong with the file and its drop-ins, with line and column, and reads what
they refer to. Of ${credential:NAME}, root has it read /etc/mcpnatsd/credentials/NAME, and
CREDENTIALS_DIRECTORY names another folder; without either, it says what was not looked into.
Exit code 0: it is right. 78: it is not.""",
    "schema": "For an editor that checks YAML against a JSON Schema.",
    "status": """\
Processes, memory, queues, and the state of NATS, of a daemon of this user on this machine. Works
while NATS is away.""",
    "reload": """\
Reads the configuration file and its drop-ins again, and says what changed: + is new, - is gone, ~
is configured otherwise. What did not change is not touched. Exit code 0: it is done. 1: it was
refused, and what ran before runs on. A daemon does this by itself when a file changes, and upon
SIGHUP.""",
    "list": "Asks the bus which servers are on it, from which hosts, in which state.",
    "info": """\
Asks a server what it is and what it offers: tools with their arguments, resources, prompts. A
server that sleeps is started for that.""",
    "call": """\
Calls a tool, shows its progress, and prints what it returns. Ctrl-C cancels the call.

  mcpnatsd call time get_current_time timezone=Europe/Paris
  mcpnatsd call git log repo=/srv/app max_count:=5
  mcpnatsd call time get_current_time '{"timezone": "Europe/Paris"}'""",
    "connect": """\
For the file of an MCP host, which starts it as if it were the server:

  {"mcpServers": {"time": {"command": "mcpnatsd", "args": ["connect", "time"]}}}

Clients of every MCP revision work with servers of every revision. What goes wrong is said on
stderr, which hosts keep in a log.""",
}

_NATS_FLAGS: Final = (
    ("--nats", "URL[,URL]", "where NATS is"),
    ("--creds", "FILE", "a .creds file"),
    ("--nkey", "FILE", "a file that holds an nkey seed"),
    ("--token", "TOKEN", "better given as MCPNATSD_TOKEN: others see a command line"),
    ("--user", "NAME", "a user's name"),
    ("--password", "WORD", "better given as MCPNATSD_PASSWORD"),
    ("--tls-ca", "FILE", "the authority of NATS' certificate"),
    ("--tls-cert", "FILE", "a certificate of ours"),
    ("--tls-key", "FILE", "its key"),
    ("--prefix", "TOKENS", "first tokens of every subject (mcp)"),
    ("--inbox-prefix", "TOKENS", "first tokens of reply subjects (_INBOX)"),
    ("--name", "NAME", "use the NATS of this daemon on this machine"),
)

Arguments = argparse.Namespace


class _Parser(argparse.ArgumentParser):
    """A parser that raises what the rest of the program raises."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    try:
        return _run(sys.argv[1:] if argv is None else list(argv))
    except McpnatsdError as error:
        _complain(str(error) or type(error).__name__)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at its end, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        _complain(str(error))
        return IO_ERROR


def _complain(text: str) -> None:
    """Say on stderr why it did not work; where that is the journal, as an error."""
    from mcpnatsd.log import is_journal

    mark = "<3>" if is_journal(sys.stderr, os.environ.get("JOURNAL_STREAM", "")) else ""
    for line in text.splitlines():
        sys.stderr.write(f"{mark}mcpnatsd: {_printable(line)}\n")


def _run(argv: list[str]) -> int:
    parser = _parser()
    _suggest_verb(argv)
    try:
        args = _parsed(parser, argv)
    except SystemExit as done:  # --help, after it was printed
        return done.code if isinstance(done.code, int) else 0
    if args.version:
        return _version()
    if args.verb is None:
        parser.print_help(sys.stderr)
        return UsageError.exit_code
    return _VERBS[args.verb](args)


def _parsed(parser: _Parser, argv: list[str]) -> Arguments:
    """Parse, with flags anywhere among the arguments of a tool: argparse wants those in one run."""
    args, rest = parser.parse_known_args(argv)
    if rest and (args.verb != "call" or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.arguments += rest
    return args


def _suggest_verb(argv: list[str]) -> None:
    """Refuse a verb that is none, with the likeliest that is."""
    word = argv[0] if argv else "-"
    if word.startswith("-") or word in _VERBS:
        return
    from difflib import get_close_matches

    near = get_close_matches(word, _VERBS, n=1, cutoff=0.5)
    hint = f"did you mean `mcpnatsd {near[0]}`?" if near else f"there are {', '.join(_VERBS)}"
    raise UsageError(f"there is no verb {word!r}; {hint}")


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() else " " for char in line)


# What can be asked.


def _parser() -> _Parser:
    parser = _Parser(
        prog="mcpnatsd",
        description="Puts any MCP server on NATS, and takes any MCP server off it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    _add_local_verbs(verbs)
    _add_bus_verbs(verbs)
    return parser


def _add(verbs: "argparse._SubParsersAction[_Parser]", name: str, text: str) -> _Parser:
    form = argparse.RawDescriptionHelpFormatter
    sentence = f"{text[0].upper()}{text[1:]}."
    return verbs.add_parser(
        name, help=text, description=f"{sentence}\n\n{_ABOUT[name]}", formatter_class=form
    )


def _add_local_verbs(verbs: "argparse._SubParsersAction[_Parser]") -> None:
    run = _add(verbs, "run", "run the daemon: serve what a file lists")
    check = _add(verbs, "check", "say what is wrong with a configuration file")
    for verb in (run, check):
        verb.add_argument(
            "--config",
            metavar="FILE",
            type=Path,
            default=DEFAULT_CONFIG,
            help=f"the configuration file ({DEFAULT_CONFIG})",
        )
    _add(verbs, "schema", "print the JSON Schema of the configuration file")
    status = _add(verbs, "status", "show what the daemon of this machine does")
    reload = _add(verbs, "reload", "have the daemon take over what its files say now")
    for verb in (status, reload):
        verb.add_argument("--name", metavar="NAME", help="of the daemon, where several run")
        _add_json(verb)


def _add_bus_verbs(verbs: "argparse._SubParsersAction[_Parser]") -> None:
    _add_nats(_add_json(_add(verbs, "list", "list the servers on the bus")))
    info = _add(verbs, "info", "show what a server offers")
    info.add_argument("server", metavar="SERVER")
    _add_nats(_add_json(info))
    _add_call(_add(verbs, "call", "call a tool of a server"))
    connect = _add(verbs, "connect", "be a server of the bus on stdin and stdout")
    connect.add_argument("server", metavar="SERVER")
    _add_nats(connect)


def _add_call(call: _Parser) -> None:
    call.add_argument("server", metavar="SERVER")
    call.add_argument("tool", metavar="TOOL")
    call.add_argument(
        "arguments",
        metavar="ARGS",
        nargs="*",
        default=[],  # without one, argparse calls it required
        help="one JSON object, or key=value pairs; key:=json for a value in JSON",
    )
    call.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds, default=600.0, help="cancel after (600)"
    )
    _add_nats(_add_json(call))


def _add_json(parser: _Parser) -> _Parser:
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    return parser


def _add_nats(parser: _Parser) -> None:
    group = parser.add_argument_group("NATS")
    for flag, metavar, text in _NATS_FLAGS:
        group.add_argument(flag, metavar=metavar, help=text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from None
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no time to wait")
    return seconds


# What is then done.


def _version() -> int:
    from mcpnatsd.verbs.session import version

    sys.stdout.write(f"mcpnatsd {version()}\n")
    return 0


def _run_daemon(args: Arguments) -> int:
    from mcpnatsd.daemon.daemon import run

    return run(args.config)


def _check(args: Arguments) -> int:
    from mcpnatsd.verbs.check import check

    return check(args.config, os.environ)


def _schema(_args: Arguments) -> int:
    from mcpnatsd.config.schema import schema_text

    sys.stdout.write(schema_text())
    return 0


def _connect(args: Arguments) -> int:
    from mcpnatsd import log
    from mcpnatsd.frontends.stdio import run
    from mcpnatsd.protocol.subjects import checked_server

    log.set_up_shim()
    return run(checked_server(args.server), _settings(args))


def _status(args: Arguments) -> int:
    from mcpnatsd.verbs.session import run
    from mcpnatsd.verbs.status import status

    return run(status(os.environ, args.name, as_json=args.json))


def _reload(args: Arguments) -> int:
    from mcpnatsd.verbs.reload import reload
    from mcpnatsd.verbs.session import run

    return run(reload(os.environ, args.name, as_json=args.json))


def _list(args: Arguments) -> int:
    from mcpnatsd.verbs.list_servers import list_servers
    from mcpnatsd.verbs.session import run

    return run(list_servers(_settings(args), as_json=args.json))


def _info(args: Arguments) -> int:
    from mcpnatsd.verbs.info import info
    from mcpnatsd.verbs.session import run

    return run(info(_settings(args), args.server, as_json=args.json))


def _call(args: Arguments) -> int:
    from mcpnatsd.verbs.call import Wanted, call
    from mcpnatsd.verbs.session import run

    wanted = Wanted(
        server=args.server,
        tool=args.tool,
        words=args.arguments,
        timeout=args.timeout,
        as_json=args.json,
    )
    return run(call(_settings(args), wanted))


def _settings(args: Arguments) -> "ClientSettings":
    from mcpnatsd.config.settings import resolve

    return resolve(vars(args), os.environ)


_VERBS: Final[Mapping[str, Callable[[Arguments], int]]] = {
    "run": _run_daemon,
    "connect": _connect,
    "check": _check,
    "status": _status,
    "reload": _reload,
    "list": _list,
    "info": _info,
    "call": _call,
    "schema": _schema,
}
