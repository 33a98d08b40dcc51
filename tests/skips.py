"""What a run of the tests leaves out: said at its end, with what would enable it; in strict mode a failure.

The reason of a skip says what is missing and, after a colon, the line that would put it there. With WM_TEST_STRICT=1, as in
continuous integration, only the reasons in EXPECTED may skip a test.
"""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

EXPECTED = ("no schema of the MPI operator", "no published weights")
"""Beginnings of reasons that stand in strict mode, too: of files that are no part of this project."""
NO_ROOT = "mounting a tmpfs needs root: run the tests as root"
NO_SHELLCHECK = "shellcheck is not installed: apt-get install shellcheck"
NO_XVFB = "Xvfb is not installed: apt-get install xvfb"
STRICT = os.environ.get("WM_TEST_STRICT") == "1"


def reason(report: Any) -> str:
    """Why a test was skipped."""
    return report.longrepr[2].removeprefix("Skipped: ")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    report = yield
    if STRICT and report.skipped and not hasattr(report, "wasxfail") and not reason(report).startswith(EXPECTED):
        report.longrepr = f"skipped, which WM_TEST_STRICT=1 forbids: {reason(report)}"
        report.outcome = "failed"
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Each reason with how many tests it has skipped, in this and in earlier phases of the run."""
    reasons = [reason(report) for report in terminalreporter.stats.get("skipped", [])]
    if "WM_TEST_SHARED" in os.environ:
        noted = Path(os.environ["WM_TEST_SHARED"]) / "skipped"
        with open(noted, "a") as file:
            file.writelines(" ".join(each.split()) + "\n" for each in reasons)
        reasons = noted.read_text().splitlines()
    if reasons or STRICT:
        terminalreporter.section("skipped, and what would enable it")
    if STRICT:
        terminalreporter.write_line(f"strict: all skips fail but of {', '.join(map(repr, EXPECTED))}")
    for each in sorted(set(reasons)):
        terminalreporter.write_line(f"{reasons.count(each):4}  {each}")
