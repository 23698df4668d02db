"""What an HTTP server can do wrong, each as the rest of a sentence that begins with its name."""

from http import HTTPStatus
from typing import Final
from urllib.parse import urljoin, urlsplit

from mcpnatsd.backends.http_client import Answer, masked
from mcpnatsd.errors import BackendError, Busy, McpnatsdError, ProcessDied, TooLarge

DENIED: Final = (401, 403)
NOT_FOUND: Final = 404

_TOO_LARGE: Final = 413
_TOO_MANY: Final = 429
_REDIRECTS: Final = range(300, 400)
_OUR_FAULT: Final = range(400, 500)


def fault_of(url: str, answer: Answer) -> McpnatsdError:
    """Return what an answer without a message of use amounts to."""
    where, status = masked(urlsplit(url)), answer.status
    if answer.ok:
        kind = answer.kind or "nothing"
        return ProcessDied(f"answered with {kind} at {where}: is that its MCP endpoint?")
    said = f"answered HTTP {status}{_phrase(status)} at {where}"
    if status in _REDIRECTS:
        target = masked(urlsplit(urljoin(url, answer.headers.get("location", ""))))
        return ProcessDied(f"{said}, which we do not follow; its `url` may be {target}")
    if status in DENIED:
        return ProcessDied(f"{said}: it does not let us in; see `headers: {{Authorization: …}}`")
    if status == _TOO_LARGE:
        return TooLarge(said)
    return Busy(said) if status == _TOO_MANY else ProcessDied(said)


def is_about_era(status: int) -> bool:
    """Tell whether a refusal of the first request may mean that the server speaks another way."""
    return status in _OUR_FAULT and status not in (*DENIED, _TOO_MANY)


def unknown_outcome(fault: Exception) -> ProcessDied:
    return ProcessDied(f"{fault}; whether the request ran is unknown")


def named(server: str, fault: McpnatsdError) -> McpnatsdError:
    """Return a fault as a whole sentence."""
    kind = type(fault) if isinstance(fault, BackendError | TooLarge) else ProcessDied
    return kind(f"server {server!r} {fault}")


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""
