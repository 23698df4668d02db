"""From a file that keeps the schema to configuration values.

What a schema cannot say is checked here first, by `late_faults`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from mcpnatsd.config.model import (
    Config,
    EmbeddedConfig,
    EraChoice,
    Isolation,
    Limits,
    NatsConfig,
    ServerConfig,
    Start,
    TlsConfig,
    ToolFilter,
    UnixEndpoint,
)
from mcpnatsd.config.schema import KeyPath

MOST_SOCKET_BYTES: Final = 107
"""Linux keeps a unix socket's path in 108 bytes, with a NUL at the end."""


def late_faults(tree: object) -> Iterator[tuple[KeyPath, str]]:
    """Find what only shows when values are compared. The tree may break the schema elsewhere."""
    servers, endpoints = _section(tree, "servers"), _section(tree, "endpoints")
    if isinstance(servers, dict):
        for name, server in servers.items():
            command = _section(server, "command")
            if isinstance(command, list) and command[:1] == [""]:
                yield ("servers", name, "command", 0), "the program's name is empty"
    if isinstance(endpoints, list):
        yield from _endpoint_faults(endpoints)


def _section(tree: object, key: str) -> object:
    return tree.get(key) if isinstance(tree, dict) else None


def _endpoint_faults(endpoints: list[object]) -> Iterator[tuple[KeyPath, str]]:
    first: dict[str, int] = {}
    for index, endpoint in enumerate(endpoints):
        path = _section(endpoint, "unix")
        if isinstance(path, str):
            yield from _path_faults(("endpoints", index, "unix"), path, first)
            first.setdefault(path, index)


def _path_faults(
    key: KeyPath, path: str, first: Mapping[str, int]
) -> Iterator[tuple[KeyPath, str]]:
    if path in first:
        yield key, f"endpoints[{first[path]}] has this path already; a socket serves one server"
    if len(path.encode("utf-8", "surrogateescape")) > MOST_SOCKET_BYTES:
        yield key, f"expected at most {MOST_SOCKET_BYTES} bytes: a unix socket's path is no longer"


def build(tree: Mapping[str, Any]) -> Config:
    """Make the configuration of a tree that keeps the schema and has no late faults."""
    named = {"name": tree["name"]} if "name" in tree else {}
    servers = tree.get("servers") or {}
    return Config(
        **named,
        nats=_nats(tree.get("nats") or {}),
        servers={name: _server(name, server) for name, server in servers.items()},
        endpoints=tuple(_endpoint(endpoint) for endpoint in tree.get("endpoints") or ()),
    )


def _nats(tree: Mapping[str, Any]) -> NatsConfig:
    fields = dict(tree)
    embedded = fields.pop("embedded", None)
    if (url := fields.pop("url", None)) is not None:
        fields["urls"] = (url,) if isinstance(url, str) else tuple(url)
    elif embedded is not None:
        fields["embedded"] = EmbeddedConfig(**embedded)
    if (tls := fields.pop("tls", None)) is not None:
        fields["tls"] = TlsConfig(**tls)
    return NatsConfig(**fields)


def _server(name: str, tree: Mapping[str, Any]) -> ServerConfig:
    return ServerConfig(
        name=name,
        command=tuple(tree["command"]),
        env=tree.get("env") or {},
        cwd=tree.get("cwd"),
        isolation=Isolation(tree.get("isolation", Isolation.AUTO)),
        era=EraChoice(tree.get("era", EraChoice.AUTO)),
        start=Start(tree.get("start", Start.LAZY)),
        limits=_limits(tree.get("limits") or {}),
        tools=_tools(tree.get("tools") or {}),
    )


def _limits(tree: Mapping[str, Any]) -> Limits:
    fields: dict[str, Any] = {
        key: float(value) if key.endswith("_timeout") else int(value) for key, value in tree.items()
    }
    return Limits(**fields)


def _tools(tree: Mapping[str, Any]) -> ToolFilter:
    return ToolFilter(**{key: tuple(patterns) for key, patterns in tree.items()})


def _endpoint(tree: Mapping[str, Any]) -> UnixEndpoint:
    mode = {"mode": int(tree["mode"], 8)} if "mode" in tree else {}
    return UnixEndpoint(path=tree["unix"], server=tree["server"], **mode)
