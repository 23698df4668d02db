"""Builds the Linux packages: `make packages`, or `python -m linux_packages --help`."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from linux_packages import licences, tree, wheels
from linux_packages.pack import Build, pack, write_documents
from linux_packages.recipe import (
    ARCHITECTURES,
    FORMATS,
    ROOT,
    Architecture,
    BuildError,
    built_at,
)

_AT_ONCE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Build what was asked for, and say what came of it."""
    args = _parser().parse_args(argv)
    wanted = [one for one in ARCHITECTURES if one.debian in (args.arch or one.debian)]
    try:
        build = Build(at=built_at(), release=args.release, quick=args.quick, out=args.out)
        packages = build_all(build, wanted, args.format or FORMATS)
    except BuildError as error:
        sys.stderr.write(f"packages: {error}\n")
        return 1
    for package in packages:
        sys.stdout.write(f"{package}  {package.stat().st_size / 1e6:.1f} MB\n")
    return 0


def build_all(
    build: Build, architectures: Sequence[Architecture], formats: Sequence[str]
) -> list[Path]:
    """Build each format for each architecture; return the paths.

    Raises:
        BuildError: One of them cannot be built.
    """
    began = time.monotonic()
    downloads = wheels.fetch(architectures)
    _say("wheels", began)
    with tempfile.TemporaryDirectory(prefix="mcpnatsd-packages-") as folder:
        for one in architectures:
            assembled = Path(folder, one.debian)
            owned = tree.assemble(downloads, one, assembled)
            licences.gather(assembled)
            tree.settle(assembled, build.at)
            write_documents(build, assembled, owned, Path(folder, f"made-{one.debian}"))
        _say("trees", began)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            jobs = [
                pool.submit(_packed, build, one, form, Path(folder))
                for one in architectures
                for form in formats
            ]
            return [job.result() for job in jobs]


def _packed(build: Build, architecture: Architecture, form: str, folder: Path) -> Path:
    name = architecture.debian
    return pack(build, architecture, form, folder / name, folder / f"made-{name}")


def _say(what: str, began: float) -> None:
    sys.stderr.write(f"packages: {what} are there after {time.monotonic() - began:.1f} s\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="linux_packages", description=__doc__)
    names = [one.debian for one in ARCHITECTURES]
    parser.add_argument("--arch", action="append", choices=names, help="default: all")
    parser.add_argument("--format", action="append", choices=FORMATS, help="default: all")
    parser.add_argument("--release", default="1", help="of the package, behind the version (1)")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder (dist)")
    parser.add_argument("--quick", action="store_true", help="pack fast rather than small")
    return parser


if __name__ == "__main__":
    sys.exit(main())
