"""What is remembered of servers from one run to the next."""

from dataclasses import replace
from pathlib import Path

import pytest

from mcpnatsd.backends.recall import Known, Recall
from mcpnatsd.config.model import ServerConfig
from mcpnatsd.protocol.eras import Verdict

CONFIG = ServerConfig(name="one", command=("serve", "--fast"))
KNOWN = Known(
    verdict=Verdict(
        modern=True,
        legacy=None,
        revisions=("2026-07-28",),
        discovered='{"é": "\\u0000"}'.encode(),
        server_name="s",
        server_version="1.2",
    ),
    tools=("a", "b"),
)


def file_in(folder: Path) -> Path:
    (path,) = folder.rglob("*.json")
    return path


def test_what_was_kept_is_recalled_in_the_next_run(tmp_path: Path) -> None:
    Recall(tmp_path).keep(CONFIG, KNOWN)

    assert Recall(tmp_path).recall(CONFIG) == KNOWN


def test_the_newest_is_kept(tmp_path: Path) -> None:
    recall = Recall(tmp_path)
    recall.keep(CONFIG, KNOWN)
    recall.keep(CONFIG, Known(tools=()))

    assert recall.recall(CONFIG) == Known(tools=())
    assert len([*tmp_path.rglob("*.*")]) == 1


def test_a_server_is_known_by_its_command_and_folder_and_not_by_its_name(tmp_path: Path) -> None:
    recall = Recall(tmp_path)
    recall.keep(CONFIG, KNOWN)

    assert recall.recall(replace(CONFIG, name="other")) == KNOWN
    assert recall.recall(replace(CONFIG, command=("serve", "--slow"))) == Known()
    assert recall.recall(replace(CONFIG, command=("serve --fast",))) == Known()
    assert recall.recall(replace(CONFIG, cwd="/")) == Known()


def test_without_a_folder_nothing_is_kept() -> None:
    Recall(None).keep(CONFIG, KNOWN)

    assert Recall(None).recall(CONFIG) == Known()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"verdict": {}, "tools": null}',
        b'{"verdict": null, "tools": null}',
        b'{"verdict": {"modern": true}, "tools": "ab"}',
        b"\xff\xfe",
    ],
)
def test_a_file_that_is_not_ours_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    recall = Recall(tmp_path)
    recall.keep(CONFIG, KNOWN)
    file_in(tmp_path).write_bytes(content)

    assert recall.recall(CONFIG) == Known()
    recall.keep(CONFIG, KNOWN)
    assert recall.recall(CONFIG) == KNOWN


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_memory(tmp_path: Path) -> None:
    (tmp_path / "servers").write_text("a file is in the way")

    Recall(tmp_path).keep(CONFIG, KNOWN)

    assert Recall(tmp_path).recall(CONFIG) == Known()
