"""What can be probed: which path is what, and who may ask.

Anybody who reaches the listener may look. To drain is to stop serving for good, so that takes an
address of `drain_from` and a header: a tool that fetches any URL must not be able to do it. Nor may
a page in a browser, not even one that found a name for our address.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from typing import Final

from mcpnatsd.config.model import MetricsConfig
from mcpnatsd.daemon import metrics
from mcpnatsd.daemon.health import Health, Verdict
from mcpnatsd.daemon.probe_listener import ProbeListener, Question, Reply
from mcpnatsd.daemon.view import View
from mcpnatsd.errors import LocalProtocolError

DRAIN: Final = "/drain"
PATHS: Final = ("/startz", "/readyz", "/healthz", DRAIN, "/metrics")

DRAIN_HEADER: Final = "Mcpnatsd-Drain"
"""It says "yes". No URL holds a header, and a browser asks first whether a page may send it."""

PAGE_LASTS: Final = 1.0
"""Seconds for which one page of metrics serves all who ask: it is work."""

_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
_READ: Final = frozenset({"GET", "HEAD"})
_DRAIN: Final = frozenset({"GET", "POST"})
"""GET too: a preStop hook of Kubernetes can send headers, but nothing else."""


class Probes:
    """The listener of one daemon, and what it answers."""

    def __init__(self, config: MetricsConfig, health: Health, view: Callable[[], View]) -> None:
        self.listener = ProbeListener(config.listen, self.answer, waits={DRAIN})
        self._health = health
        self._view = view
        self._drain_from = [ip_network(network, strict=False) for network in config.drain_from]
        self._looks = {
            "/startz": health.started,
            "/readyz": health.ready,
            "/healthz": health.healthy,
        }
        self._scrape = asyncio.Lock()
        self._page = ""
        self._page_until = float("-inf")

    async def answer(self, question: Question) -> Reply:
        """Answer one question."""
        refusal = self._refusal(question)
        if refusal is not None:
            return refusal
        if question.path == DRAIN:
            return _reply(await self._health.drain())
        if question.path == "/metrics":
            return await self._metrics()
        return _reply(self._looks[question.path]())

    def _refusal(self, question: Question) -> Reply | None:
        if _is_of_a_page(question):
            return Reply(HTTPStatus.FORBIDDEN, "no web page may ask this")
        if not _is_named_rightly(question):
            text = "ask by an address, not by a name: a web page can have one made for itself"
            return Reply(HTTPStatus.FORBIDDEN, text)
        if question.path not in PATHS:
            return Reply(HTTPStatus.NOT_FOUND, f"nothing is here; try {', '.join(PATHS)}")
        methods = _DRAIN if question.path == DRAIN else _READ
        if question.method not in methods:
            text = f"{question.path} takes {' and '.join(sorted(methods))}"
            return Reply(HTTPStatus.METHOD_NOT_ALLOWED, text)
        why = self._may_not_drain(question) if question.path == DRAIN else None
        return None if why is None else Reply(HTTPStatus.FORBIDDEN, why)

    def _may_not_drain(self, question: Question) -> str | None:
        if question.headers.get(DRAIN_HEADER.lower()) != "yes":
            return f"a drain is for good, so it takes the header {DRAIN_HEADER}: yes"
        if not any(question.peer in network for network in self._drain_from):
            return f"{question.peer} may not drain this daemon: see metrics.drain_from"
        return None

    async def _metrics(self) -> Reply:
        try:
            view = self._view()
        except LocalProtocolError:
            return Reply(HTTPStatus.SERVICE_UNAVAILABLE, "the daemon is starting")
        now = asyncio.get_running_loop().time
        async with self._scrape:
            if now() >= self._page_until:
                self._page = await metrics.page(view, draining=self._health.draining.begun)
                self._page_until = now() + PAGE_LASTS
        return Reply(HTTPStatus.OK, self._page, _PROMETHEUS)


def _reply(verdict: Verdict) -> Reply:
    return Reply(
        HTTPStatus.OK if verdict.good else HTTPStatus.SERVICE_UNAVAILABLE,
        " ".join(verdict.text.split()),
    )


def _is_of_a_page(question: Question) -> bool:
    """Say whether a browser asks on behalf of a page; a person's own visit is "none"."""
    site = question.headers.get("sec-fetch-site", "none")
    return "origin" in question.headers or site != "none"


def _is_named_rightly(question: Question) -> bool:
    """Say whether the name we were found under can be no page's own.

    A page can have its name point at us, and is then told everything: for its browser we are where
    it comes from. It cannot have an address for a name. Who only looks from elsewhere may use any
    name: we do not know ours.
    """
    if question.path != DRAIN and not question.peer.is_loopback:
        return True
    named = question.headers.get("host")
    return named is None or _is_address(_host(named))


def _host(address: str) -> str:
    """Return the host of `host`, `host:port` or `[host]:port`."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    return True
