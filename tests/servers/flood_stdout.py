"""A server that answers, each time after 2 000 lines of noise on stdout."""

import thin

NOISE = b"".join(b"noise %d\n" % number for number in range(2000))


def answer(message: thin.Message) -> thin.Message | None:
    thin.write_bytes(NOISE)
    return thin.answer(message)


thin.serve(answer)
