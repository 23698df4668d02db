"""What a reload has to do: what differs, what is left alone, what needs a restart."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpnatsd.config.diff import Change, Sign, Step, between, differing, place_keys
from mcpnatsd.config.model import (
    Config,
    EmbeddedConfig,
    HttpEndpoint,
    HttpTls,
    Level,
    Limits,
    LogConfig,
    MetricsConfig,
    NatsConfig,
    ServerConfig,
    TlsConfig,
    UnixEndpoint,
)
from mcpnatsd.errors import RestartRequired


def server(name: str, **more: Any) -> ServerConfig:
    return ServerConfig(name=name, command=("run",), **more)


def config(*servers: ServerConfig, **more: Any) -> Config:
    return Config(servers={one.name: one for one in servers}, **more)


servers = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2), max_size=4).map(
    lambda found: config(*(server(name, env={"X": str(n)}) for name, n in found.items()))
)


@given(servers, servers)
def test_a_flipped_difference_is_the_way_back(old: Config, new: Config) -> None:
    there, back = between(old, new), between(new, old)

    assert there.flipped().servers == back.servers
    assert there.flipped().flipped() == there


@given(servers)
def test_a_configuration_does_not_differ_from_itself(one: Config) -> None:
    assert not between(one, one)
    assert between(one, one).plan == ()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (Config(), Config(name="other"), "name"),
        (Config(), Config(metrics=MetricsConfig(listen="127.0.0.1:1")), "metrics"),
        (Config(), Config(nats=NatsConfig(prefix="other")), "nats.prefix"),
        (Config(), Config(nats=NatsConfig(inbox_prefix="other")), "nats.inbox_prefix"),
        (Config(), Config(nats=NatsConfig(embedded=EmbeddedConfig())), "nats.embedded"),
        (
            Config(nats=NatsConfig(embedded=EmbeddedConfig())),
            Config(nats=NatsConfig(embedded=EmbeddedConfig(port=4222))),
            "nats.embedded.port",
        ),
        (
            Config(nats=NatsConfig(embedded=EmbeddedConfig())),
            Config(nats=NatsConfig(embedded=EmbeddedConfig(), user="u", password="p")),
            "nats.user, nats.password",
        ),
        (
            Config(nats=NatsConfig(prefix="mcp.{user}", user="u", password="p")),
            Config(nats=NatsConfig(prefix="mcp.{user}", user="v", password="q")),
            "nats.user",
        ),
    ],
)
def test_what_cannot_change_live_is_named(old: Config, new: Config, named: str) -> None:
    with pytest.raises(RestartRequired) as raised:
        between(old, new)

    names = str(raised.value).removeprefix("a reload cannot change ").partition(":")[0]
    assert set(named.split(", ")) <= set(names.split(", "))
    assert "restart the daemon" in str(raised.value)


def test_a_plan_has_a_line_for_each_thing() -> None:
    old = config(server("gone"), server("same"), server("other"))
    limits = Limits(call_timeout=1.0)
    new = config(
        server("same"),
        server("other", limits=limits, env={"TOKEN": "hush"}),
        server("added"),
        endpoints=(UnixEndpoint(path="/x", server="same"),),
        nats=NatsConfig(token="hush"),
        log=LogConfig(level=Level.DEBUG),
    )

    plan = between(old, new).plan

    assert [str(step) for step in plan] == [
        "~ server other (env, limits.call_timeout)",
        "+ server added",
        "- server gone",
        "+ endpoint unix:/x",
        "~ nats (token)",
        "~ log (level)",
    ]
    assert "hush" not in repr(plan)


def test_a_file_with_other_content_is_a_change_of_what_names_it() -> None:
    tls = HttpTls(cert="/cert", key="/key")
    one = Config(
        nats=NatsConfig(credentials="/creds", tls=TlsConfig(ca="/ca")),
        endpoints=(HttpEndpoint(address="h:1", tls=tls), HttpEndpoint(address="h:2")),
    )

    assert not between(one, one)
    assert list(map(str, between(one, one, frozenset({"/creds", "/key"})).plan)) == [
        "~ endpoint http:h:1 (content of /key)",
        "~ nats (content of /creds)",
    ]


def test_endpoints_are_told_apart_by_where_they_are() -> None:
    unix = UnixEndpoint(path="/x", server="a")
    free = HttpEndpoint(address="127.0.0.1:0")

    assert place_keys((unix, free, free)) == {
        "unix:/x": unix,
        "http:127.0.0.1:0": free,
        "http:127.0.0.1:0 #2": free,
    }
    other = replace(unix, server="b")
    diff = between(Config(endpoints=(unix,)), Config(endpoints=(other,)))
    assert diff.endpoints == {"unix:/x": Change(unix, other, ("server",))}
    assert diff.endpoints["unix:/x"].sign is Sign.CHANGED


def test_settings_are_named_as_the_file_names_them() -> None:
    assert differing(NatsConfig(), NatsConfig(urls=("nats://x",))) == ("url",)
    assert differing(NatsConfig(), NatsConfig(tls=TlsConfig())) == ("tls",)
    one, other = TlsConfig(ca="/a"), TlsConfig(ca="/b")
    assert differing(NatsConfig(tls=one), NatsConfig(tls=other)) == ("tls.ca",)


def test_a_step_without_settings_is_just_named() -> None:
    assert str(Step(Sign.ADDED, "server", "a")) == "+ server a"


def test_files_beside_an_embedded_nats_are_none_of_its() -> None:
    """Going over to what they are for would leave the embedded one."""
    one = Config(nats=NatsConfig(embedded=EmbeddedConfig(), credentials="/creds"))

    assert not between(one, one, frozenset({"/creds"}))
    assert between(
        other := Config(nats=NatsConfig(credentials="/creds")), other, frozenset({"/creds"})
    )
