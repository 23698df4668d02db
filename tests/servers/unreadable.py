"""A server whose answers to some tools are not JSON.

    python unreadable.py [both | modern | legacy] [last]

`last` has it write the id last, as some SDKs do. The rest of the lines are those of `thin`.
"""

import sys

import thin

LAST = "last" in sys.argv
OUTCOMES = {
    "nan": b'{"x":NaN}',
    "latin1": '{"x":"caf\u00e9"}'.encode("latin-1"),
    "lone": b'{"x":"\\ud83d"}',
    "deep": b"[" * 5000 + b"]" * 5000,
    "cut": b'{"x":',
}


def answer(message: thin.Message) -> thin.Message | None:
    name = (message.get("params") or {}).get("name")
    if message.get("method") != "tools/call" or name not in OUTCOMES:
        return thin.answer(message)
    ids = b'"jsonrpc":"2.0","id":' + thin.line(message["id"])[:-1]
    result = b'"result":' + OUTCOMES[name]
    thin.write_bytes(b"{%b}\n" % b",".join((result, ids) if LAST else (ids, result)))
    return None


if __name__ == "__main__":
    thin.era = sys.argv[1] if len(sys.argv) > 1 else "both"
    thin.serve(answer)
