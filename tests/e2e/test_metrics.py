"""What Prometheus reads of a daemon, by Prometheus' own parser."""

import asyncio
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.clients import client
from tests.natsd import NatsServer
from tests.probing import LISTEN, address_of, becomes, probe
from tests.running import BOUND, daemon, server, text_of, verb

LISTED = 'mcpnatsd_tool_calls_total{server="thin",tool="echo"} 0'


async def metrics(address: str) -> dict[str, Metric]:
    """Return all metrics by name, of a page made just now; no series may be there twice."""
    kept = (await probe(address, "/metrics")).text
    async with asyncio.timeout(BOUND):
        while (found := await probe(address, "/metrics")).text == kept:
            await asyncio.sleep(0.05)  # the same page for a second, whoever asks
    assert found.status == 200
    assert found.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {one.name: one for one in text_string_to_metric_families(found.text)}
    series = [
        (sample.name, *sorted(sample.labels.items()))
        for one in families.values()
        for sample in one.samples
    ]
    assert len(series) == len(set(series))
    assert all(one.documentation and one.type != "unknown" for one in families.values())
    return families


def value(families: dict[str, Metric], name: str, suffix: str = "", **labels: str) -> float:
    [found] = [
        sample.value
        for sample in families[name].samples
        if sample.name == name + suffix and sample.labels == labels
    ]
    return float(found)


async def test_calls_and_errors_of_both_eras_are_counted_and_timed(
    tmp_path: Path, nats_url: str, prefix: str
) -> None:
    nats = {"url": nats_url, "prefix": prefix}
    async with (
        daemon(tmp_path, {"thin": server("thin")}, nats=nats, metrics=LISTEN) as running,
        client(tmp_path, "thin") as modern,
        client(tmp_path, "thin", "legacy") as legacy,
    ):
        address = await address_of(running)
        await modern.answer(modern.modern("tools/list"))
        await becomes(address, "/metrics", 200, LISTED)
        for one, era in ((modern, "modern"), (legacy, "legacy")):
            assert text_of(await one.call("echo", era=era, text="a")) == "a"
            assert "error" in await one.call("no_such_tool", era=era)
        await modern.call("sleep", seconds=0.03)
        found = await metrics(address)

    named = {"server": "thin", "method": "tools/call"}
    duration = "mcp_server_operation_duration_seconds"
    assert value(found, duration, "_count", **named) == 5
    assert 0.03 <= value(found, duration, "_sum", **named) < 60
    buckets = [value(found, duration, "_bucket", **named, le=le) for le in ("0.02", "300", "+Inf")]
    assert buckets == sorted(buckets)
    assert buckets[0] <= 4
    assert buckets[1:] == [5, 5]
    assert value(found, "mcpnatsd_errors", "_total", **named) == 2
    echoed = {"server": "thin", "tool": "echo"}
    assert value(found, "mcpnatsd_tool_calls", "_total", **echoed) == 2
    assert value(found, "mcpnatsd_tool_errors", "_total", **echoed) == 0
    assert value(found, "mcpnatsd_processes", server="thin") == 2
    assert value(found, "mcpnatsd_sessions", server="thin") == 1
    assert value(found, "mcpnatsd_process_memory_bytes", server="thin") > 1e6
    assert value(found, "mcpnatsd_server_failing", server="thin") == 0
    assert value(found, "mcpnatsd_memory_bytes") > 1e7


async def test_what_a_caller_makes_up_is_no_label(
    tmp_path: Path, nats_url: str, prefix: str
) -> None:
    nats = {"url": nats_url, "prefix": prefix}
    async with (
        daemon(tmp_path, {"thin": server("thin")}, nats=nats, metrics=LISTEN) as running,
        client(tmp_path, "thin") as one,
    ):
        address = await address_of(running)
        await one.answer(one.modern("tools/list"))
        await becomes(address, "/metrics", 200, LISTED)
        for number in range(20):
            await one.answer(one.modern(f"made/up{number}", hush="hush"))
            await one.call(f"made_up{number}", hush="hush")
        found = await metrics(address)
        page = (await probe(address, "/metrics")).text

    assert "made" not in page
    assert "hush" not in page
    duration = "mcp_server_operation_duration_seconds"
    assert value(found, duration, "_count", server="thin", method="other") == 20


async def test_nats_that_came_back_and_reloads_are_counted(
    tmp_path: Path, natsd: NatsServer
) -> None:
    servers = {"thin": server("thin")}
    async with daemon(tmp_path, servers, nats_url=natsd.url, metrics=LISTEN) as running:
        address = await address_of(running)
        before = await metrics(address)
        natsd.kill()
        await becomes(address, "/metrics", 200, "mcpnatsd_nats_up 0\n")
        natsd.start()
        await becomes(address, "/metrics", 200, "mcpnatsd_nats_up 1\n")
        config = tmp_path / "mcpnatsd.yaml"
        good = config.read_text(encoding="utf-8")
        config.write_text("servers: [", encoding="utf-8")
        assert (await verb(tmp_path, "reload")).code == 1
        stale = await metrics(address)
        config.write_text(good.replace("thin:", "other:"), encoding="utf-8")
        assert (await verb(tmp_path, "reload")).code == 0
        await becomes(address, "/metrics", 200, 'mcpnatsd_server_failing{server="other"}')
        async with asyncio.timeout(BOUND):
            while 'server="thin"' in (await probe(address, "/metrics")).text:
                await asyncio.sleep(0.05)  # it finishes what is open
        after = await metrics(address)

    assert value(before, "mcpnatsd_nats_connects", "_total") == 1
    assert value(after, "mcpnatsd_nats_connects", "_total") == 2
    assert value(before, "mcpnatsd_reloads", "_total", result="refused") == 0
    assert value(stale, "mcpnatsd_config_stale") == 1
    assert value(after, "mcpnatsd_reloads", "_total", result="refused") >= 1
    assert value(after, "mcpnatsd_reloads", "_total", result="applied") >= 1
    assert value(after, "mcpnatsd_config_stale") == 0
    servers_now = {one.labels["server"] for one in after["mcpnatsd_server_failing"].samples}
    assert servers_now == {"other"}


async def test_scrapes_side_by_side_are_all_answered(tmp_path: Path) -> None:
    async with daemon(tmp_path, {"thin": server("thin")}, metrics=LISTEN) as running:
        address = await address_of(running)
        found = await asyncio.gather(*(probe(address, "/metrics") for _ in range(20)))

    assert {one.status for one in found} == {200}
    assert len({one.text for one in found}) < len(found)  # each page holds the CPU time so far
