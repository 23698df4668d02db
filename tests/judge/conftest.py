"""The table of what was found, at the end of a run."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.judge import table


def found(reporter: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield what tests recorded under a name, but for tries that were repeated."""
    for reports in reporter.stats.values():
        for report in reports:
            if getattr(report, "outcome", "") == "rerun":
                continue
            for name, value in getattr(report, "user_properties", ()):
                if name == key:
                    yield value


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any) -> None:
    if terminalreporter.config.option.collectonly:
        return
    terminalreporter.section("every client with every server")
    verdicts = dict(found(terminalreporter, "cell"))
    for line in table.lines(verdicts):
        terminalreporter.write_line(line)
    for name, text in dict(found(terminalreporter, "differs")).items():
        when = "" if "FAIL" in verdicts[name] else ", the first time"
        terminalreporter.write_line(f"\n{name}{when}: {text[-800:]}")
    terminalreporter.write_line("")
    for name, text in sorted(dict(found(terminalreporter, "published")).items()):
        terminalreporter.write_line(f"{text.ljust(5)}{name}")
