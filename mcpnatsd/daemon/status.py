"""What `mcpnatsd status` tells of a daemon: its processes, its queues, its NATS."""

import asyncio
import os
import time
from collections.abc import Iterable

from mcpnatsd.backends.bridge import Bridge
from mcpnatsd.backends.process import Process
from mcpnatsd.backends.seat import Seat
from mcpnatsd.daemon.endpoints import Closed, Frontend
from mcpnatsd.daemon.reload import Reloader
from mcpnatsd.daemon.view import View


def of(view: View) -> dict[str, object]:
    """Return the whole status, as JSON values."""
    return {
        "name": view.name,
        "version": view.version,
        "pid": os.getpid(),
        "uptime_seconds": round(time.monotonic() - view.started_at, 1),
        "config": str(view.path.absolute()),
        "draining": view.draining,
        "reload": _reload(view.reloader),
        "nats": {
            "url": view.connection.url,
            "connected": view.connection.connected,
            "trouble": view.connection.trouble,
            "embedded": view.embedded,
        },
        "servers": [of_server(bridge) for bridge in view.bridges],
        "leaving": [of_server(bridge) for bridge in view.leaving],
        "endpoints": [*map(_open_endpoint, view.frontends), *map(_closed_endpoint, view.closed)],
    }


def _reload(reloader: Reloader) -> dict[str, object]:
    last = reloader.last
    return {
        "files": [str(file) for file in reloader.loaded.files],
        "loaded_at": reloader.loaded_at,
        "applied": reloader.count,
        "refused": reloader.refused,
        "last": None if last is None else last.as_json(),
        "stale": reloader.stale,
        "restart_would_fail": reloader.stale is not None and reloader.unreadable,
    }


def _open_endpoint(one: Frontend) -> dict[str, object]:
    where = {_kind(one.place): one.place, "server": one.server}
    return {**where, "clients": one.clients, "error": None}


def _closed_endpoint(one: Closed) -> dict[str, object]:
    return {_kind(one.place): one.place, "server": one.server, "clients": 0, "error": one.fault}


def _kind(place: str) -> str:
    return "http" if place.startswith("http") else "unix"


def open_work(bridges: Iterable[Bridge], frontends: Iterable[Frontend]) -> str:
    """Return which servers and endpoints hold a stop up, and with how much."""
    held = [
        f"{bridge.server}: {_in_flight(bridge)} in flight, sessions: {bridge.open_sessions}"
        for bridge in bridges
        if bridge.responder.in_flight or bridge.open_sessions
    ]
    held += [f"{one.place}: {one.in_flight} in flight" for one in frontends if one.in_flight]
    return "; ".join(held) or "nothing"


def _in_flight(bridge: Bridge) -> int:
    """Return how many requests of both eras wait for an answer, or for their clients."""
    legacy = sum(one.ledger.in_flight for one in bridge.sessions)
    return bridge.responder.in_flight + legacy + bridge.translator.parked_calls


def of_server(bridge: Bridge) -> dict[str, object]:
    """Return what there is to know of one server, as JSON values."""
    statistics = bridge.catalogue.statistics
    shared = bridge.shared
    processes = [_process(one.process, "modern") for one in shared if one.process is not None]
    legacy = [one.process for one in bridge.sessions]
    if bridge.legacy_shared is not None:
        legacy.append(bridge.legacy_shared.process)
    legacy += [one.process for one in bridge.translator.sessions]
    own = (one for one in legacy if one is not None and not isinstance(one, Seat))
    processes += [_process(one, "legacy") for one in own]
    return {
        "name": bridge.server,
        "state": str(bridge.state),
        "eras": bridge.catalogue.verdict.names,
        "error": bridge.last_fault,
        "queue": sum(one.queued for one in shared) + bridge.translator.queued,
        "in_flight": sum(one.in_flight for one in shared)
        + sum(one.ledger.in_flight for one in bridge.sessions)
        + bridge.translator.in_flight,
        "parked": bridge.translator.parked_calls,
        "calls": statistics.requests,
        "errors": statistics.errors,
        "restarts": sum(one.restarts for one in shared),
        "sessions": bridge.open_sessions,
        "processes": processes,
    }


def _process(process: Process, era: str) -> dict[str, object]:
    return {
        "pid": process.pid or None,  # none of ours: it listens at a URL
        "rss_bytes": process.rss_bytes(),
        "era": era,
        "uptime_seconds": round(asyncio.get_running_loop().time() - process.started_at, 1),
        "noise_lines": process.noise_lines,
        "stderr_lines": process.stderr_lines,
    }
