"""The reaper program's view of the processes of this machine."""

import os

from mcpnatsd.backends.reaper_main import read, table


def test_this_process_is_found_with_its_parent_and_session() -> None:
    assert table()[os.getpid()] == (os.getppid(), os.getsid(0))


def test_a_file_that_is_gone_is_empty() -> None:
    assert read("/proc/0/stat") == b""
