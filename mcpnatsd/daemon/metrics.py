"""What the daemon has counted, as Prometheus reads it.

No label holds anything that a caller made up: servers, methods of MCP, tools that a server listed.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate, chain
from typing import Final, NamedTuple

import msgspec

from mcpnatsd.backends.bridge import Bridge
from mcpnatsd.backends.memory import rss_bytes
from mcpnatsd.daemon import status
from mcpnatsd.daemon.view import View
from mcpnatsd.protocol.statistics import BOUNDS, Counts, Durations

MOST_TOOLS: Final = 256
"""Tools of one server with numbers of their own. The rest has them together, under no name."""

LINES_A_TURN: Final = 256
"""Of a page. Then everybody else has a turn: calls do not wait for a scrape."""

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Sample(NamedTuple):
    """One number of a metric."""

    value: float
    labels: Mapping[str, str] = {}
    suffix: str = ""
    """Behind the metric's name."""


class Metric(NamedTuple):
    """Numbers of one name."""

    name: str
    kind: str
    about: str
    samples: Iterable[Sample]


class _Process(msgspec.Struct):
    rss_bytes: int | None


class _Server(msgspec.Struct):
    """One server as the status shows it, as far as there are metrics of it."""

    name: str
    state: str
    queue: int
    in_flight: int
    restarts: int
    sessions: int
    processes: list[_Process]
    replaced: bool = False
    """Whether it only finishes what is open, while another one of its name takes the requests."""


class _Requests(NamedTuple):
    """What came of them, by server and method, and by server and tool."""

    methods: dict[tuple[str, str], Durations]
    tools: dict[tuple[str, str], Counts]


async def page(view: View, *, draining: bool) -> str:
    """Return all metrics, in Prometheus' text format 0.0.4. With many servers it takes turns."""
    servers, requests = await _looked_at(view)
    lines: list[str] = []
    for metric in chain(_of_daemon(view, draining), _of_servers(servers), _of_requests(requests)):
        lines += f"# HELP {metric.name} {metric.about}", f"# TYPE {metric.name} {metric.kind}"
        for sample in metric.samples:
            lines.append(_line(metric.name, sample))
            if len(lines) % LINES_A_TURN == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
    return "\n".join([*lines, ""])


async def _looked_at(view: View) -> tuple[list[_Server], _Requests]:
    """Look at one server after the other, and let everybody have a turn in between.

    Those that leave still work. Counts of one that was replaced are left out: its successor counts
    from zero, and that again would seem to happen when the old one is gone.
    """
    servers: list[_Server] = []
    requests = _Requests({}, {})
    serving = {bridge.server for bridge in view.bridges}
    for number, bridge in enumerate((*view.bridges, *view.leaving)):
        server = msgspec.convert(status.of_server(bridge), _Server)
        server.replaced = number >= len(view.bridges) and bridge.server in serving
        servers.append(server)
        if not server.replaced:
            _add(requests, bridge)
        await asyncio.sleep(0)
    return servers, requests


def _add(requests: _Requests, bridge: Bridge) -> None:
    statistics = bridge.catalogue.statistics
    for method, durations in statistics.durations.items():
        requests.methods.setdefault((bridge.server, method), Durations()).merge(durations)
    for number, (tool, counts) in enumerate(statistics.tools.items()):
        own = tool if number < MOST_TOOLS else ""
        requests.tools.setdefault((bridge.server, own), Counts()).merge(counts)


def _line(name: str, sample: Sample) -> str:
    pairs = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in sample.labels.items())
    return f"{name}{sample.suffix}{'{' + pairs + '}' if pairs else ''} {sample.value!r}"


def _of_daemon(view: View, draining: bool) -> Iterator[Metric]:  # noqa: FBT001  (a number here)
    connection = view.connection
    named = {"version": view.version, "name": view.name}
    lasted = time.monotonic() - view.started_at
    for name, kind, about, value in (
        ("mcpnatsd_start_time_seconds", "gauge", "When the daemon started.", time.time() - lasted),
        ("mcpnatsd_cpu_seconds_total", "counter", "CPU time of the daemon.", time.process_time()),
        (
            "mcpnatsd_memory_bytes",
            "gauge",
            "Resident memory of the daemon and of all that it started.",
            rss_bytes(os.getpid()) or 0,
        ),
        ("mcpnatsd_draining", "gauge", "Whether it leaves the bus.", int(draining)),
        ("mcpnatsd_nats_up", "gauge", "Whether NATS is connected.", int(connection.up)),
        (
            "mcpnatsd_nats_connects_total",
            "counter",
            "How often NATS was connected: the first time, and each time anew.",
            connection.connects,
        ),
    ):
        yield Metric(name, kind, about, [Sample(value)])
    yield from _of_reloads(view)
    yield Metric("mcpnatsd_info", "gauge", "The version, as a label.", [Sample(1, named)])
    clients = [Sample(one.clients, {"endpoint": one.place}) for one in view.frontends]
    about = "Clients that an endpoint has now."
    yield Metric("mcpnatsd_endpoint_clients", "gauge", about, clients)


def _of_reloads(view: View) -> Iterator[Metric]:
    reloader = view.reloader
    results = {"applied": reloader.count, "refused": reloader.refused}
    samples = [Sample(value, {"result": result}) for result, value in results.items()]
    yield Metric("mcpnatsd_reloads_total", "counter", "Reloads, by what came of them.", samples)
    about = "Whether the files say something else than what runs."
    yield Metric("mcpnatsd_config_stale", "gauge", about, [Sample(int(reloader.stale is not None))])


_OF_SERVER: Final[tuple[tuple[str, str, str, Callable[[_Server], int]], ...]] = (
    (
        "mcpnatsd_server_failing",
        "gauge",
        "Whether a server cannot be started or reached.",
        lambda one: int(one.state == "failing" and not one.replaced),
    ),
    (
        "mcpnatsd_in_flight",
        "gauge",
        "Requests without an answer yet.",
        lambda one: one.in_flight,
    ),
    ("mcpnatsd_queued", "gauge", "Requests that wait for a process.", lambda one: one.queue),
    ("mcpnatsd_sessions", "gauge", "Sessions of the legacy era.", lambda one: one.sessions),
    ("mcpnatsd_processes", "gauge", "Processes that run.", lambda one: len(one.processes)),
    (
        "mcpnatsd_process_memory_bytes",
        "gauge",
        "Resident memory of a server's processes, with all that they started.",
        lambda one: sum(process.rss_bytes or 0 for process in one.processes),
    ),
    (
        "mcpnatsd_restarts_total",
        "counter",
        "Processes that ended by themselves after they had worked.",
        lambda one: 0 if one.replaced else one.restarts,
    ),
)


def _of_servers(servers: list[_Server]) -> Iterator[Metric]:
    """Tell of each server. One that a reload exchanges is there twice for a while."""
    for name, kind, about, number in _OF_SERVER:
        sums: dict[str, int] = {}
        for server in servers:
            sums[server.name] = sums.get(server.name, 0) + number(server)
        samples = [Sample(value, {"server": server}) for server, value in sums.items()]
        yield Metric(name, kind, about, samples)


def _of_requests(requests: _Requests) -> Iterator[Metric]:
    methods, tools = requests
    yield Metric(
        "mcp_server_operation_duration_seconds",
        "histogram",
        "From a request's arrival off the bus to its final answer.",
        (sample for key, one in methods.items() for sample in _histogram(*key, one)),
    )
    about = "Requests that failed, a tool's own failures included."
    failed = (Sample(one.errors, _method(*key)) for key, one in methods.items())
    yield Metric("mcpnatsd_errors_total", "counter", about, failed)
    calls = (Sample(one.requests, _tool(*key)) for key, one in tools.items())
    yield Metric("mcpnatsd_tool_calls_total", "counter", "Calls of a tool.", calls)
    failed = (Sample(one.errors, _tool(*key)) for key, one in tools.items())
    yield Metric("mcpnatsd_tool_errors_total", "counter", "Calls of a tool that failed.", failed)


def _histogram(server: str, method: str, durations: Durations) -> Iterator[Sample]:
    labels = _method(server, method)
    totals = list(accumulate(durations.within))
    for bound, total in zip((*map(str, BOUNDS), "+Inf"), totals, strict=True):
        yield Sample(total, {**labels, "le": bound}, "_bucket")
    yield Sample(durations.seconds, labels, "_sum")
    yield Sample(totals[-1], labels, "_count")


def _method(server: str, method: str) -> dict[str, str]:
    return {"server": server, "method": method}


def _tool(server: str, tool: str) -> dict[str, str]:
    return {"server": server, "tool": tool}
