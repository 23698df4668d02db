"""A server whose tool `die` ends it: three lines on stderr, and exit status 3."""

import sys

import thin


def answer(message: thin.Message) -> thin.Message | None:
    params = message.get("params") or {}
    if params.get("name") == "die":
        print("Traceback: it was", "the tool", "\x1b[31mdie\x1b[0m\x07", sep="\n", file=sys.stderr)
        sys.stderr.flush()
        sys.exit(3)
    return thin.answer(message)


thin.serve(answer)
