"""A server behind a launcher's kind of family: a shell, and what it put into a session of its own.

Its tool `family` answers the pids of all of them. With `bare` as argument the one in its own
session has an empty environment; with `exit` the server exits at once and leaves them.
"""

import subprocess
import sys

import thin

SCRIPT = """
{prefix} setsid sleep 1000 &
echo $!
sleep 1000 &
echo $!
wait
"""


def spawn(prefix: str) -> list[int]:
    """Start the family, and return the pids of the shell and its two sleepers."""
    path = subprocess.check_output(["/bin/sh", "-c", "command -v setsid"], text=True).strip()
    script = SCRIPT.format(prefix=prefix).replace("setsid", path)
    shell = subprocess.Popen(["/bin/sh", "-c", script], stdin=0, stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    return [shell.pid, int(shell.stdout.readline()), int(shell.stdout.readline())]


pids = spawn("exec env -i" if "bare" in sys.argv else "exec")


def answer(message: thin.Message) -> thin.Message | None:
    params = message.get("params") or {}
    if params.get("name") == "family":
        return thin.text(message["id"], " ".join(map(str, pids)))
    return thin.answer(message)


thin.write({"jsonrpc": "2.0", "method": "notifications/family", "params": {"pids": pids}})
if "exit" not in sys.argv:
    thin.serve(answer)
