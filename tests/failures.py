"""Print each failure when it happens: a run that is killed has told by then what failed."""

from __future__ import annotations

import pytest
from _pytest.terminal import TerminalReporter

LINES = 60
"""Of a traceback, the last ones. All of it comes at the end of the run."""


class AtOnce:
    """A plugin for the process that reports: of several workers the one that controls them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Name the test, its phase and its seconds, then the end of its traceback."""
        reporter: TerminalReporter | None = self.config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(f"FAILED {report.nodeid} ({report.when}, after {report.duration:.0f} s)")
            for line in report.longreprtext.splitlines()[-LINES:]:
                reporter.write_line(f"    {line}")
            reporter.flush()
