"""A server that answers first what nobody asked, then what was asked."""

import thin


def answer(message: thin.Message) -> thin.Message | None:
    if "id" in message:
        thin.write(thin.text(999_999_999, "nobody's"), thin.text("no such id", "nobody's"))
    return thin.answer(message)


thin.serve(answer)
