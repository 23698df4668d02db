"""A server that exits on its first request; what it leaves behind holds its stdout open.

That one has a session of its own and an empty environment, so nobody can tell whose it is.
"""

import subprocess

import thin

left = subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True, env={})


def answer(message: thin.Message) -> thin.Message | None:
    thin.write({"jsonrpc": "2.0", "method": "notifications/left", "params": {"pid": left.pid}})
    thin.write(thin.text(message["id"], "last words"))
    raise SystemExit(0)


thin.serve(answer)
