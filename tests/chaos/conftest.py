"""What the scenarios counted, told at the end of the run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

TOLD = "chaos"


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Adds a line to the section "chaos" of pytest's summary, from any worker process."""
    return partial(record_property, TOLD)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    lines = [value for report in reports if report.when == "call" for name, value in report.user_properties if name == TOLD]
    if lines:
        terminalreporter.section("chaos")
        for line in lines:
            terminalreporter.write_line(str(line))
