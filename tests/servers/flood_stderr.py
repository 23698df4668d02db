"""A server that answers, each time after 2 MB on stderr: a pipe nobody reads would stop it."""

import sys

import thin


def answer(message: thin.Message) -> thin.Message | None:
    sys.stderr.write("".join(f"flood {number} {'x' * 80}\n" for number in range(20000)))
    sys.stderr.flush()
    return thin.answer(message)


thin.serve(answer)
