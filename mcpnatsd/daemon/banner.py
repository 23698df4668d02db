"""What the daemon prints for a person once it is up."""

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mcpnatsd.backends.bridge import Bridge
    from mcpnatsd.daemon.daemon import Daemon

MOST_TOOLS: Final = 6


def text(daemon: "Daemon") -> str:
    """Return what is served, and the next command to try."""
    connection = daemon.connection
    where = connection.url if connection is not None else "no NATS"
    kind = " (its own nats-server)" if daemon.embedded is not None else ""
    lines = ["", f"mcpnatsd {daemon.version} is up on {where}{kind}"]
    if connection is not None and not connection.connected:
        lines.append("  NATS is away: it keeps trying")
    lines += [_server(bridge) for bridge in daemon.bridges]
    lines += [f"  {one.endpoint.server} at {one.endpoint.path}" for one in daemon.frontends]
    lines += ["", "next, in another terminal:", *_commands(daemon), "", "Ctrl-C stops it.", ""]
    return "\n".join(lines)


def _server(bridge: "Bridge") -> str:
    tools = bridge.catalogue.tools
    if bridge.last_fault is not None:
        return f"  {bridge.server:<16} failing: {bridge.last_fault}"
    if not bridge.catalogue.listed:
        return f"  {bridge.server:<16} asleep until its first request"
    more = f" and {len(tools) - MOST_TOOLS} more" if len(tools) > MOST_TOOLS else ""
    eras = bridge.catalogue.verdict.names or "era not known yet"
    return f"  {bridge.server:<16} {eras}: {', '.join(tools[:MOST_TOOLS])}{more}"


def _commands(daemon: "Daemon") -> list[str]:
    program = sys.argv[0] if sys.argv[0].endswith("mcpnatsd") else "mcpnatsd"
    if not daemon.bridges:
        return [f"  {program} list"]
    first = daemon.bridges[0].server
    return [f"  {program} list", f"  {program} info {first}", f"  {program} connect {first}"]
