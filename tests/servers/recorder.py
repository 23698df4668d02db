"""The thin server, which writes down what reaches it: one line a message, in the order of arrival.

    python recorder.py FILE [both | modern | legacy]

A line is the pid, the method, and what the message is about: the `text` of `record`, a log level,
a URI. So a call that was executed twice, or a session that was opened anew, shows in the file.
Beside the tools of thin.py there are `record{text, seconds}`, which answers its text after that
time, and `tick{steps, every}`, which reports its progress that often.
"""

import os
import sys
import threading
import time

import thin
from thin import Arguments, Message

FILE = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
ACCEPTED = ("logging/setLevel", "resources/subscribe", "resources/unsubscribe")


def write_down(method: object, about: object) -> None:
    # One write with O_APPEND: lines of several processes do not mix.
    os.write(FILE, f"{os.getpid()} {method} {about}\n".encode())


def answer(message: Message) -> Message | None:
    params = message.get("params") or {}
    arguments = params.get("arguments") or {}
    about = (arguments.get("text"), params.get("level"), params.get("uri"), "-")
    write_down(message.get("method"), next(value for value in about if value is not None))
    if message.get("method") in ACCEPTED:
        return thin.result(message["id"], {})
    return thin.answer(message)


def call_record(id: object, arguments: Arguments, _meta: Message) -> Message | None:
    answered = thin.text(id, str(arguments["text"]))
    seconds = float(arguments.get("seconds", 0))
    if not seconds:
        return answered
    timer = threading.Timer(seconds, thin.write, [answered])
    timer.daemon = True
    timer.start()
    return None


def call_tick(id: object, arguments: Arguments, meta: Message) -> None:
    steps, every = int(arguments["steps"]), float(arguments["every"])

    def report() -> None:
        for number in range(steps):
            time.sleep(every)
            params = {"progressToken": meta["progressToken"], "progress": number + 1}
            thin.write({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
        thin.write(thin.text(id, "ticked"))

    threading.Thread(target=report, daemon=True).start()


thin.CALLS |= {"record": call_record, "tick": call_tick}
thin.TOOLS += [
    thin.tool("record", text="string", seconds="number"),
    thin.tool("tick", steps="integer", every="number"),
]

if __name__ == "__main__":
    thin.era = sys.argv[2] if len(sys.argv) > 2 else "both"
    thin.serve(answer)
