"""Packs an assembled tree into one deb or one rpm, by nfpm: the same bytes for the same sources."""

import gzip
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from pathlib import Path
from string import Template
from typing import Final

from linux_packages import completions, licences, manuals
from linux_packages.recipe import PACKAGING, ROOT, Architecture, BuildError, version
from linux_packages.tree import Owned

MAINTAINER: Final = "mcpnatsd authors <packages@mcpnatsd.invalid>"

_STRONG: Final = {"deb": "xz", "rpm": "zstd:19"}
_QUICK: Final = {"deb": "gzip", "rpm": "gzip"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What all packages of one build have in common."""

    at: datetime
    release: str
    quick: bool
    out: Path


def write_documents(build: Build, tree: Path, owned: Owned, made: Path) -> None:
    """Write what is made rather than copied: manuals, completions, changelogs, the copyright."""
    made.mkdir(parents=True, exist_ok=True)
    for page in manuals.PAGES:
        _write_packed(made / f"{page}.gz", manuals.manual(page, build.at))
    for shell in completions.SHELLS:
        (made / f"completion.{shell}").write_text(completions.completion(shell), encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    _write_packed(made / "changelog.gz", changelog)
    _write_packed(made / "changelog.Debian.gz", _debian_changelog(build))
    (made / "copyright").write_text(licences.copyright_file(tree, owned), encoding="utf-8")
    (made / "license").write_text(licences.expression(tree, owned), encoding="utf-8")


def pack(build: Build, architecture: Architecture, form: str, tree: Path, made: Path) -> Path:
    """Make one package; return its path.

    Raises:
        BuildError: nfpm refused; its own words say why.
    """
    recipe = made / f"nfpm-{architecture.debian}-{form}.yaml"
    recipe.write_text(_recipe(build, architecture, tree, made), encoding="utf-8")
    build.out.mkdir(parents=True, exist_ok=True)
    package = build.out / _file_name(build, architecture, form)
    nfpm = Path(sys.executable).with_name("nfpm")
    done = subprocess.run(  # noqa: S603
        [nfpm, "package", "-p", form, "-f", recipe, "-t", package],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(int(build.at.timestamp()))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"nfpm could not make {package.name}:\n{done.stdout}{done.stderr}".strip())
    return package


def _recipe(build: Build, architecture: Architecture, tree: Path, made: Path) -> str:
    compression = _QUICK if build.quick else _STRONG
    return Template((PACKAGING / "nfpm.yaml").read_text(encoding="utf-8")).safe_substitute(
        arch=architecture.debian,
        version=version(),
        release=build.release,
        maintainer=MAINTAINER,
        license=(made / "license").read_text(encoding="utf-8"),
        date=build.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        tree=tree,
        made=made,
        packaging=PACKAGING,
        root=ROOT,
        deb_compression=compression["deb"],
        rpm_compression=compression["rpm"],
    )


def _file_name(build: Build, architecture: Architecture, form: str) -> str:
    if form == "deb":
        return f"mcpnatsd_{version()}-{build.release}_{architecture.debian}.deb"
    return f"mcpnatsd-{version()}-{build.release}.{architecture.machine}.rpm"


def _debian_changelog(build: Build) -> str:
    return (
        f"mcpnatsd ({version()}-{build.release}) unstable; urgency=medium\n\n"
        "  * What changed is in changelog.gz.\n\n"
        f" -- {MAINTAINER}  {format_datetime(build.at)}\n"
    )


def _write_packed(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
