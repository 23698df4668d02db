"""Where servers come from: who pays for HTTP."""

import subprocess
import sys


def test_a_daemon_without_a_url_loads_no_http_client() -> None:
    program = (
        "import sys, mcpnatsd.daemon.daemon\n"
        "from mcpnatsd.config.model import ServerConfig\n"
        "from mcpnatsd.daemon.launchers import Launchers\n"
        "Launchers(None).of(ServerConfig(name='a', command=('a',)))\n"
        "print('httpcore2' in sys.modules)\n"
        "Launchers(None).of(ServerConfig(name='a', url='http://a/'))\n"
        "print('httpcore2' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["False", "True"]
