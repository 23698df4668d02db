"""`mcpnatsd status`: what the daemon of this machine does, also while NATS is away."""

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mcpnatsd.config import runtime
from mcpnatsd.errors import NoDaemon
from mcpnatsd.verbs.terminal import clean, say, say_json, size, span, table

TIMEOUT: Final = 10.0
MOST_BYTES: Final = 16 * 1024 * 1024

FAILS: Final = "restart_would_fail"

TITLES: Final = (
    *("SERVER", "STATE", "ERA", "PID", "MEMORY"),
    *("RESTARTS", "REQUESTS", "ERRORS", "IN-FLIGHT", "QUEUE"),
)

Status = Mapping[str, Any]


async def status(environ: Mapping[str, str], name: str | None, *, as_json: bool) -> int:
    """Print what the daemon says of itself; 69 when there is none.

    Raises:
        NoDaemon: None runs here, or it does not answer.
    """
    answer = await asked(socket_of(environ, name), "status")
    if as_json:
        say_json(answer)
    else:
        say(clean(rendered(answer)))
    return 0


def socket_of(environ: Mapping[str, str], name: str | None) -> Path:
    """Return the control socket of the daemon of that name, or of the only one.

    Raises:
        NoDaemon: None runs here.
    """
    found = runtime.find_daemon(environ, name or environ.get("MCPNATSD_NAME") or None)
    if found is None:
        raise NoDaemon("no daemon runs here, or this user may not know it; start `mcpnatsd run`")
    return found[0].with_suffix(".sock")


async def asked(socket: Path, verb: str, *, within: float = TIMEOUT) -> Status:
    """Return a daemon's answer on its control socket.

    Raises:
        NoDaemon: It does not answer, or with nothing that makes sense.
    """
    try:
        async with asyncio.timeout(within):
            line = await _exchanged(socket, verb)
        answer = json.loads(line)
    except TimeoutError:
        raise NoDaemon(f"the daemon at {socket} does not answer within {within:g} s") from None
    except OSError as error:
        raise NoDaemon(f"the daemon at {socket} cannot be asked: {error.strerror}") from None
    except ValueError:
        raise NoDaemon(f"the daemon at {socket} answered with what is not JSON") from None
    if not isinstance(answer, dict):
        raise NoDaemon(f"the daemon at {socket} answered with no object")
    if isinstance(refusal := answer.get("error"), str):
        raise NoDaemon(refusal)
    return answer


async def _exchanged(socket: Path, verb: str) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(socket), limit=MOST_BYTES)
    try:
        writer.write(json.dumps({"verb": verb}).encode() + b"\n")
        await writer.drain()
        return await reader.readline()
    finally:
        writer.close()


def rendered(answer: Status) -> str:
    """Return the page for people."""
    servers, endpoints = answer.get("servers") or [], answer.get("endpoints") or []
    sections = [_head(answer), *_stale(answer.get("reload") or {})]
    leaving = [{**one, "state": "leaving"} for one in answer.get("leaving") or []]
    if servers or leaving:
        sections.append(table(TITLES, map(_row, [*servers, *leaving])))
    else:
        sections.append("no servers are configured")
    sections += _faults((one.get("name"), one.get("error")) for one in servers)
    if endpoints:
        rows = (
            [
                _place(one),
                str(one.get("server", "")),
                "not open" if one.get("error") else str(one.get("clients", 0)),
            ]
            for one in endpoints
        )
        sections.append(table(["ENDPOINT", "SERVER", "CLIENTS"], rows))
    sections += _faults((_place(one), one.get("error")) for one in endpoints)
    return "\n\n".join(sections)


def _head(answer: Status) -> str:
    nats = answer.get("nats") or {}
    trouble = nats.get("trouble") or "NATS is away"
    there = "connected" if nats.get("connected") else f"{trouble}; trying again"
    own = ", embedded" if nats.get("embedded") else ""
    who = f"{answer.get('name', '')}: mcpnatsd {answer.get('version', '')}"
    since = span(answer.get("uptime_seconds") or 0)
    draining = ", draining" if answer.get("draining") else ""
    return (
        f"{who}, pid {answer.get('pid', '')}, up {since}{draining}\n"
        f"configuration: {answer.get('config', '')}{_loaded(answer.get('reload') or {})}\n"
        f"NATS: {nats.get('url', '')} ({there}{own})"
    )


def _loaded(reload: Status) -> str:
    """Return how many files there are, and when they were taken over."""
    more = len(reload.get("files") or []) - 1
    drop_ins = f" and {more} drop-in{'s' if more > 1 else ''}" if more > 0 else ""
    times = reload.get("applied") or 0
    again = f", reloaded {times} time{'s' if times > 1 else ''}" if times else ""
    since = f", as of {at}" if (at := reload.get("loaded_at")) else ""
    return f"{drop_ins}{again}{since}"


def _stale(reload: Status) -> Iterator[str]:
    if reload.get("stale"):
        restart = "\na restart would fail until this is right" if reload.get(FAILS) else ""
        yield f"what the files say now is not what runs:\n{reload['stale']}{restart}"


def _row(server: Status) -> list[str]:
    processes = server.get("processes") or []
    memory = sum(one.get("rss_bytes") or 0 for one in processes)
    eras = server.get("eras") or []
    return [
        str(server.get("name", "")),
        str(server.get("state", "")),
        (eras if isinstance(eras, str) else ", ".join(eras)) or "-",
        " ".join(str(one["pid"]) for one in processes if one.get("pid")) or "-",
        size(memory) if memory else "-",
        *(str(server.get(key) or 0) for key in ("restarts", "calls", "errors")),
        *(str(server.get(key) or 0) for key in ("in_flight", "queue")),
    ]


def _place(endpoint: Status) -> str:
    return str(endpoint.get("unix") or endpoint.get("http", ""))


def _faults(found: Iterable[tuple[Any, Any]]) -> Iterator[str]:
    lines = [f"{name}: {fault}" for name, fault in found if fault]
    if lines:
        yield "\n".join(lines)
