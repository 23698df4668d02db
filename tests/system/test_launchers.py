"""Servers as people start them, npx and uvx, in the unit's sandbox. Only the network is missing."""

import json

from tests.system import launchers
from tests.system.service import Service

PROGRAMS = {
    "/usr/local/bin/node": "/opt/node/bin/node",
    "/usr/local/bin/npx": "/opt/node/lib/node_modules/npm/bin/npx-cli.js",
    "/usr/local/bin/uvx": "/opt/uv/uvx",
    "/usr/local/bin/uv": "/opt/uv/uv",
}


def test_npx_and_uvx_servers_work(service: Service) -> None:
    service.stop()
    for link, program in PROGRAMS.items():
        service.box.run("ln", "-sf", program, link)
    service.box.run("mkdir", "-p", "/var/cache/mcpnatsd")
    service.box.run("cp", "-r", "/opt/npm-cache", "/var/cache/mcpnatsd/npm")
    service.box.run("chown", "-R", "mcpnatsd:mcpnatsd", "/var/cache/mcpnatsd")
    service.start({"everything": launchers.NPX, "time": launchers.UVX})

    assert "hello" in service.call("everything", "echo", message="hello")
    told = json.loads(service.call("time", "get_current_time", timezone="UTC"))
    assert told["timezone"] == "UTC"
    assert service.status_text.startswith("serving 2 servers")

    members = service.members()
    service.stop()
    assert not set(members) & set(service.box.processes())
