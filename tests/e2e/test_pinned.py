"""A client whose process is its own, on the instance that holds it."""

from pathlib import Path

from tests.running import daemon, server, shim, text_of


async def test_a_large_request_reaches_the_process_of_its_client(tmp_path: Path) -> None:
    thin = {"command": server("thin"), "isolation": "session"}
    async with daemon(tmp_path, {"thin": thin}), await shim(tmp_path, "thin") as client:
        first = text_of(await client.call("pid"))

        assert text_of(await client.call("echo", text="x" * 3_000_000, bound=60)) == "x" * 3_000_000
        assert text_of(await client.call("pid")) == first
