"""The daemon as a unit of systemd in a box, and what a test asks of it."""

import json
from pathlib import Path
from typing import Any

from tests.system.box import Box

SERVERS = Path(__file__).resolve().parents[1] / "servers"
THERE = "/srv/servers"


def server(name: str, *arguments: str) -> list[str]:
    """Return the command of one of our own test servers, as it is in the box."""
    return ["/usr/bin/python3", f"{THERE}/{name}.py", *arguments]


class Service:
    """One unit. Its package is installed already, and tests of the same box share it."""

    def __init__(
        self, box: Box, unit: str = "mcpnatsd", config: str = "/etc/mcpnatsd.yaml"
    ) -> None:
        self.box = box
        self.unit = unit
        self.config = config

    def configure(self, servers: dict[str, Any], **sections: Any) -> None:
        """Write the configuration; without `nats` it is a NATS of its own."""
        named = {
            name: {"command": one} if isinstance(one, list) else one
            for name, one in servers.items()
        }
        whole = {"nats": {"embedded": {}}, "servers": named, **sections}
        self.box.write(self.config, json.dumps(whole, indent=1), mode=0o640)
        self.box.run("chgrp", "mcpnatsd", self.config)

    def drop_in(self, text: str) -> None:
        """Change the unit until its box ends, or with an empty text no more."""
        self.box.write(f"/etc/systemd/system/{self.unit}.service.d/test.conf", text)
        self.box.run("systemctl", "daemon-reload")

    def start(self, servers: dict[str, Any], *, drop_in: str = "", **sections: Any) -> None:
        """Start it anew with that configuration, and wait for its READY=1."""
        self.configure(servers, **sections)
        self.drop_in(drop_in)
        self.box.run("systemctl", "reset-failed", self.unit, check=False)
        self.box.run("systemctl", "restart", self.unit)

    def stop(self) -> None:
        self.box.run("systemctl", "stop", self.unit)

    def show(self, name: str) -> str:
        return self.box.show(self.unit)[name]

    @property
    def pid(self) -> int:
        return int(self.show("MainPID"))

    @property
    def status_text(self) -> str:
        return self.show("StatusText")

    def call(self, name: str, tool: str, /, **arguments: object) -> str:
        """Call a tool as root of the box, who needs no address; return the text of its result."""
        argv = ["mcpnatsd", "call", name, tool, json.dumps(arguments), "--name", self.name]
        return self.box.run(*argv).stdout.strip()

    @property
    def name(self) -> str:
        return self.unit.partition("@")[2] or "mcpnatsd"

    def members(self) -> dict[int, str]:
        """Return the processes of the unit, by their pid there."""
        listed = self.box.run("systemctl", "show", "-p", "ControlGroup", "--value", self.unit)
        path = f"/sys/fs/cgroup{listed.stdout.strip()}"
        found = self.box.run("sh", "-c", f"cat $(find {path} -name cgroup.procs)", check=False)
        everybody = self.box.processes()
        return {pid: everybody.get(pid, "") for pid in map(int, found.stdout.split())}

    def logged(self, phrase: str) -> list[dict[str, str]]:
        """Return the entries of the journal that begin with a phrase."""
        entries = self.box.journal(self.unit)
        return [one for one in entries if str(one.get("MESSAGE", "")).startswith(phrase)]
