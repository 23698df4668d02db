"""What fails within a guard is said, and harms nobody."""

import pytest

from mcpnatsd.daemon.guard import contained
from mcpnatsd.errors import McpnatsdError, ProcessDied


@pytest.mark.parametrize("fault", [ProcessDied("gone"), UnicodeError("odd"), OSError("pipe")])
async def test_a_part_that_fails_is_said_once(
    caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    async def fail() -> None:
        raise fault

    await contained("greeting", fail)

    [record] = caplog.records
    assert record.getMessage() == "a part failed"
    assert (record.exc_info is None) == isinstance(fault, McpnatsdError)


async def test_a_fault_of_ours_is_said_in_its_own_words_also_when_a_task_group_wraps_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[Exception] = []

    async def fail() -> None:
        raise ExceptionGroup("tasks", [ExceptionGroup("tasks", [ProcessDied("gone")])])

    await contained("endpoint", fail, heard.append)

    [record] = caplog.records
    assert record.exc_info is None
    assert [str(fault) for fault in heard] == ["gone"]
