"""What a person sees who opens a server's address, and what a page served elsewhere may do.

Chromium does it, without a window. Where there is none, the same requests are made without it, and
the summary says so.
"""

import asyncio
import json
import os
import shutil
import signal
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from string import Template
from typing import Protocol

import httpx2
import pytest
import pytest_asyncio

from tests.gateways import Gateway, free_port, gateway, modern_message
from tests.running import server

BOUND = 90.0
ENDS_WITHIN = 10.0
OWN, FOREIGN = "app.example.com", "evil.example.com"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAPPED = ", ".join(f"MAP {name} 127.0.0.1" for name in (OWN, FOREIGN))
OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", f"--host-resolver-rules={MAPPED}",
]  # fmt: skip
PAGE = Template("""<!doctype html><script>
const message = $message;
const ask = more => fetch("$url", {method: "POST", body: message, ...more});
const tell = told => fetch("/told", {method: "POST", body: String(told)});
ask({mode: "no-cors"}).catch(() => null)
  .then(() => ask({headers: $headers}))
  .then(async answer => answer.status + " " + await answer.text())
  .then(tell, tell);
</script>""")


class NoBrowser(UserWarning):
    """What is tested here was tested without a browser."""


pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings(f"always::{__name__}.NoBrowser"),
]


class Visitor(Protocol):
    """A browser, or what stands in for it."""

    async def read(self, url: str) -> str:
        """Return what a person sees at an address."""
        ...

    async def run(self, site: "Site", host: str) -> str:
        """Open the site under that name; return what its page was told."""
        ...


class Site:
    """Serves one page, which asks the gateway, and says what came of it."""

    def __init__(self, port: int, url: str) -> None:
        body, headers = modern_message("tools/call", name="record", arguments={"text": "a"})
        self.url, self.body, self.port = url, json.dumps(body), port
        self.headers = {**headers, "content-type": "application/json"}
        self.told: asyncio.Queue[str] = asyncio.Queue()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):  # a browser connects before it has to
            await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
        told = (await reader.readexactly(length)).decode()
        if head.startswith("post /told"):
            self.told.put_nowait(told)
        page = self._page() if head.startswith("get / ") else b""
        status = "200 OK" if page else "404 Not Found"
        kind = f"Content-Type: text/html\r\nContent-Length: {len(page)}\r\nConnection: close"
        writer.write(f"HTTP/1.1 {status}\r\n{kind}\r\n\r\n".encode() + page)
        await writer.drain()

    def _page(self) -> bytes:
        given = {"message": json.dumps(self.body), "headers": json.dumps(self.headers)}
        return PAGE.substitute(given, url=self.url).encode()


class Chromium:
    """The real one. Each visit is a process with a profile of its own."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._visits = 0

    async def read(self, url: str) -> str:
        async with self._opened("--dump-dom", url) as process, asyncio.timeout(BOUND):
            out, _ = await process.communicate()
        return out.decode()

    async def run(self, site: Site, host: str) -> str:
        async with self._opened(f"http://{host}:{site.port}/"), asyncio.timeout(BOUND):
            return await site.told.get()

    @asynccontextmanager
    async def _opened(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        self._visits += 1
        home = self._folder / f"visit-{self._visits}"
        home.mkdir()
        with (home / "stderr").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                self._program, *OPTIONS, f"--user-data-dir={home}", *arguments,
                env={**os.environ, "HOME": str(home)}, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            yield process
        finally:
            await end(process)


async def end(process: asyncio.subprocess.Process) -> None:
    """End a browser, and the processes of its own, if it leaves any."""
    if process.returncode is None:
        process.terminate()
    with suppress(TimeoutError):
        async with asyncio.timeout(ENDS_WITHIN):
            await process.communicate()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.communicate()


class Plain:
    """Sends what a browser would send, and obeys the answers as it would."""

    async def read(self, url: str) -> str:
        where = httpx2.URL(url)
        name = where.netloc.decode()
        async with httpx2.AsyncClient(timeout=BOUND) as http:
            accept = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "host": name}
            return (await http.get(where.copy_with(host="127.0.0.1"), headers=accept)).text

    async def run(self, site: Site, host: str) -> str:
        origin = f"http://{host}:{site.port}"
        async with httpx2.AsyncClient(timeout=BOUND, headers={"origin": origin}) as http:
            plain = {"content-type": "text/plain;charset=UTF-8", "accept": "*/*"}
            await http.post(site.url, content=site.body, headers=plain)
            asks = {"access-control-request-method": "POST"}
            asks["access-control-request-headers"] = ",".join(sorted(site.headers))
            if not allows(await http.options(site.url, headers=asks), origin):
                return "TypeError: Failed to fetch"
            answer = await http.post(site.url, content=site.body, headers=site.headers)
            assert allows(answer, origin)
            return f"{answer.status_code} {answer.text}"


def allows(answer: httpx2.Response, origin: str) -> bool:
    return answer.is_success and answer.headers.get("access-control-allow-origin") == origin


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture
def visitor(tmp_path: Path) -> Visitor:
    program = chromium()
    if program is not None:
        return Chromium(program, tmp_path)
    warnings.warn(NoBrowser("there is no Chromium here: plain requests stand in"), stacklevel=1)
    return Plain()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sited(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Gateway, Site]]:
    """A gateway to which the pages of one foreign origin may come, and a site of two names."""
    folder, port = tmp_path_factory.mktemp("browser"), free_port()
    (folder / "record").touch()
    served: Mapping[str, object] = {"recorder": server("recorder", str(folder / "record"))}
    async with gateway(folder, served, origins=[f"http://{OWN}:{port}"]) as web:
        site = Site(port, f"{web.url}/mcp/recorder")
        async with await asyncio.start_server(site.answer, "127.0.0.1", port):
            yield web, site


def recorded(web: Gateway) -> int:
    """Return how many calls reached the server."""
    return (web.daemon.folder / "record").read_text().count("tools/call")


async def test_a_browser_shows_what_the_server_is_and_its_tools(
    visitor: Visitor, sited: tuple[Gateway, Site]
) -> None:
    _, site = sited
    shown = await visitor.read(site.url)

    assert "<h1>recorder</h1>" in shown
    assert "<dt>echo</dt>" in shown
    assert site.url in shown


async def test_a_page_served_elsewhere_is_refused_and_its_calls_reach_nobody(
    visitor: Visitor, sited: tuple[Gateway, Site]
) -> None:
    web, site = sited
    before = recorded(web)

    assert await visitor.run(site, FOREIGN) == "TypeError: Failed to fetch"
    assert recorded(web) == before


async def test_a_page_of_an_origin_that_may_come_calls_a_tool(
    visitor: Visitor, sited: tuple[Gateway, Site]
) -> None:
    web, site = sited
    before = recorded(web)

    told = await visitor.run(site, OWN)

    assert told.startswith("200 ")
    assert json.loads(told.removeprefix("200 "))["result"]["content"][0]["text"] == "a"
    assert recorded(web) == before + 1


async def test_a_name_that_somebody_else_bound_to_this_address_shows_nothing(
    visitor: Visitor, sited: tuple[Gateway, Site]
) -> None:
    web, _ = sited
    shown = await visitor.read(f"http://{FOREIGN}:{web.port}/mcp/recorder")

    assert "echo" not in shown
    assert "this listener has another name" in shown
