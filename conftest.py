"""For every test of the repository: in CI (``CI=true``) a run that left a test out has failed."""

import os

import pytest

LEFT_OUT = ("skipped", "xfailed", "xpassed")


def _left_out(config: pytest.Config) -> list[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or reporter is None:
        return []
    return [report.nodeid for outcome in LEFT_OUT for report in reporter.stats.get(outcome, [])]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _left_out(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if names := _left_out(config):
        terminalreporter.section("Left out, which CI does not allow", red=True)
        for name in names:
            terminalreporter.line(name)
