"""What `make packages` builds: twice the same, for each architecture, and as linters want it."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from linux_packages.recipe import ARCHITECTURES, built_at
from mcpnatsd import cli
from tests.system import built
from tests.system.box import Box

pytestmark = pytest.mark.xdist_group("tools")

ROOT = Path(__file__).resolve().parents[2]
LINTIAN = ("lintian", "--display-info", "--pedantic", "--show-overrides", "--fail-on=none")
RPMLINT = ROOT / "packaging" / "rpmlint.toml"


def build(root: Path, out: Path, *arguments: str, **variables: str) -> list[Path]:
    """Build the sources of a folder as `make packages` does; return the packages."""
    argv = [sys.executable, "-m", "linux_packages", "--out", str(out), *arguments]
    path = os.pathsep.join((str(root), str(root / "packaging")))
    environ = {**os.environ, "PYTHONPATH": path, **variables}
    umask = int(variables.get("UMASK", "022"), 8)
    done = subprocess.run(
        argv, env=environ, umask=umask, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return sorted(out.iterdir())


def copied(folder: Path) -> Path:
    """Copy the sources to another folder; what was downloaded stays where it is."""
    for name in built.SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    (folder / ".cache").symlink_to(ROOT / ".cache")
    return folder


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All four of them, by the ends of their names."""
    every = build(ROOT, tmp_path_factory.mktemp("packages") / "dist")
    return {re.sub(r".*(?=amd64|arm64|x86_64|aarch64)", "", path.name): path for path in every}


@pytest.fixture(scope="session", params=[one.debian for one in ARCHITECTURES])
def unpacked(
    request: pytest.FixtureRequest,
    packages: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Path]:
    """The files of a deb, with its architecture."""
    folder = tmp_path_factory.mktemp(request.param)
    deb = packages[f"{request.param}.deb"]
    subprocess.run(["dpkg-deb", "--extract", deb, folder], check=True)
    return request.param, folder


def names(folder: Path) -> set[str]:
    """Return all paths in a folder, without what tells architectures apart."""
    machines = "|".join(one.machine for one in ARCHITECTURES)
    every = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return {re.sub(machines, "MACHINE", path) for path in every}


def test_there_is_a_deb_and_an_rpm_for_each_architecture(packages: dict[str, Path]) -> None:
    assert set(packages) == {"amd64.deb", "arm64.deb", "x86_64.rpm", "aarch64.rpm"}


def test_two_builds_have_the_same_bytes(packages: dict[str, Path], tmp_path: Path) -> None:
    """From another folder, at another time, with another user's habits."""
    (tmp_path / "sources").mkdir()
    (tmp_path / "elsewhere").mkdir()
    again = build(
        copied(tmp_path / "sources"), tmp_path / "dist", "--arch", "amd64",
        SOURCE_DATE_EPOCH=str(int(built_at().timestamp())), UMASK="077", LC_ALL="C",
        TMPDIR=str(tmp_path / "elsewhere"), TZ="Asia/Tokyo", PYTHONHASHSEED="7",
    )  # fmt: skip

    assert len(again) == 2
    first = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in packages.values()}
    for path in again:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == first[path.name]


def test_programs_and_modules_are_of_the_package_s_architecture(
    unpacked: tuple[str, Path],
) -> None:
    name, folder = unpacked
    wanted = next(one.elf for one in ARCHITECTURES if one.debian == name)
    binaries = [*folder.rglob("*.so"), folder / "usr/lib/mcpnatsd/bin/nats-server"]

    machines = {int.from_bytes(path.read_bytes()[18:20], "little") for path in binaries}
    assert machines == {wanted}
    loops = {path.name.split("-")[1] for path in folder.rglob("uvloop/loop.*.so")}
    assert loops == {"311", "312", "313", "314"}


def test_architectures_differ_in_nothing_but_their_binaries(
    packages: dict[str, Path], tmp_path: Path
) -> None:
    found = []
    for one in ARCHITECTURES:
        folder = tmp_path / one.debian
        subprocess.run(["dpkg-deb", "--extract", packages[f"{one.debian}.deb"], folder], check=True)
        found.append(names(folder))

    assert found[0] == found[1]


def inspected(box: Box, package: Path, *command: str) -> str:
    """Run a linter on a package; return what it says."""
    box.put(package, f"/root/{package.name}")
    argv = ["sh", "-c", 'cd /root && exec "$@"', "sh", *command, package.name]
    return box.run(*argv, check=False).stdout


def test_lintian_has_nothing_to_say_and_needs_each_override(tools: Box) -> None:
    lines = (ROOT / "packaging" / "lintian-overrides").read_text("utf-8").splitlines()

    said = inspected(tools, built.deb(), *LINTIAN).splitlines()

    assert [line for line in said if not line.startswith(("N:", "O:"))] == []
    used = {line.split()[2] for line in said if line.startswith("O: mcpnatsd: ")}
    assert {line.split()[1] for line in lines if not line.startswith("#")} == used


def test_rpmlint_has_nothing_to_say(tools: Box) -> None:
    tools.put(RPMLINT, "/root/rpmlint.toml")

    said = inspected(tools, built.rpm(), "rpmlint", "--config", "/root/rpmlint.toml")

    assert " 0 errors, 0 warnings," in said, said


@pytest.fixture(scope="module")
def documents(tools: Box) -> Box:
    """A system with the files of the deb, but without its scripts: nothing runs."""
    tools.put(built.deb(), "/root/mcpnatsd.deb")
    tools.run("dpkg-deb", "--extract", "/root/mcpnatsd.deb", "/srv/documents")
    return tools


@pytest.mark.parametrize("page", ["man8/mcpnatsd.8", "man5/mcpnatsd.yaml.5"])
def test_a_manual_is_read_without_a_warning(documents: Box, page: str) -> None:
    path = f"/srv/documents/usr/share/man/{page}.gz"

    done = documents.run("env", "MANWIDTH=80", "man", "--warnings", "--local-file", path)

    assert done.stderr == ""
    assert len(done.stdout.splitlines()) > 100


@pytest.mark.parametrize(
    ("shell", "path"),
    [
        ("zsh", "zsh/vendor-completions/_mcpnatsd"),
        ("fish", "fish/vendor_completions.d/mcpnatsd.fish"),
    ],
)
def test_the_shell_takes_its_completions(documents: Box, shell: str, path: str) -> None:
    documents.run(shell, "-n", f"/srv/documents/usr/share/{path}")


def test_fish_completes_each_verb(documents: Box) -> None:
    script = "/srv/documents/usr/share/fish/vendor_completions.d/mcpnatsd.fish"

    said = documents.run("fish", "-c", f"source {script}; complete -C 'mcpnatsd '").stdout

    assert {line.split("\t")[0] for line in said.splitlines()} >= set(cli._VERBS)
