"""The diagram of ARCHITECTURE.md, held against the table it draws."""

import re
from pathlib import Path

from mcpnatsd.protocol.lifecycle import TRANSITIONS

ARCHITECTURE = Path(__file__).parents[2] / "mcpnatsd" / "ARCHITECTURE.md"


def test_the_diagram_draws_every_move_and_no_other() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    drawn = re.findall(r"^    (\w+) --> (\w+): (\w+)$", text, re.MULTILINE)

    moves = [
        (str(start), str(end), str(event))
        for start, events in TRANSITIONS.items()
        for event, end in events.items()
    ]
    assert sorted(drawn) == sorted(moves)
