"""Tells whether this machine can run the system tests; if not, why, and ends with 1.

Standard library only: it is asked before anything is installed.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path


def obstacle() -> str:
    """Return what stands in the way, or nothing."""
    if not sys.platform.startswith("linux"):
        return "they boot Debian trees under systemd-nspawn, which needs Linux"
    if os.geteuid():
        return "they boot Debian trees under systemd-nspawn, which needs root"
    if not shutil.which("apt-get"):
        return "they build Debian trees with mmdebstrap, which needs a machine with apt-get"
    if not os.access("/sys/fs/cgroup", os.W_OK) or _read_only("/sys/fs/cgroup"):
        return "a systemd needs cgroups, and /sys/fs/cgroup cannot be written to"
    return _no_namespaces() or _no_packages()


def _read_only(place: str) -> bool:
    mounts = Path("/proc/mounts").read_text("utf-8").splitlines()
    return any(line.split()[1] == place and "ro" in line.split()[3].split(",") for line in mounts)


def _no_namespaces() -> str:
    """Try what a box does: namespaces, an overlay in memory and a network of its own."""
    script = (
        "mount -t tmpfs box /mnt && mkdir /mnt/upper /mnt/work /mnt/root"
        " && mount -t overlay -o lowerdir=/usr,upperdir=/mnt/upper,workdir=/mnt/work box /mnt/root"
    )
    spaces = ["--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--cgroup"]
    try:
        tried = subprocess.run(
            ["unshare", *spaces, "sh", "-c", script], capture_output=True, text=True, check=False
        )
    except OSError as error:
        return f"unshare cannot be run: {error.strerror}"
    said = tried.stderr.strip().splitlines()
    return f"namespaces are forbidden: {said[-1]}" if tried.returncode and said else ""


def _no_packages() -> str:
    """Ask for the list of packages, as what is missing is installed from there."""
    asked = ["apt-get", "--quiet=2", "--error-on=any", "update"]
    try:
        told = subprocess.run(
            asked,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=120,
        )
    except subprocess.TimeoutExpired:
        return "Debian's packages cannot be had: apt-get update did not end in two minutes"
    said = told.stderr.strip().splitlines()
    return (
        f"Debian's packages cannot be had: {said[-1] if said else 'no reason'}"
        if told.returncode
        else ""
    )


if __name__ == "__main__":
    if why := obstacle():
        sys.stderr.write(f"NOT RUN: the system tests. Why: {why}.\n")
    sys.exit(1 if why else 0)
