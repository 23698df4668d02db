"""What the image is built from: the same, whatever the umask of who builds it."""

import os
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from container_image.__main__ import put_files, put_tree
from linux_packages.recipe import ARCHITECTURES, PACKAGING

ABOUT = "one-1.0.dist-info"
FILES = {
    "one/__init__.py": "",
    f"{ABOUT}/METADATA": "Metadata-Version: 2.4\nName: one\nVersion: 1.0\n",
    f"{ABOUT}/licenses/LICENSE": "MIT License\n\nCopyright (c) 2020 Somebody\n",
}


@pytest.fixture
def hidden() -> Iterator[None]:
    """Let nobody else read what is made from here on."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("hidden")
def test_the_user_of_the_image_can_read_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    wheels = tmp_path / "downloads" / "x86_64-3.13"
    wheels.mkdir(parents=True)
    with zipfile.ZipFile(wheels / "one-1.0-py3-none-any.whl", "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    out = tmp_path / "out"
    out.mkdir()

    put_tree(tmp_path / "downloads", ARCHITECTURES[0], out)
    put_files(out)

    for path in out.rglob("*"):
        others = path.stat().st_mode & 0o007
        assert others == (0o005 if path.is_dir() else 0o004), path
    assert (out / "tree-amd64").stat().st_mtime == 1700000000
    assert {path.name for path in out.iterdir()} == {"Containerfile", "main.py", "tree-amd64"}


@pytest.mark.parametrize(("value", "ended"), [("amd64", 0), ("", 2), (None, 2)])
def test_a_builder_that_says_no_architecture_is_told_what_to_add(
    value: str | None, ended: int
) -> None:
    lines = (PACKAGING / "Containerfile").read_text(encoding="utf-8").splitlines()
    [check] = [line for line in lines if line.startswith("RUN :")]
    [copy] = [line for line in lines if "tree-${TARGETARCH}" in line]
    assert lines.index("ARG TARGETARCH") < lines.index(check) < lines.index(copy)

    environment = {} if value is None else {"TARGETARCH": value}
    command = ["sh", "-c", check.removeprefix("RUN ")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    assert done.returncode == ended
    assert ("--build-arg TARGETARCH=" in done.stderr) == (ended != 0)
