"""Who may ask what, by where the question comes from and what it says."""

import asyncio
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path

import pytest

from mcpnatsd.config.model import MetricsConfig
from mcpnatsd.daemon.draining import Draining
from mcpnatsd.daemon.health import Health
from mcpnatsd.daemon.probe_listener import Question
from mcpnatsd.daemon.probes import Probes
from mcpnatsd.daemon.view import View
from mcpnatsd.errors import LocalProtocolError

POD = "10.1.2.3"
HERE = "127.0.0.1"


def no_view() -> View:
    raise LocalProtocolError("nothing to look at yet")


async def status(path: str, peer: str, *, draining: Draining, **headers: str) -> int:
    """Return what a daemon answers that has nothing to drain."""
    config = MetricsConfig(listen="0.0.0.0:0", drain_from=("127.0.0.0/8", "10.0.0.0/8"))
    probes = Probes(config, Health(Path("mcpnatsd.yaml"), draining, no_view), no_view)
    named = {name.replace("_", "-"): said for name, said in headers.items()}
    return (await probes.answer(Question("GET", path, named, ip_address(peer)))).status


@pytest.mark.parametrize(
    ("peer", "headers", "found"),
    [
        (HERE, {"host": "127.0.0.1:8222"}, 200),
        (HERE, {}, 200),
        (POD, {"host": "10.9.9.9:8222"}, 200),  # as a kubelet asks
        (POD, {"host": "[fd00::1]:8222"}, 200),
        (POD, {"host": "localhost"}, 200),
        (POD, {"host": "evil.example:8222"}, 403),
        (HERE, {"host": "evil.example"}, 403),
        (HERE, {"host": ""}, 403),
        (HERE, {"mcpnatsd_drain": "no"}, 403),
        (HERE, {"mcpnatsd_drain": "", "host": "127.0.0.1"}, 403),
        (HERE, {"sec_fetch_site": "same-origin", "host": "127.0.0.1"}, 403),
        ("192.0.2.1", {"host": "10.9.9.9"}, 403),
    ],
)
async def test_only_who_means_it_drains(peer: str, headers: dict[str, str], found: int) -> None:
    draining = Draining(list, list)
    runs = asyncio.create_task(draining.run())
    said = {"mcpnatsd_drain": "yes", **headers}
    assert await status("/drain", peer, draining=draining, **said) == found
    runs.cancel()

    assert draining.begun is (found == 200)


@pytest.mark.parametrize(
    ("peer", "host", "found"),
    [
        (POD, "weather.svc:8222", HTTPStatus.OK),  # as Prometheus may name us
        (HERE, "weather.svc:8222", HTTPStatus.FORBIDDEN),
        ("::1", "evil.example", HTTPStatus.FORBIDDEN),
        ("::1", "[::1]:8222", HTTPStatus.OK),
        (HERE, "LOCALHOST:8222", HTTPStatus.OK),
    ],
)
async def test_who_looks_on_this_machine_needs_an_address(
    peer: str, host: str, found: HTTPStatus
) -> None:
    assert await status("/healthz", peer, draining=Draining(list, list), host=host) == found
