"""A legacy client's messages as a modern server takes them, and the answers as that client does.

What a server asks back is in `input_rounds.py`, what a client listens to in `listening.py`. Values
pass as the bytes they came in; only what one era has and the other has not is put in or taken out.
"""

from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Raw

from mcpnatsd.errors import McpnatsdError
from mcpnatsd.protocol import eras, jsonrpc
from mcpnatsd.protocol.jsonrpc import Members, Request

LEVELS: Final = frozenset({
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
})  # fmt: skip

COMPLETE: Final = "complete"
INPUT_REQUIRED: Final = "input_required"

_RESULT_TYPE: Final = "resultType"
_TASKS: Final = "io.modelcontextprotocol/tasks"
_EMPTY: Final = Raw(b"{}")
_BRACE: Final = ord("{")
_SAME: Final = ("tools", "resources", "prompts", "completions", "experimental")
"""Capabilities of a server that mean the same in both eras."""

_split_list = msgspec.json.Decoder(list[Members]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduced:
    """What a client said of itself in `initialize`."""

    revision: str
    """The revision of its session: its own, or the newest of its era."""

    stamp: Members
    """What the `_meta` of each of its requests says from now on."""

    offers: frozenset[str]
    """What it may be asked: methods, and for elicitation its modes, as `elicitation/form`."""


def introduced(initialize: Request) -> Introduced:
    """Read the first message of a session.

    Raises:
        RemoteProtocolError: Its `params` are no object.
    """
    params = jsonrpc.params_of(initialize.members)
    capabilities = jsonrpc.object_of(params, "capabilities")
    stamp: Members = {
        eras.PROTOCOL_VERSION: Raw(jsonrpc.encode(eras.MODERN_REVISIONS[0])),
        eras.CLIENT_CAPABILITIES: Raw(jsonrpc.encode(_client_capabilities(capabilities))),
    }
    if _is_object(params.get("clientInfo")):
        stamp[eras.CLIENT_INFO] = params["clientInfo"].copy()
    asked = eras.requested_by_initialize(initialize)
    return Introduced(
        revision=asked if asked in eras.LEGACY_REVISIONS else eras.LEGACY_REVISIONS[0],
        stamp=stamp,
        offers=_offers(capabilities),
    )


def stamped(request: Request, stamp: Members) -> tuple[bytes, Members, Members]:
    """Return the line of a modern request, with the members of its `params` and of their `_meta`.

    Raises:
        RemoteProtocolError: Its `params` are no object.
    """
    params = jsonrpc.params_of(request.members)
    meta = jsonrpc.object_of(params, eras.META)
    for ours in (eras.LOG_LEVEL, eras.CLIENT_INFO):  # the stamp need not have them
        meta.pop(ours, None)
    meta.update(stamp)
    params[eras.META] = Raw(jsonrpc.encode(meta))
    return jsonrpc.encode({**request.members, "params": params}), params, meta


def refusal(method: str) -> str | None:
    """Say why a request of the client has no counterpart in the modern era; None when it has."""
    if method.startswith("tasks/"):
        return f"{method} is not possible: this server has no tasks of the client's revision"
    if method == eras.LISTEN:
        return f"{method} is not of the client's revision: send {eras.SUBSCRIBE}"
    return None


def welcome(
    client: Introduced, discovered: Members, server: str, *, logging: bool
) -> dict[str, object]:
    """Return the result of `initialize`, made from the one of `server/discover`.

    Log messages are offered only where they can be attributed: `logging` says so.
    """
    meta = jsonrpc.object_of(discovered, eras.META)
    info = meta.pop(eras.SERVER_INFO, None)
    result: dict[str, object] = {
        "protocolVersion": client.revision,
        "capabilities": _server_capabilities(discovered, logging=logging),
        "serverInfo": info if _is_object(info) else {"name": server, "version": ""},
    }
    if jsonrpc.text_of(discovered, "instructions") is not None:
        result["instructions"] = discovered["instructions"]
    if meta:
        result[eras.META] = meta
    return result


def kind_of(result: Members) -> str:
    """Return the `resultType`. 2026-07-28, Basic: absent means complete, an unknown one is invalid.

    Raises:
        McpnatsdError: It is one that no legacy client knows.
    """
    if _RESULT_TYPE not in result:
        return COMPLETE
    kind = jsonrpc.text_of(result, _RESULT_TYPE)
    if kind not in (COMPLETE, INPUT_REQUIRED):
        raise McpnatsdError(
            f"the server answered with a result of type {kind!r}, which a client of this revision "
            "cannot take; whatever it started may be running"
        )
    return kind


def as_legacy(method: str, result: Members) -> Members:
    """Return a complete result as a legacy client takes it. `result` is changed."""
    result.pop(_RESULT_TYPE, None)
    if method == eras.CALL_TOOL:
        _wrap_structured(result)
    elif method == eras.LIST_TOOLS and "tools" in result:
        result["tools"] = _with_object_schemas(result["tools"])
    return result


def without_subscription(params: Members) -> Members:
    """Return the `params` of a subscription's notification without its id. They are changed."""
    meta = jsonrpc.object_of(params, eras.META)
    if meta.pop(eras.SUBSCRIPTION_ID, None) is not None:
        if meta:
            params[eras.META] = Raw(jsonrpc.encode(meta))
        else:
            del params[eras.META]
    return params


def _client_capabilities(offered: Members) -> Members:
    """Return them as 2026-07-28 has them: roots have no members, tasks are an extension."""
    kept = {name: value for name, value in offered.items() if _is_object(value)}
    kept.pop("tasks", None)
    if "roots" in kept:
        kept["roots"] = _EMPTY
    if "extensions" in kept:
        extensions = jsonrpc.object_of(kept, "extensions")
        # A server may answer with a task whom that was offered, and no legacy client fetches it.
        extensions.pop(_TASKS, None)
        kept["extensions"] = Raw(jsonrpc.encode(extensions))
    return kept


def _offers(capabilities: Members) -> frozenset[str]:
    offers = set()
    if _is_object(capabilities.get("roots")):
        offers.add("roots/list")
    if _is_object(capabilities.get("sampling")):
        offers.add("sampling/createMessage")
    if _is_object(capabilities.get("elicitation")):
        modes = jsonrpc.object_of(capabilities, "elicitation")
        # 2025-11-25, Elicitation: an empty object means forms only.
        offers |= {f"elicitation/{mode}" for mode in (modes or ("form",))}
    return frozenset(offers)


def _server_capabilities(discovered: Members, *, logging: bool) -> Members:
    offered = jsonrpc.object_of(discovered, "capabilities")
    names = (*_SAME, "logging") if logging else _SAME
    return {name: offered[name] for name in names if _is_object(offered.get(name))}


def _wrap_structured(result: Members) -> None:
    """Put structured content that is no object into one: older revisions take nothing else."""
    structured = result.get("structuredContent")
    if structured is not None and not _is_object(structured):
        result["structuredContent"] = Raw(b'{"result":%b}' % bytes(structured))


def _with_object_schemas(tools: Raw) -> Raw:
    """Leave out output schemas that older revisions refuse, and with them the whole list."""
    try:
        listed = _split_list(tools)
    except msgspec.DecodeError:
        return tools
    odd = [tool for tool in listed if "outputSchema" in tool and not _describes_object(tool)]
    for tool in odd:
        del tool["outputSchema"]
    return Raw(jsonrpc.encode(listed)) if odd else tools


def _describes_object(tool: Members) -> bool:
    return jsonrpc.text_of(jsonrpc.object_of(tool, "outputSchema"), "type") == "object"


def _is_object(raw: Raw | None) -> bool:
    return raw is not None and memoryview(raw)[0] == _BRACE
