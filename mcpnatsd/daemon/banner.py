"""What the daemon prints for a person once it is up."""

import sys
from typing import Final

from mcpnatsd.backends.bridge import Bridge
from mcpnatsd.daemon.view import View

MOST_TOOLS: Final = 6


def text(view: View) -> str:
    """Return what is served, and the next command to try."""
    connection = view.connection
    where = connection.url
    kind = " (its own nats-server)" if view.embedded else ""
    lines = ["", f"mcpnatsd {view.version} is up on {where}{kind}"]
    if not connection.connected:
        lines.append("  NATS is away: it keeps trying")
    lines += [_server(bridge) for bridge in view.bridges]
    lines += [f"  {one.endpoint.server} at {one.endpoint.path}" for one in view.frontends]
    lines += ["", "next, in another terminal:", *_commands(view), "", "Ctrl-C stops it.", ""]
    return "\n".join(lines)


def _server(bridge: Bridge) -> str:
    tools = bridge.catalogue.tools
    if bridge.last_fault is not None:
        return f"  {bridge.server:<16} failing: {bridge.last_fault}"
    if not bridge.catalogue.listed:
        return f"  {bridge.server:<16} asleep until its first request"
    more = f" and {len(tools) - MOST_TOOLS} more" if len(tools) > MOST_TOOLS else ""
    eras = bridge.catalogue.verdict.names or "era not known yet"
    return f"  {bridge.server:<16} {eras}: {', '.join(tools[:MOST_TOOLS])}{more}"


def _commands(view: View) -> list[str]:
    program = sys.argv[0] if sys.argv[0].endswith("mcpnatsd") else "mcpnatsd"
    if not view.bridges:
        return [f"  {program} list"]
    first = view.bridges[0].server
    return [f"  {program} list", f"  {program} info {first}", f"  {program} connect {first}"]
