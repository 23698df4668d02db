"""What is known of the clients behind one connection: whom each asked, who holds its process."""

from typing import Final

MOST: Final = 10_000
"""Clients that are known, the longest unused out first. Over HTTP nobody says when one leaves."""

MOST_SERVERS: Final = 1000
"""Servers that one client asked: over HTTP it may ask for any name."""


class Clients:
    """By the part of `Mcp-Call` that names a client. It forgets those that leave."""

    def __init__(self) -> None:
        self._asked: dict[str, set[str]] = {}
        self._holders: dict[tuple[str, str], str] = {}

    def asked(self, client: str, server: str) -> None:
        """Note that a server was sent a request of a client."""
        servers = self._asked.pop(client, None)
        if servers is None:
            if len(self._asked) >= MOST:
                self.forget(next(iter(self._asked)))
            servers = set()
        self._asked[client] = servers
        if len(servers) < MOST_SERVERS:
            servers.add(server)

    def answered(self, client: str, server: str, holder: str | None) -> None:
        """Note which instance holds a process of the client's own; None when none does."""
        if holder is not None:
            self._holders[client, server] = holder
        elif self._holders:
            self._holders.pop((client, server), None)

    def holder(self, client: str, server: str) -> str | None:
        """Return the instance that must get the client's requests; None when any may."""
        return self._holders.get((client, server)) if self._holders else None

    def names(self) -> list[str]:
        return list(self._asked)

    def forget(self, client: str) -> set[str]:
        """Forget a client; return the servers that it asked."""
        servers = self._asked.pop(client, set())
        for server in servers:
            self.answered(client, server, None)
        return servers
