"""The recipe of the packages, held against what it speaks of."""

import os
import re
import subprocess
import tomllib
from pathlib import Path
from string import Template

import pytest
import yaml

from linux_packages import recipe, wheels
from linux_packages.__main__ import main
from linux_packages.recipe import LOCK, PACKAGING, ROOT, BuildError
from mcpnatsd.config.load import load

RECIPE = yaml.safe_load((PACKAGING / "nfpm.yaml").read_text("utf-8"))
SCRIPTS = sorted((PACKAGING / "scripts").iterdir())


def contents(form: str) -> dict[str, dict[str, str]]:
    """Return the entries of a format, by where they are installed."""
    every = [one for one in RECIPE["contents"] if one.get("packager", form) == form]
    assert len(every) == len({one["dst"] for one in every})
    return {one["dst"]: one for one in every}


def wanted() -> list[str]:
    """Return what pyproject.toml asks for, with the extras that the packages carry."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *extras["http"], *extras["embedded"]]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()  # type: ignore[index]


@pytest.mark.parametrize("requirement", wanted())
def test_the_lock_has_each_dependency_with_its_hashes(requirement: str) -> None:
    pinned = wheels.pinned(LOCK.read_text("utf-8"))

    assert re.search(r"--hash=sha256:[0-9a-f]{64}", pinned[normal(requirement)])


@pytest.mark.parametrize("requirement", wanted())
def test_the_lock_has_a_version_that_will_do(requirement: str) -> None:
    pinned = wheels.pinned(LOCK.read_text("utf-8"))[normal(requirement)]
    version = number(re.match(r"[\w-]+==([\d.]+)", pinned)[1])  # type: ignore[index]

    for sign, bound in re.findall(r"(==|>=|<)([\d.]+)", requirement.partition(";")[0]):
        at = number(bound)
        assert {"==": version == at, ">=": version >= at, "<": version < at}[sign]


def number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def test_the_lock_names_no_host() -> None:
    assert "://" not in LOCK.read_text("utf-8")


@pytest.mark.parametrize("form", recipe.FORMATS)
def test_what_is_copied_into_a_package_is_there(form: str) -> None:
    folders = {"root": ROOT, "packaging": PACKAGING}
    sources = [one["src"] for one in contents(form).values() if "src" in one]
    ours = [one for one in sources if not one.startswith(("$tree", "$made"))]

    assert ours
    assert [one for one in ours if not Path(Template(one).substitute(folders)).is_file()] == []


@pytest.mark.parametrize("form", recipe.FORMATS)
def test_an_upgrade_overwrites_no_file_of_etc(form: str) -> None:
    files = [one for one in contents(form).values() if one["dst"].startswith("/etc/")]
    kept = {one["dst"] for one in files if one.get("type") == "config|noreplace"}

    assert {one["dst"] for one in files if one.get("type") != "dir"} == kept
    assert "/etc/mcpnatsd.yaml" in kept


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_of_a_package_is_one(script: Path) -> None:
    done = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_every_script_is_in_a_package() -> None:
    named = re.findall(
        r"\$packaging/scripts/([\w.]+)", (PACKAGING / "nfpm.yaml").read_text("utf-8")
    )

    assert sorted(named) == [path.name for path in SCRIPTS]


def test_the_installed_configuration_is_valid_and_needs_no_nats() -> None:
    config = load(ROOT / "etc" / "package" / "mcpnatsd.yaml", {})

    assert config.nats.embedded is not None
    assert dict(config.servers) == {}


def test_what_the_installed_configuration_shows_is_valid(tmp_path: Path) -> None:
    """Each line that begins with a "#" and a key, as if the "#" were taken away."""
    text = (ROOT / "etc" / "package" / "mcpnatsd.yaml").read_text("utf-8")
    text = re.sub(r"^  # (?=[ -]|[a-z]+:)", "  ", text, flags=re.MULTILINE)
    text = re.sub(r"\$\{credential:.*?\}", "/some/file", text).replace("  embedded: {}\n", "")
    path = tmp_path / "shown.yaml"
    path.write_text(text, encoding="utf-8")

    config = load(path, {})

    assert set(config.servers) == {"time", "existing"}
    assert len(config.endpoints) == 1


def test_the_program_is_not_found_without_a_python(tmp_path: Path) -> None:
    """The launcher says what is missing, rather than that main.py cannot be run."""
    text = (PACKAGING / "program" / "mcpnatsd").read_text("utf-8")
    program = tmp_path / "mcpnatsd"
    program.write_text(text.replace("/usr/bin/python3", f"{tmp_path}/none"), encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if name != "MCPNATSD_PYTHON"}

    done = subprocess.run(
        ["sh", program, "status"], env=environ, capture_output=True, text=True, check=False
    )

    assert done.returncode == 69
    assert "no Python 3.11, 3.12, 3.13 or 3.14" in done.stderr


def test_the_date_of_the_packages_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")

    assert recipe.built_at().isoformat() == "1970-01-02T00:00:00+00:00"


@pytest.fixture
def untracked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Sources that are in no repository."""
    monkeypatch.setattr(recipe, "ROOT", tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    return tmp_path / "CHANGELOG.md"


def test_without_any_date_nothing_is_built(untracked: Path) -> None:
    untracked.write_text("## [Unreleased]\n", encoding="utf-8")

    with pytest.raises(BuildError, match="set SOURCE_DATE_EPOCH"):
        recipe.built_at()


def test_without_a_repository_the_date_is_that_of_the_newest_release(untracked: Path) -> None:
    text = "## [Unreleased]\n\n## [0.2.0] - 2026-12-24\n\n## [0.1.0] - 2026-11-22\n"
    untracked.write_text(text, encoding="utf-8")

    assert recipe.built_at().isoformat() == "2026-12-24T00:00:00+00:00"


def test_a_build_that_cannot_be_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"msgspec==0.0.1 \\\n    --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(wheels, "LOCK", lock)
    monkeypatch.setattr(wheels, "WHEELS", tmp_path)

    assert main(["--out", str(tmp_path / "dist")]) == 1
    assert "packages: pip could not download for" in capsys.readouterr().err
    assert not (tmp_path / "dist").exists()
