"""A legacy server that exits with status 1 on anything but `initialize` as the first message."""

import sys

import thin

first = True


def answer(message: thin.Message) -> thin.Message | None:
    global first  # noqa: PLW0603
    if first and message.get("method") != "initialize":
        sys.exit("expected initialize request")
    first = False
    return thin.answer(message)


thin.era = "legacy"
thin.serve(answer)
