"""The container's image: built from a local base, and run as Kubernetes runs a sidecar.

Its root is read-only, it has no capability and no name for its user. buildah and podman run inside
a box, so that this machine keeps nothing of them. Beside it, outside of any container, run NATS and
a server of the MCP SDK over HTTP.
"""

import json
import shlex
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from container_image.__main__ import fill
from linux_packages.recipe import ARCHITECTURES
from tests.system import trees
from tests.system.box import Box

pytestmark = pytest.mark.xdist_group("container")

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/mcpnatsd:test"
BASE = "localhost/base:test"
NATS = "nats://127.0.0.1:4222"

CONFIG = """
nats: {url: "nats://127.0.0.1:4222"}
servers:
  weather: {url: "http://127.0.0.1:8000/mcp", start: eager}
metrics: {listen: "[::]:8222"}
"""

ENGINE = {
    # A box cannot raise the limits that an engine sets otherwise, and its cgroups are not its own.
    "/etc/containers/containers.conf": """
        [containers]
        default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
        cgroups = "disabled"
        """,
    "/etc/containers/storage.conf": """
        [storage]
        driver = "vfs"
        runroot = "/run/store"
        graphroot = "/var/store"
        """,
}

AS_A_SIDECAR = (
    "--network=host", "--pull=never", "--read-only", "--read-only-tmpfs=false",
    "--cap-drop=all", "--security-opt=no-new-privileges",
)  # fmt: skip


class Engine:
    """buildah and podman in a box that has no network."""

    def __init__(self, box: Box) -> None:
        self.box = box
        for path, text in ENGINE.items():
            box.write(path, "\n".join(line.strip() for line in text.splitlines()))

    def run(self, *argv: str, check: bool = True, text: str = "") -> str:
        """Run a command in the box; return its stdout, or without `check` all it says."""
        done = self.box.run("env", "--chdir=/", *argv, check=check, text=text)
        return done.stdout if check else done.stdout + done.stderr

    def build(self) -> None:
        files = "--exclude=./usr/share/doc --exclude=./usr/share/locale --exclude=./var/cache"
        self.run("sh", "-c", f"tar -C /base {files} -cf - . | podman import - {BASE}")
        limits = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096")
        offline = ("--isolation=chroot", "--network=host", "--pull=never", *limits)
        self.run("buildah", "build", *offline, f"--build-arg=BASE={BASE}", "-t", IMAGE, "/context")

    def podman(self, *argv: str, check: bool = True) -> str:
        return self.run("podman", *argv, check=check)

    def probe(self, path: str, **headers: str) -> tuple[int, str]:
        """Ask the sidecar as a kubelet does; an underscore stands for a hyphen."""
        script = (
            "import http.client as h, json, sys\n"
            "try:\n"
            " c = h.HTTPConnection('127.0.0.1', 8222, timeout=40)\n"
            " c.request('GET', sys.argv[1], headers=json.loads(sys.argv[2]))\n"
            " r = c.getresponse(); print(r.status, r.read().decode())\n"
            "except OSError as error: print(0, error)\n"
        )
        sent = json.dumps({name.replace("_", "-"): said for name, said in headers.items()})
        status, _, said = self.run("python3", "-c", script, path, sent).partition(" ")
        return int(status), said.strip()

    def becomes(self, path: str, status: int) -> str:
        self.box.until(lambda: self.probe(path)[0] == status, f"{path} says {status}", 40.0)
        return self.probe(path)[1]

    def start_server(self) -> None:
        """Start the peers' server, by the Python and the packages of these tests."""
        python = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
        self.run(
            "systemd-run", "--unit=weather", "--setenv=PYTHONPATH=/site",
            str(python), "/tests/servers/http_peer.py", "8000",
        )  # fmt: skip

    def call(self, *arguments: str) -> str:
        """Call a tool from another container."""
        flags = ("--rm", "--tmpfs=/tmp", *AS_A_SIDECAR)
        return self.podman("run", *flags, IMAGE, "call", "weather", *arguments, "--nats", NATS)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine with the image built, NATS beside it, and no server yet."""
    context = tmp_path_factory.mktemp("container") / "context"
    fill(context, [one for one in ARCHITECTURES if one.machine == _machine()])
    binds = {
        trees.tree("trixie"): "/base",
        context: "/context",
        ROOT / "tests": "/tests",
        Path(sys.base_prefix): sys.base_prefix,
        Path(sysconfig.get_path("purelib")).resolve(): "/site",
    }
    with Box(trees.tree("trixie", "buildah", "podman", "crun"), binds=binds) as box:
        engine = Engine(box)
        engine.build()
        [nats] = context.glob("tree-*/bin/nats-server")
        engine.run("systemd-run", "--unit=nats", f"/context/{nats.relative_to(context)}")
        box.write("/etc/mcpnatsd/mcpnatsd.yaml", CONFIG)
        yield engine


def _machine() -> str:
    return sysconfig.get_platform().rpartition("-")[2]


def test_the_image_says_how_it_is_to_be_run(engine: Engine) -> None:
    [image] = json.loads(engine.podman("inspect", IMAGE))
    config = image["Config"]

    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["/usr/bin/mcpnatsd"]
    assert list(config["Volumes"]) == ["/var/lib/mcpnatsd"]


def test_nothing_in_the_image_can_be_written_by_its_user_but_one_folder(engine: Engine) -> None:
    find = "find / -xdev ( -user 65532 -o -perm -o+w ) ! -type l ! -path /proc/* -print"
    flags = ("--rm", "--entrypoint=find", *AS_A_SIDECAR)
    found = engine.podman("run", *flags, IMAGE, *shlex.split(find)[1:], check=False).split()

    ours = [path for path in found if path.startswith(("/usr", "/etc", "/var/lib/mcpnatsd"))]
    assert ours == ["/var/lib/mcpnatsd"]


def test_there_is_no_module_of_another_python(engine: Engine) -> None:
    flags = ("--rm", "--entrypoint=find", *AS_A_SIDECAR)
    modules = engine.podman("run", *flags, IMAGE, "/usr/lib/mcpnatsd/site", "-name", "*.so").split()

    abis = {part for path in modules for part in path.split(".") if part.startswith("cpython")}
    assert len(abis) == 1


def test_a_wrong_configuration_ends_it_with_78(engine: Engine) -> None:
    engine.box.write("/etc/wrong/mcpnatsd.yaml", "hub: {}\n")
    mount = "--volume=/etc/wrong:/etc/mcpnatsd:ro"
    name = "--name=wrong"
    said = engine.podman("run", name, mount, *AS_A_SIDECAR, IMAGE, check=False)

    assert "hub: unknown key" in said
    assert _exit_code(engine, "wrong") == 78


def test_a_sidecar_lives_beside_a_server_from_start_to_drain(engine: Engine) -> None:
    engine.podman(
        "run", "--detach", "--name=sidecar", "--volume=/etc/mcpnatsd:/etc/mcpnatsd:ro",
        *AS_A_SIDECAR, IMAGE,
    )  # fmt: skip
    # Started before the server is there, as Kubernetes starts it.
    engine.becomes("/startz", 200)
    assert "weather" in engine.becomes("/readyz", 503)
    assert engine.probe("/healthz")[0] == 200

    engine.start_server()
    engine.becomes("/readyz", 200)
    assert engine.call("echo", "text=from afar").strip() == "from afar"
    assert (
        'mcpnatsd_tool_calls_total{server="weather",tool="echo"} 1' in engine.probe("/metrics")[1]
    )

    status = engine.podman("exec", "sidecar", "cat", "/proc/1/status")
    found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert found["Uid"].split() == ["65532"] * 4
    assert int(found["CapEff"], 16) == int(found["CapBnd"], 16) == 0
    assert found["NoNewPrivs"] == "1"
    for path in ("/x", "/tmp/x", "/etc/mcpnatsd/x", "/usr/lib/mcpnatsd/x"):
        said = engine.podman("exec", "sidecar", "touch", path, check=False)
        assert "Read-only file system" in said, path

    assert engine.probe("/drain")[0] == 403
    assert engine.probe("/drain", Mcpnatsd_Drain="yes") == (200, "drained: nothing is open")
    assert engine.probe("/readyz")[0] == 503
    engine.podman("stop", "--time=20", "sidecar")
    assert _exit_code(engine, "sidecar") == 0


def test_a_daemon_without_nats_runs_the_one_it_brought(engine: Engine) -> None:
    engine.box.write("/etc/alone/mcpnatsd.yaml", "name: alone\nnats: {embedded: {}}\n")
    mount = "--volume=/etc/alone:/etc/mcpnatsd:ro"
    engine.podman("run", "--detach", "--name=alone", mount, *AS_A_SIDECAR, IMAGE)

    def up() -> bool:
        return "its own nats-server" in engine.podman("logs", "alone", check=False)

    engine.box.until(up, "the greeting")
    engine.podman("stop", "--time=20", "alone")
    assert _exit_code(engine, "alone") == 0


def _exit_code(engine: Engine, name: str) -> int:
    return int(engine.podman("inspect", "--format={{.State.ExitCode}}", name))
