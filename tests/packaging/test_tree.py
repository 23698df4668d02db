"""Wheels of several Pythons in one folder."""

import io
import tarfile
import zipfile
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from linux_packages import licences, tree
from linux_packages.recipe import ARCHITECTURES, PYTHONS, BuildError, version

AMD64 = ARCHITECTURES[0]
METADATA = "Metadata-Version: 2.4\nName: one\nVersion: 1.0\nLicense-Expression: MIT\n"
ABOUT = "one-1.0.dist-info"
WHOLE = {
    "one/__init__.py": "",
    f"{ABOUT}/METADATA": METADATA,
    f"{ABOUT}/licenses/LICENSE": "MIT License\n\nCopyright (c) 2020 Somebody\n",
}


def wheel(folder: Path, name: str, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    """Wheels of a distribution with an extension module, one for each Python."""
    for python in PYTHONS:
        abi = f"cp{python.replace('.', '')}"
        module = f"one/fast.cpython-{abi[2:]}-x86_64-linux-gnu.so"
        files = {**WHOLE, module: f"for {python}", f"{ABOUT}/RECORD": abi, f"{ABOUT}/WHEEL": abi}
        folder = tmp_path / "downloads" / f"x86_64-{python}"
        wheel(folder, f"one-1.0-{abi}-{abi}-manylinux_2_28_x86_64.whl", files)
    return tmp_path / "downloads"


def test_two_files_of_one_name_and_other_bytes_are_an_error(
    downloads: Path, tmp_path: Path
) -> None:
    other = {**WHOLE, "one/__init__.py": "import sys\n"}
    wheel(downloads / "x86_64-3.13", "one-1.0-cp313-cp313-manylinux_2_28_x86_64.whl", other)

    with pytest.raises(BuildError, match=r"two wheels differ in site/one/__init__\.py"):
        tree.assemble(downloads, AMD64, tmp_path / "out")


def test_data_of_an_unknown_kind_is_an_error(downloads: Path, tmp_path: Path) -> None:
    files = {"two-1.0.data/headers/two.h": ""}
    wheel(downloads / "x86_64-3.11", "two-1.0-py3-none-any.whl", files)

    with pytest.raises(BuildError, match=r"two-1\.0\.data has headers"):
        tree.assemble(downloads, AMD64, tmp_path / "out")


def test_a_distribution_without_a_licence_is_an_error(downloads: Path, tmp_path: Path) -> None:
    files = {"two.py": "", "two-1.0.dist-info/METADATA": METADATA.replace("one", "two")}
    wheel(downloads / "x86_64-3.11", "two-1.0-py3-none-any.whl", files)
    tree.assemble(downloads, AMD64, tmp_path / "out")

    with pytest.raises(BuildError, match="two came without a licence"):
        licences.gather(tmp_path / "out")


def test_extension_modules_of_every_python_stand_side_by_side(
    downloads: Path, tmp_path: Path
) -> None:
    tree.assemble(downloads, AMD64, tmp_path / "out")

    found = {path.name: path.read_text("utf-8") for path in (tmp_path / "out").rglob("fast.*")}
    assert found == {
        f"fast.cpython-{python.replace('.', '')}-x86_64-linux-gnu.so": f"for {python}"
        for python in PYTHONS
    }


def test_a_program_of_a_wheel_goes_to_bin_and_is_found(downloads: Path, tmp_path: Path) -> None:
    files = {
        "two-1.0.data/scripts/two": "#!/bin/sh\n",
        "two-1.0.dist-info/METADATA": METADATA.replace("one", "two"),
    }
    wheel(downloads / "x86_64-3.11", "two-1.0-py3-none-any.whl", files)

    tree.assemble(downloads, AMD64, tmp_path / "out")

    about = tmp_path / "out" / "site" / "two-1.0.dist-info"
    (program,) = Distribution.at(about).files or ()
    assert program.locate().resolve() == tmp_path / "out" / "bin" / "two"
    assert (tmp_path / "out" / "bin" / "two").stat().st_mode & 0o777 == 0o755


def test_what_nobody_runs_is_left_out(downloads: Path, tmp_path: Path) -> None:
    names = ("two/a.py", "two/a.pyi", "two/a.pyx", "two/a.c", "two/py.typed", "two/tests/b.py")
    wheel(downloads / "x86_64-3.11", "two-1.0-py3-none-any.whl", dict.fromkeys(names, ""))

    tree.assemble(downloads, AMD64, tmp_path / "out")

    two = tmp_path / "out" / "site" / "two"
    assert [path.relative_to(two) for path in two.rglob("*")] == [Path("a.py")]


def test_a_source_distribution_is_unpacked(downloads: Path, tmp_path: Path) -> None:
    (downloads / "source").mkdir()
    with tarfile.open(downloads / "source" / "two-1.0.tar.gz", "w:gz") as archive:
        for name in ("two/__init__.py", "setup.py", "LICENSE", "PKG-INFO"):
            archive.addfile(tarfile.TarInfo(f"two-1.0/{name}"), io.BytesIO())

    tree.assemble(downloads, AMD64, tmp_path / "out")

    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")}
    assert {
        "site/two/__init__.py",
        "licenses/two/LICENSE",
        "site/two-1.0.dist-info/METADATA",
    } <= found
    assert not [path for path in found if "setup" in path]


def test_our_own_package_is_whole_and_knows_its_version(downloads: Path, tmp_path: Path) -> None:
    tree.assemble(downloads, AMD64, tmp_path / "out")

    site = tmp_path / "out" / "site"
    assert (site / "mcpnatsd" / "config" / "schema.json").is_file()
    assert not list(site.rglob("__pycache__"))
    (about,) = site.glob("mcpnatsd-*.dist-info")
    assert Distribution.at(about).version == version()


def test_the_copyright_file_says_whose_each_part_is(downloads: Path, tmp_path: Path) -> None:
    owned = tree.assemble(downloads, AMD64, tmp_path / "out")
    licences.gather(tmp_path / "out")

    said = licences.copyright_file(tmp_path / "out", owned)

    assert (
        "Files: usr/lib/mcpnatsd/site/one-1.0.dist-info/*\n"
        " usr/lib/mcpnatsd/site/one/*\n"
        "Copyright: 2020 Somebody\n"
        "License: Expat\n"
        " MIT License\n .\n Copyright (c) 2020 Somebody\n"
    ) in said
    assert licences.expression(tmp_path / "out", owned) == "Apache-2.0 AND MIT"
