"""The thin legacy server, which asks its client something, and tells of changed resources.

`ask` sends `roots/list` and answers its error's code; `update{uri}` tells of a resource.
"""

import thin
from thin import Arguments, Message

asking: list[object] = []


def answer(message: Message) -> Message | None:
    if "method" not in message:
        error = message.get("error") or {}
        return thin.text(asking.pop(), str(error.get("code")))
    if str(message["method"]).startswith("resources/"):
        return thin.result(message["id"], {})
    return thin.answer(message)


def call_ask(id: object, _arguments: Arguments, _meta: Message) -> None:
    asking.append(id)
    thin.write({"jsonrpc": "2.0", "id": "mine", "method": "roots/list"})


def call_update(id: object, arguments: Arguments, _meta: Message) -> Message:
    params = {"uri": arguments["uri"]}
    thin.write({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params})
    return thin.text(id, "told")


thin.CALLS |= {"ask": call_ask, "update": call_update}

if __name__ == "__main__":
    thin.era = "legacy"
    thin.serve(answer)
