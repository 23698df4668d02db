"""From a file that keeps the schema to configuration values.

What a schema cannot say is checked here first, by `late_faults`.
"""

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any, Final

from mcpnatsd.config.files import wrong_with_credentials, wrong_with_nkey
from mcpnatsd.config.model import (
    Config,
    EmbeddedConfig,
    EraChoice,
    HttpEndpoint,
    HttpLimits,
    HttpTls,
    Isolation,
    JwtConfig,
    Level,
    Limits,
    LogConfig,
    MetricsConfig,
    NatsConfig,
    ServerConfig,
    Start,
    TlsConfig,
    ToolFilter,
    Transport,
    UnixEndpoint,
)
from mcpnatsd.config.schema import KeyPath

MOST_SOCKET_BYTES: Final = 107
"""Linux keeps a unix socket's path in 108 bytes, with a NUL at the end."""

_SECRETS: Final = {"nkey": wrong_with_nkey, "credentials": wrong_with_credentials}
_COMMAND_KEYS: Final = ("env", "cwd")
_URL_KEYS: Final = ("headers", "transport")
_UNIX_KEYS: Final = frozenset({"server", "mode"})
_HTTP_KEYS: Final = frozenset(
    {"servers", "tls", "tokens", "jwt", "secret", "origins", "hosts", "limits"}
)


def late_faults(tree: object) -> Iterator[tuple[KeyPath, str]]:
    """Find what only shows when values are compared. The tree may break the schema elsewhere."""
    servers, endpoints = _section(tree, "servers"), _section(tree, "endpoints")
    if isinstance(servers, dict):
        for name, server in servers.items():
            yield from _server_faults(("servers", name), server)
    if isinstance(endpoints, list):
        yield from _endpoint_faults(endpoints)
    yield from _nats_faults(_section(tree, "nats"))
    yield from _network_faults(_section(_section(tree, "metrics"), "drain_from"))


def _nats_faults(nats: object) -> Iterator[tuple[KeyPath, str]]:
    """Find two NATS, and a secret that would be taken for a path, and be shown as one."""
    if isinstance(nats, dict) and "url" in nats and "embedded" in nats:
        yield ("nats", "embedded"), "does not go with `url`: NATS is there, or it runs here"
    for key, wrong_with in _SECRETS.items():
        value = _section(nats, key)
        if isinstance(value, str) and (wrong := wrong_with(value)) is not None:
            yield ("nats", key), wrong


def _server_faults(key: KeyPath, server: object) -> Iterator[tuple[KeyPath, str]]:
    """Find what is missing from one kind of server, or belongs to the other."""
    if not isinstance(server, dict):
        return
    command = server.get("command")
    if isinstance(command, list) and command[:1] == [""]:
        yield (*key, "command", 0), "the program's name is empty"
    kind, others = ("url", _COMMAND_KEYS) if "url" in server else ("command", _URL_KEYS)
    if kind not in server:
        example = "command: [npx, -y, some-server]"
        yield key, f'"command" or "url" is missing; for example {example}'
    for other in others:
        if other in server:
            yield (*key, other), f"does not go with `{kind}`"
    if "url" in server and "command" in server:
        yield (*key, "command"), "does not go with `url`: it runs here, or it listens there"


def _section(tree: object, key: str) -> object:
    return tree.get(key) if isinstance(tree, dict) else None


def _endpoint_faults(endpoints: list[object]) -> Iterator[tuple[KeyPath, str]]:
    first: dict[str, int] = {}
    for index, endpoint in enumerate(endpoints):
        if isinstance(endpoint, dict):
            yield from _kind_faults(("endpoints", index), endpoint)
        path = _section(endpoint, "unix")
        if isinstance(path, str):
            yield from _path_faults(("endpoints", index, "unix"), path, first)
            first.setdefault(path, index)


def _kind_faults(key: KeyPath, endpoint: Mapping[str, object]) -> Iterator[tuple[KeyPath, str]]:
    """Find what is missing from one kind of endpoint, or belongs to the other."""
    kind, others = ("http", _UNIX_KEYS) if "http" in endpoint else ("unix", _HTTP_KEYS)
    if kind not in endpoint:
        yield key, '"unix" or "http" is missing; for example http: "127.0.0.1:8085"'
    elif isinstance(endpoint.get("unix"), str) and "server" not in endpoint and kind == "unix":
        yield key, '"server" is missing; for example server: github'
    for other in sorted(others & endpoint.keys()):
        yield (*key, other), f"does not go with `{kind}`"
    if kind == "http" and "unix" in endpoint:
        yield (*key, "unix"), "does not go with `http`: each is an endpoint of its own"


def _path_faults(
    key: KeyPath, path: str, first: Mapping[str, int]
) -> Iterator[tuple[KeyPath, str]]:
    if path in first:
        yield key, f"endpoints[{first[path]}] has this path already; a socket serves one server"
    if len(path.encode("utf-8", "surrogateescape")) > MOST_SOCKET_BYTES:
        yield key, f"expected at most {MOST_SOCKET_BYTES} bytes: a unix socket's path is no longer"


def _network_faults(networks: object) -> Iterator[tuple[KeyPath, str]]:
    for index, network in enumerate(networks if isinstance(networks, list) else ()):
        try:
            ip_network(str(network), strict=False)
        except ValueError:
            yield ("metrics", "drain_from", index), "is no network; for example 10.0.0.0/8"


def build(tree: Mapping[str, Any]) -> Config:
    """Make the configuration of a tree that keeps the schema and has no late faults."""
    named = {"name": tree["name"]} if "name" in tree else {}
    servers = tree.get("servers") or {}
    return Config(
        **named,
        log=_log(tree.get("log") or {}),
        nats=_nats(tree.get("nats") or {}),
        servers={name: _server(name, server) for name, server in servers.items()},
        endpoints=tuple(_endpoint(endpoint) for endpoint in tree.get("endpoints") or ()),
        metrics=_metrics(tree["metrics"]) if tree.get("metrics") else None,
    )


def _log(tree: Mapping[str, Any]) -> LogConfig:
    return LogConfig(level=Level(tree["level"]) if "level" in tree else None)


def _nats(tree: Mapping[str, Any]) -> NatsConfig:
    fields = dict(tree)
    embedded = fields.pop("embedded", None)
    if (url := fields.pop("url", None)) is not None:
        fields["urls"] = (url,) if isinstance(url, str) else tuple(url)
    if embedded is not None:
        fields["embedded"] = EmbeddedConfig(**embedded)
    if (tls := fields.pop("tls", None)) is not None:
        fields["tls"] = TlsConfig(**tls)
    return NatsConfig(**fields)


def _server(name: str, tree: Mapping[str, Any]) -> ServerConfig:
    return ServerConfig(
        name=name,
        command=tuple(tree.get("command") or ()),
        env=tree.get("env") or {},
        cwd=tree.get("cwd"),
        url=tree.get("url"),
        headers=tree.get("headers") or {},
        transport=Transport(tree.get("transport", Transport.AUTO)),
        isolation=Isolation(tree.get("isolation", Isolation.AUTO)),
        era=EraChoice(tree.get("era", EraChoice.AUTO)),
        start=Start(tree.get("start", Start.LAZY)),
        limits=_limits(tree.get("limits") or {}),
        tools=_tools(tree.get("tools") or {}),
    )


def _limits(tree: Mapping[str, Any]) -> Limits:
    return Limits(**_numbers(tree))


def _numbers(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: float(value) if key.endswith("_timeout") else int(value) for key, value in tree.items()
    }


def _tools(tree: Mapping[str, Any]) -> ToolFilter:
    return ToolFilter(**{key: tuple(patterns) for key, patterns in tree.items()})


def _metrics(tree: Mapping[str, Any]) -> MetricsConfig:
    networks = {"drain_from": tuple(tree["drain_from"])} if "drain_from" in tree else {}
    return MetricsConfig(listen=tree["listen"], **networks)


def _endpoint(tree: Mapping[str, Any]) -> UnixEndpoint | HttpEndpoint:
    if "http" in tree:
        return _http_endpoint(tree)
    mode = {"mode": int(tree["mode"], 8)} if "mode" in tree else {}
    return UnixEndpoint(path=tree["unix"], server=tree["server"], **mode)


def _http_endpoint(tree: Mapping[str, Any]) -> HttpEndpoint:
    fields = {key: tuple(tree[key]) for key in ("servers", "origins", "hosts") if key in tree}
    tls, jwt = tree.get("tls"), tree.get("jwt")
    return HttpEndpoint(
        **fields,
        address=tree["http"],
        tls=None if tls is None else HttpTls(**tls),
        tokens=tree.get("tokens"),
        jwt=None if jwt is None else JwtConfig(**jwt),
        secret=tree.get("secret"),
        limits=HttpLimits(**_numbers(tree.get("limits") or {})),
    )
