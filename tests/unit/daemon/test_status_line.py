"""One line of status, as a person reads it."""

import pytest

from mcpnatsd.daemon.status_line import Picture


@pytest.mark.parametrize(
    ("picture", "line"),
    [
        (
            Picture(servers=12, calls_per_second=340.4, failing=("github",)),
            "serving 12 servers, 340 calls/s, 1 failing: github",
        ),
        (Picture(), "serving 0 servers"),
        (Picture(servers=1, calls_per_second=0.2), "serving 1 server, under 1 call/s"),
        (Picture(endpoints=2), "serving 2 endpoints"),
        (
            Picture(endpoints=1, closed=("http://127.0.0.1:80/mcp/",)),
            "serving 1 endpoint, 1 endpoint not open: http://127.0.0.1:80/mcp/",
        ),
        (Picture(endpoints=1, clients=3), "serving 1 endpoint, 3 clients"),
        (
            Picture(servers=2, endpoints=1, clients=1, calls_per_second=5),
            "serving 2 servers and 1 endpoint, 1 client, 5 calls/s",
        ),
        (
            Picture(servers=9, failing=("a", "b", "c", "d", "e", "f")),
            "serving 9 servers, no calls, 6 failing: a, b, c, d, e, …",
        ),
        (
            Picture(servers=2, trouble="NATS is away: refused", failing=("git",)),
            "NATS is away: refused, would serve 2 servers, 1 failing: git",
        ),
        (
            Picture(servers=1, refused="/etc/mcpnatsd.yaml:3:5: no such key\nand more"),
            "serving 1 server, no calls; not reloaded: /etc/mcpnatsd.yaml:3:5: no such key",
        ),
        (Picture(servers=2, draining="nothing"), "draining, open: nothing"),
        (
            Picture(servers=2, trouble="NATS is away", draining="git: 2 in flight, sessions: 0"),
            "draining, open: git: 2 in flight, sessions: 0",
        ),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_line_tells_what_a_person_wants_to_know_first(picture: Picture, line: str) -> None:
    assert picture.line() == line
