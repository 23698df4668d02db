"""How an end is told."""

import pytest

from mcpnatsd.backends.process import Exit


@pytest.mark.parametrize(
    ("status", "signal", "tail", "sentence"),
    [
        (0, None, (), "exited with status 0"),
        (1, None, ("  no such file  ",), 'exited with status 1; its last words: "no such file"'),
        (None, "SIGKILL", (), "was ended by SIGKILL"),
        (None, None, (), "was lost with its reaper"),
        (2, None, ("a", "b"), 'exited with status 2; its last words: "a | b"'),
    ],
)
def test_an_end_is_a_sentence(
    status: int | None, signal: str | None, tail: tuple[str, ...], sentence: str
) -> None:
    end = Exit(status=status, signal=signal, stderr_tail=tail, oversize=False)

    assert end.sentence() == sentence


def test_last_words_are_cut_at_their_beginning() -> None:
    tail = ("x" * 500, "y" * 500, "the reason")

    end = Exit(status=1, signal=None, stderr_tail=tail, oversize=False)

    assert end.sentence().endswith('y | the reason"')
    assert len(end.sentence()) < 700
