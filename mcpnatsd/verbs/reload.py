"""`mcpnatsd reload`: has the daemon read its configuration again, and says what came of it."""

from collections.abc import Mapping
from typing import Any, Final

from mcpnatsd.verbs.status import asked, socket_of
from mcpnatsd.verbs.terminal import clean, complain, say, say_json

TIMEOUT: Final = 310.0
"""Seconds: longer than the daemon itself takes at most."""


async def reload(environ: Mapping[str, str], name: str | None, *, as_json: bool) -> int:
    """Print the plan that was carried out, or why there was none; 1 when it was refused.

    Raises:
        NoDaemon: None runs here, or it does not answer.
    """
    answer = await asked(socket_of(environ, name), "reload", within=TIMEOUT)
    done = answer.get("ok") is True
    if as_json:
        say_json(answer)
    elif done:
        say(clean(rendered(answer)))
    else:
        complain(clean(f"reload refused; what ran before runs on:\n{answer.get('fault')}"))
    return 0 if done else 1


def rendered(answer: Mapping[str, Any]) -> str:
    """Return the plan, a line for each thing."""
    plan = answer.get("plan") or []
    if plan:
        return "\n".join(map(_line, plan))
    before = answer.get("before") or {}
    if not before.get("plan"):
        return "nothing changed"
    since = f"nothing changed since {before.get('at')}, when this was taken over:"
    return "\n".join([since, *map(_line, before["plan"])])


def _line(step: Mapping[str, Any]) -> str:
    named = " ".join(str(step[key]) for key in ("sign", "what", "name") if step.get(key))
    keys = ", ".join(map(str, step.get("keys") or []))
    return f"{named} ({keys})" if keys else named
