"""The thin server, which says more than anybody reads.

    python floods.py [both | modern | legacy]

`flood{messages, bytes}` reports its progress that many times, each time at that length, and then
answers how long it took to say it.
"""

import sys
import threading
import time

import thin
from thin import Arguments, Message


def call_flood(id: object, arguments: Arguments, meta: Message) -> None:
    messages, text = int(arguments["messages"]), "x" * int(arguments["bytes"])

    def report() -> None:
        began = time.monotonic()
        for number in range(messages):
            params = {
                "progressToken": meta["progressToken"],
                "progress": number + 1,
                "message": text,
            }
            thin.write({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
        thin.write(thin.text(id, f"{time.monotonic() - began:.3f}"))

    threading.Thread(target=report, daemon=True).start()


thin.CALLS["flood"] = call_flood
thin.TOOLS.append(thin.tool("flood", messages="integer", bytes="integer"))

if __name__ == "__main__":
    thin.era = sys.argv[1] if len(sys.argv) > 1 else "both"
    thin.serve(thin.answer)
