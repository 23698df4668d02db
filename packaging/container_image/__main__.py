"""Fills the folder that the container's image is built from: `make container`."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from linux_packages import licences, tree, wheels
from linux_packages.recipe import (
    ARCHITECTURES,
    PACKAGING,
    ROOT,
    Architecture,
    BuildError,
    built_at,
)

OUT: Final = ROOT / "build" / "container"

FILES: Final = (PACKAGING / "Containerfile", PACKAGING / "program" / "main.py")


def main(argv: Sequence[str] | None = None) -> int:
    """Fill it, and say what to do with it."""
    args = _parser().parse_args(argv)
    wanted = [one for one in ARCHITECTURES if one.debian in (args.arch or one.debian)]
    try:
        fill(args.out, wanted)
    except BuildError as error:
        sys.stderr.write(f"container: {error}\n")
        return 1
    sys.stdout.write(f"Now build it: podman build -t mcpnatsd {args.out}\n")
    return 0


def fill(out: Path, architectures: Sequence[Architecture] = ARCHITECTURES) -> None:
    """Put the recipe and the program for each architecture into a folder.

    Raises:
        BuildError: What the program needs cannot be had.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    downloads = wheels.fetch(architectures)
    for one in architectures:
        put_tree(downloads, one, out)
    put_files(out)


def put_tree(downloads: Path, architecture: Architecture, out: Path) -> None:
    """Put the program for one architecture into the folder."""
    folder = out / f"tree-{architecture.debian}"
    tree.assemble(downloads, architecture, folder)
    licences.gather(folder)
    tree.settle(folder, built_at())


def put_files(out: Path) -> None:
    """Put the recipe into the folder, and what the image's user starts."""
    for file in FILES:
        shutil.copyfile(file, out / file.name)
        (out / file.name).chmod(0o644)  # whatever the checkout's umask was


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="container_image", description=__doc__)
    names = [one.debian for one in ARCHITECTURES]
    parser.add_argument("--arch", action="append", choices=names, help="default: all")
    parser.add_argument("--out", type=Path, default=OUT, help="folder (build/container)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
