"""What the daemon prints for a person once it is up."""

import os
import sys
from contextlib import suppress
from typing import Final, TextIO

from mcpnatsd.backends.bridge import Bridge
from mcpnatsd.daemon.view import View
from mcpnatsd.log import escaped

MOST_TOOLS: Final = 6


def show(view: View, stream: TextIO | None) -> None:
    """Print it, if anybody reads it. What the stream's encoding lacks is written as an escape.

    It goes past the stream's buffer: what nobody takes must not be tried again at our exit.
    """
    if stream is not None:
        with suppress(OSError, ValueError):  # nobody reads, or the stream is closed
            os.write(stream.fileno(), text(view).encode(stream.encoding, "backslashreplace"))


def text(view: View) -> str:
    """Return what is served, and the next command to try."""
    connection = view.connection
    where = connection.url
    kind = " (its own nats-server)" if view.embedded else ""
    lines = ["", f"mcpnatsd {view.version} is up on {where}{kind}"]
    if not connection.connected:
        lines.append(f"  {escaped(connection.trouble or 'NATS is away')}; it keeps trying")
    lines += [_server(bridge) for bridge in view.bridges]
    lines += [f"  {one.server} at {one.place}" for one in view.frontends]
    lines += [f"  {one.place} is not open: {escaped(one.fault)}" for one in view.closed]
    lines += ["", "next, in another terminal:", *_commands(view), "", "Ctrl-C stops it.", ""]
    return "\n".join(lines)


def _server(bridge: Bridge) -> str:
    tools = bridge.catalogue.tools
    if bridge.last_fault is not None:
        return f"  {bridge.server:<16} failing: {escaped(bridge.last_fault)}"
    if not bridge.catalogue.listed:
        return f"  {bridge.server:<16} asleep until its first request"
    more = f" and {len(tools) - MOST_TOOLS} more" if len(tools) > MOST_TOOLS else ""
    names = ", ".join(map(escaped, tools[:MOST_TOOLS]))
    eras = bridge.catalogue.verdict.names or "era not known yet"
    return f"  {bridge.server:<16} {eras}: {names}{more}"


def _commands(view: View) -> list[str]:
    program = sys.argv[0] if sys.argv[0].endswith("mcpnatsd") else "mcpnatsd"
    if not view.bridges:
        return [f"  {program} list"]
    first = view.bridges[0].server
    return [f"  {program} list", f"  {program} info {first}", f"  {program} connect {first}"]
