"""`thin`, but a call of `sleep` first tells everybody that its tools have changed."""

import thin

CHANGED = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}


def answer(message: thin.Message) -> thin.Message | None:
    params = message.get("params")
    if isinstance(params, dict) and params.get("name") == "sleep":
        thin.write(CHANGED)
    return thin.answer(message)


if __name__ == "__main__":
    thin.serve(answer)
