"""One entry of the log for each request that was answered: who asked for what, and how it went.

Only at DEBUG, as there may be thousands a second. Never what was asked or answered.
"""

import logging

from mcpnatsd.bus.served import Served
from mcpnatsd.protocol import eras

log = logging.getLogger(__name__)


def say_answered(server: str, served: Served, seconds: float) -> None:
    """Say of an exchange that it is over."""
    if log.isEnabledFor(logging.DEBUG):
        caller = served.user.decode("latin-1") or served.edge
        facts = {"caller": caller or None, "subject": served.subject}
        _say(server, (served.method, served.asked.name), seconds, served.error, facts)


def say_session_answered(
    server: str, called: tuple[str, str | None], seconds: float, error: str | None, user: bytes
) -> None:
    """Say of a request in a legacy session, `called` being its method and what that names."""
    if log.isEnabledFor(logging.DEBUG):
        facts = {"caller": user.decode("latin-1") or None, "era": "legacy"}
        _say(server, called, seconds, error, facts)


def _say(
    server: str,
    called: tuple[str, str | None],
    seconds: float,
    error: str | None,
    facts: dict[str, str | None],
) -> None:
    method, name = called
    tool = {"tool": name[:200]} if name is not None and method == eras.CALL_TOOL else {}
    known = {key: value for key, value in facts.items() if value is not None}
    failed = {"error": error[:200]} if error is not None else {}
    log.debug(
        "request answered" if error is None else "request failed",
        extra={
            "server": server,
            "method": method,
            **tool,
            **known,
            "ms": round(seconds * 1000, 1),
            **failed,
        },
    )
