"""A soak of the whole program: `python -m tests.soak [--minutes 10] [--seed N]`.

Servers, clients of both eras, a constant load, a reload every few seconds, and everything killed
at random. It prints what it found; it fails when a reply was crossed, a call hung, a process was
left behind, memory grew, or a lost call was not told once.
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.soak import verdict
from tests.soak.plan import Size
from tests.soak.run import Soak


def soaked(size: Size, seed: int, folder: Path) -> Soak:
    """Run a soak, and judge it. Its events are in the folder."""
    soak = asyncio.run(_run(size, seed, folder))
    verdict.judge(soak)
    shown = (one.shown(soak.ledger.began) for one in soak.ledger.calls.values())
    (folder / "calls").write_text("\n".join(shown), encoding="utf-8")
    (folder / "events").write_text("\n".join(soak.ledger.events), encoding="utf-8")
    return soak


async def _run(size: Size, seed: int, folder: Path) -> Soak:
    soak = Soak(size, seed, folder)
    await soak.run()
    return soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--keep", action="store_true", help="keep the folder in any case")
    parser.add_argument("--servers", type=int, default=50)
    parser.add_argument("--clients", type=int, default=200)
    given = parser.parse_args()
    size = Size(given.minutes * 60, servers=given.servers, clients=given.clients)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    print(f"soak: {given.minutes:g} minutes, seed {given.seed}, in {folder}", file=sys.stderr)
    soak = soaked(size, given.seed, folder)
    print(verdict.page(soak))
    if soak.ledger.violations:
        return 1
    if not given.keep:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
