"""Files that change under a daemon: how editors and Kubernetes replace them, drop-ins, secrets."""

from pathlib import Path
from typing import Any

import yaml

from tests import running
from tests.reloads import BOUND, THIN, edited, stale
from tests.running import text_of


def text(*names: str) -> str:
    """Return a file with these servers."""
    servers = {name: {"command": THIN} for name in names}
    return yaml.safe_dump({"nats": {"embedded": {}}, "servers": servers})


async def test_a_file_written_in_place_is_taken_over(tmp_path: Path) -> None:
    async with edited(tmp_path, servers={"a": {"command": THIN}}) as files:
        files.path.write_text(text("a", "b"))

        line = await files.daemon.said('plan="+ server b"')
        assert 'why="files changed"' in line


async def test_a_file_replaced_by_another_is_taken_over_again_and_again(tmp_path: Path) -> None:
    async with edited(tmp_path, servers={"a": {"command": THIN}}) as files:
        for name in ("b", "c", "d"):
            files.write(text("a", name))
            await files.daemon.said(f"+ server {name}")


async def test_a_file_that_is_half_written_is_refused_once_and_then_taken_over(
    tmp_path: Path,
) -> None:
    async with edited(tmp_path, servers={"a": {"command": THIN}}) as files:
        files.path.write_text(text("a", "b")[:-20] + "{")
        await stale(files)
        await files.daemon.said("reload refused")
        (tmp_path / "beside").write_text("something else happens in the folder")
        files.path.write_text(text("a", "b"))

        await files.daemon.said("+ server b")
        assert sum("reload refused" in line for line in files.daemon.log) == 1


async def test_a_config_map_is_taken_over_when_its_link_is_swapped(tmp_path: Path) -> None:
    """Kubernetes writes a new folder, and swaps the link `..data` that the files go by."""
    volume = tmp_path / "volume"
    volume.mkdir()
    generation(volume, "..one", text("a"))
    (volume / "..data").symlink_to("..one")
    (volume / "mcpnatsd.yaml").symlink_to("..data/mcpnatsd.yaml")
    async with running.daemon_of(tmp_path, volume / "mcpnatsd.yaml") as daemon:
        for name in ("b", "c"):
            generation(volume, f"..{name}", text("a", name))
            (volume / "..data_tmp").symlink_to(f"..{name}")
            (volume / "..data_tmp").rename(volume / "..data")

            await daemon.said(f"+ server {name}")


async def test_drop_ins_are_found_changed_and_removed(tmp_path: Path) -> None:
    async with edited(tmp_path, servers={"a": {"command": THIN}}) as files:
        path = files.drop_in("b.yaml", servers={"b": {"command": THIN}})
        await files.daemon.said("+ server b")
        files.drop_in("b.yaml", servers={"b": {"command": THIN, "start": "eager"}})
        await files.daemon.said("~ server b (start)")
        path.unlink()
        await files.daemon.said("- server b")


async def test_a_wrong_drop_in_is_named_and_right_again_when_it_is_written_anew(
    tmp_path: Path,
) -> None:
    async with edited(tmp_path, servers={"a": {"command": THIN}}) as files:
        path = files.drop_in("b.yaml", servers={"b": {}})
        assert f"{path}:2:" in await stale(files)
        path.write_text(yaml.safe_dump({"servers": {"b": {"command": THIN}}}))

        await files.daemon.said("+ server b")


async def test_what_editors_leave_beside_drop_ins_is_none(tmp_path: Path) -> None:
    async with edited(tmp_path, servers={"a": {"command": THIN}}) as files:
        for name in (".b.yaml.swp", ".b.yaml", "b.yaml~", "b.yaml.bak", "README"):
            files.drop_in(name, nonsense=1)
        files.drop_in("c.yaml", servers={"c": {"command": THIN}})

        assert "+ server c" in await files.reloaded()


async def test_a_secret_that_a_server_gets_is_renewed_with_its_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("old\n")
    servers = {"a": {"command": THIN, "env": {"VALUE": f"${{file:{secret}}}"}}}
    async with edited(tmp_path, servers=servers) as files:
        caller = await running.shim(tmp_path, "a")
        assert text_of(await caller.call("env", name="VALUE", bound=BOUND)) == "old"
        (tmp_path / "fresh").write_text("new\n")
        (tmp_path / "fresh").replace(secret)

        await files.daemon.said("~ server a (env)")
        assert text_of(await caller.call("env", name="VALUE", bound=BOUND)) == "new"
        assert not [line for line in files.daemon.log if "old" in line and "VALUE" in line]
        await caller.close()


async def test_a_secret_that_was_missing_is_found_when_it_is_there(tmp_path: Path) -> None:
    secret = tmp_path / "secrets" / "late"
    secret.parent.mkdir()
    servers: dict[str, Any] = {"a": {"command": THIN}}
    async with edited(tmp_path, servers=servers) as files:
        env = {"VALUE": f"${{file:{secret}}}"}
        files.edit(servers={**servers, "b": {"command": THIN, "env": env}})
        assert "does not exist" in await stale(files)
        secret.write_text("here")

        await files.daemon.said("+ server b")


async def test_without_watches_of_the_system_files_are_looked_at(tmp_path: Path) -> None:
    """An operator is told, and nothing is lost but a few seconds."""
    path = tmp_path / "mcpnatsd.yaml"
    path.write_text(text("a"))
    none = 'echo 0 >/proc/sys/user/max_inotify_instances && exec "$@"'
    within = ("unshare", "--user", "--map-root-user", "sh", "-c", none, "sh")
    async with running.daemon_of(tmp_path, path, within=within) as daemon:
        await daemon.said("the system does not watch files for us")
        path.write_text(text("a", "b"))

        await daemon.said("+ server b")


def generation(volume: Path, name: str, content: str) -> None:
    (volume / name).mkdir()
    (volume / name / "mcpnatsd.yaml").write_text(content)
