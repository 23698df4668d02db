"""What goes into the packages, and for whom: the constants of the build."""

import os
import re
import subprocess
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGING: Final = ROOT / "packaging"
LOCK: Final = PACKAGING / "requirements.lock"
WHEELS: Final = ROOT / ".cache" / "wheels"

PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
"""Each distribution has one of these; their extension modules carry the version in their names."""

FORMATS: Final = ("deb", "rpm")


class BuildError(Exception):
    """A package cannot be built; says what to do."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """One kind of machine, under the names that others have for it."""

    debian: str
    machine: str
    elf: int


ARCHITECTURES: Final = (
    Architecture("amd64", "x86_64", 62),
    Architecture("arm64", "aarch64", 183),
)


def version() -> str:
    """Return the version of the program, as pyproject.toml says it."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(text)["project"]["version"])


def built_at() -> datetime:
    """Return the one date that is in the packages: that of the sources, not of the build.

    It is `SOURCE_DATE_EPOCH`, or the last commit's date, or that of the newest release.

    Raises:
        BuildError: Nothing says when the sources were made.
    """
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return datetime.fromtimestamp(int(given), UTC)
    said = subprocess.run(  # noqa: S603
        ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode == 0:
        return datetime.fromtimestamp(int(said.stdout), UTC)
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.search(r"^## \[.*\] - (\d{4}-\d\d-\d\d)", changelog, re.MULTILINE)
    if released is None:
        raise BuildError("no date for the packages: set SOURCE_DATE_EPOCH to seconds since 1970")
    return datetime.fromisoformat(released[1]).replace(tzinfo=UTC)
