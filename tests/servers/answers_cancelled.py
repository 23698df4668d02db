"""A server whose tool `hang` is answered only once it was cancelled, which is too late.

Its tool `cancels` answers how many calls of `hang` were cancelled so far.
"""

import thin

hanging: set[object] = set()
cancels = 0


def cancelled(id: object) -> None:
    global cancels  # noqa: PLW0603
    if id in hanging:
        hanging.remove(id)
        cancels += 1
        thin.write(thin.text(id, "too late"))


def answer(message: thin.Message) -> thin.Message | None:
    params = message.get("params") or {}
    if message.get("method") == "notifications/cancelled":
        cancelled(params.get("requestId"))
        return None
    if params.get("name") == "hang":
        hanging.add(message["id"])
        return None
    if params.get("name") == "cancels":
        return thin.text(message["id"], str(cancels))
    return thin.answer(message)


thin.serve(answer)
