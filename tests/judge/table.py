"""What the judges found, as a table for people."""

from collections.abc import Iterator, Mapping

from tests.judge.matrix import CLIENTS, FEATURES, SERVERS, WAYS, Cell

OK = f"{len(FEATURES)}/{len(FEATURES)}"
WIDTH = 18


def verdict(wrong: Mapping[str, list[str]]) -> str:
    """Return a cell's text: how many features are as they should be."""
    return f"{len(FEATURES) - len(wrong)}/{len(FEATURES)}" + (" FAIL" if wrong else "")


def lines(verdicts: Mapping[str, str]) -> Iterator[str]:
    """Yield the tables, one for each way; `verdicts` has the text of each cell that was played."""
    yield f"each cell plays {len(FEATURES)} things: {', '.join(FEATURES)}"
    for way, title in WAYS.items():
        yield ""
        yield f"{way}: {title}"
        yield "".join(word.ljust(WIDTH) for word in ("client \\ server", *SERVERS)).rstrip()
        for client in CLIENTS:
            cells = [Cell(way, client, server) for server in SERVERS]
            texts = [cell.reason or verdicts.get(str(cell), "not played") for cell in cells]
            yield "".join(word.ljust(WIDTH) for word in (client, *texts)).rstrip()
