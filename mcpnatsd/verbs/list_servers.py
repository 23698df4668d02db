"""`mcpnatsd list`: what is on the bus."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from mcpnatsd.bus.connection import Connection
from mcpnatsd.bus.directory import Instance, survey
from mcpnatsd.config.settings import ClientSettings
from mcpnatsd.verbs.session import open_session
from mcpnatsd.verbs.terminal import complain, say, say_json, table

_BEST_FIRST = ("running", "asleep", "aside", "draining", "failing", "")


@dataclass(frozen=True, slots=True)
class Listed:
    """One server: all instances of one name."""

    name: str
    instances: Sequence[Instance]

    @property
    def eras(self) -> list[str]:
        return sorted({era for one in self.instances for era in one.eras}, reverse=True)

    @property
    def revisions(self) -> list[str]:
        return sorted({one for instance in self.instances for one in instance.revisions})[::-1]

    @property
    def tools(self) -> int | None:
        """The most that an instance knows of; None while none knows."""
        return max((one.tools for one in self.instances if one.tools is not None), default=None)

    @property
    def version(self) -> str:
        return ", ".join(sorted({one.version for one in self.instances if one.version}))

    @property
    def state(self) -> str:
        """The best of them: a call goes to an instance that can take it."""
        states = {one.state for one in self.instances}
        return next((state for state in _BEST_FIRST if state in states), "")

    @property
    def differ(self) -> bool:
        """Whether its instances do not run the same thing.

        One that has not started its server yet knows its command, but no version.
        """
        identities = {one.identity for one in self.instances if one.identity}
        versions = {one.version for one in self.instances if one.version}
        return len(identities) > 1 or len(versions) > 1


async def list_servers(settings: ClientSettings, *, as_json: bool) -> int:
    """Print the servers of the bus, by name."""
    async with open_session(settings) as bus:
        found = await survey(bus.connection, bus.inbox, prefix=bus.prefix)
        empty = nothing_found(bus.connection, bus.prefix)
    servers = grouped(found)
    if as_json:
        say_json([summary(server) for server in servers])
    elif not servers:
        complain(empty)
    else:
        say(rendered(servers))
        for warning in warnings(servers):
            complain(warning)
    return 0


def grouped(found: Iterable[Instance]) -> list[Listed]:
    """Return the servers by name; `found` is sorted."""
    return [
        Listed(name, list(instances)) for name, instances in groupby(found, lambda one: one.server)
    ]


def summary(server: Listed) -> dict[str, object]:
    """Return what `--json` says of a server."""
    return {
        "name": server.name,
        "instances": [
            {
                "id": one.id,
                "state": one.state,
                "version": one.version,
                "hostname": one.hostname,
            }
            for one in server.instances
        ],
        "eras": server.eras,
        "tools": server.tools,
        "version": server.version,
        "state": server.state,
    }


def rendered(servers: Iterable[Listed]) -> str:
    """Return the table."""
    return table(
        ["SERVER", "INSTANCES", "ERA", "TOOLS", "VERSION", "STATE"],
        (
            [
                server.name,
                str(len(server.instances)),
                ", ".join(server.eras) or "-",
                "-" if server.tools is None else str(server.tools),
                server.version or "-",
                _states(server),
            ]
            for server in servers
        ),
    )


def warnings(servers: Iterable[Listed]) -> list[str]:
    """Return a line for each server whose instances are not the same."""
    return [
        f'warning: the instances of "{server.name}" do not run the same command or version '
        f"({', '.join(_where(one) for one in server.instances)}); a call may go to any of them"
        for server in servers
        if server.differ
    ]


def nothing_found(connection: Connection, prefix: str) -> str:
    """Return what to say of an empty bus."""
    return (
        f'no MCP server is on {connection.url} under the prefix "{prefix}"; '
        "list one under `servers:` in a configuration file and start `mcpnatsd run`"
    )


def _states(server: Listed) -> str:
    states = {one.state or "-" for one in server.instances}
    return ", ".join(sorted(states, key=(*_BEST_FIRST, "-", *sorted(states)).index))


def _where(one: Instance) -> str:
    return " ".join(filter(None, (one.id, one.hostname and f"on {one.hostname}", one.version)))
