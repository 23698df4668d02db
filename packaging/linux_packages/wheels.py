"""Gets what the lock file names, for each architecture and each Python, into a folder that lasts.

pip does it, and holds every file against its hash in the lock.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from linux_packages.recipe import ARCHITECTURES, LOCK, PYTHONS, WHEELS, Architecture, BuildError

FROM_SOURCE: Final = ("nkeys",)
"""They have no wheel. Pure Python, so that unpacking is all the building they need."""

_AT_ONCE: Final = 4
_GLIBC: Final = ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux_2_5", "manylinux1")


def fetch(architectures: Iterable[Architecture] = ARCHITECTURES) -> Path:
    """Download what is not there yet; return the folder of this lock file.

    Raises:
        BuildError: pip could not get something; its own words say why.
    """
    folder = WHEELS / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [
        (folder / f"{one.machine}-{python}", _binary(one, python))
        for one in architectures
        for python in PYTHONS
    ]
    wanted.append((folder / "source", ["--no-binary", ":all:"]))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda one: _download(*one), wanted))
    return folder


def pinned(text: str) -> dict[str, str]:
    """Split a lock file into its distributions, each with its hashes."""
    blocks = re.split(r"\n(?=[a-z])", "\n" + re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    return {block.split("==")[0]: block.rstrip() + "\n" for block in blocks if "==" in block}


def _binary(architecture: Architecture, python: str) -> list[str]:
    platforms = [f"--platform={glibc}_{architecture.machine}" for glibc in _GLIBC]
    return ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *platforms]


def _download(target: Path, flags: list[str]) -> None:
    """Fill a folder at once, so that one that exists is whole."""
    if target.is_dir():
        return
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    own = partial / "requirements.txt"
    distributions = pinned(LOCK.read_text(encoding="utf-8")).items()
    from_source = target.name == "source"
    own.write_text(
        "".join(text for name, text in distributions if (name in FROM_SOURCE) == from_source),
        encoding="utf-8",
    )
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
    command = [*pip, "--no-deps", "--require-hashes", "-r", str(own), "-d", str(partial), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise BuildError(f"pip could not download for {target.name}:\n{done.stderr.strip()}")
    own.unlink()
    partial.rename(target)
