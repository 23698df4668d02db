"""A difference that cannot be made real flips back, whatever the reason."""

from types import SimpleNamespace
from typing import Any

import pytest

from mcpnatsd.config.diff import Change, Diff
from mcpnatsd.config.model import NatsConfig, UnixEndpoint
from mcpnatsd.daemon.changes import Changes
from mcpnatsd.errors import ConfigError

NEW = UnixEndpoint(path="/new", server="a")
DIFF = Diff(
    servers={},
    endpoints={"new": Change(old=None, new=NEW)},
    nats=Change(old=NatsConfig(), new=NatsConfig(urls=("nats://127.0.0.1:1",))),
)


class Daemon:
    """What a reload changes, and in which order it did."""

    def __init__(self, move_fault: Exception | None = None) -> None:
        self.did: list[str] = []
        self.stopping = False
        self.stops_in_move = False
        self._move_fault = move_fault
        parts: Any = SimpleNamespace(change=self._change, open=self._open, close=self._close)
        nothing: Any = None
        self.changes = Changes(parts, parts, nothing, self._move, self._refuse_stopping)

    async def _move(self, _nats: NatsConfig) -> None:
        if self._move_fault is not None:
            raise self._move_fault
        self.did.append("move")
        self.stopping |= self.stops_in_move

    def _refuse_stopping(self) -> None:
        if self.stopping:
            raise ConfigError("the daemon is stopping")

    async def _change(self, *_: object, prove: bool) -> None:
        self.did.append("change, proven" if prove else "change")

    async def _open(self, key: str, _endpoint: object) -> None:
        self.did.append(f"open {key}")

    def _close(self, keys: Any) -> None:
        self.did += [f"close {key}" for key in keys]


@pytest.mark.parametrize("fault", [ConfigError("wrong"), ValueError("a bug"), OSError("no disk")])
async def test_what_was_begun_is_undone_whatever_fails(fault: Exception) -> None:
    daemon = Daemon(move_fault=fault)
    with pytest.raises(type(fault)):
        await daemon.changes.apply(DIFF)
    assert daemon.did == ["open new", "close new"]


async def test_a_daemon_that_is_stopping_does_not_go_over_to_another_nats() -> None:
    daemon = Daemon()
    daemon.stopping = True
    with pytest.raises(ConfigError, match=r"the daemon is stopping$"):
        await daemon.changes.apply(DIFF)
    assert daemon.did == ["open new", "close new"]


async def test_one_that_is_told_to_stop_while_it_goes_over_says_that_it_did() -> None:
    daemon = Daemon()
    daemon.stops_in_move = True
    with pytest.raises(ConfigError, match="stopping, but it has gone over to the other NATS"):
        await daemon.changes.apply(DIFF)
    assert daemon.did == ["open new", "move", "close new"]


async def test_servers_change_once_nothing_can_fail_any_more() -> None:
    daemon = Daemon()
    await daemon.changes.apply(DIFF)
    assert daemon.did == ["open new", "move", "change"]


async def test_servers_are_proven_where_all_can_still_be_taken_back() -> None:
    daemon = Daemon()
    await daemon.changes.apply(Diff(servers={}, endpoints=DIFF.endpoints))
    assert daemon.did == ["open new", "change, proven"]
