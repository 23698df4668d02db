"""A server that gives every answer twice."""

import thin


def answer(message: thin.Message) -> thin.Message | None:
    found = thin.answer(message)
    if found is not None:
        thin.write(found)
    return found


thin.serve(answer)
