"""What is left out is said, and in strict mode it fails."""

import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import ROOT
from skips import EXPECTED

TESTS = f"""
import pytest

@pytest.mark.skipif(True, reason="no wings: apt-get install wings")
def test_flying(): pass

def test_flying_on():
    pytest.skip("no wings: apt-get install wings")

def test_driving(): pass

def test_theirs():
    pytest.skip("{EXPECTED[0]}: put it there")
"""


def outcome(place: Path, strict: str) -> tuple[int, str]:
    """(status, output) of a run of TESTS with the hooks of this suite, the second phase of its run."""
    (place / "conftest.py").write_text("from skips import pytest_runtest_makereport, pytest_terminal_summary\n")
    (place / "test_it.py").write_text(TESTS)
    (place / "skipped").write_text("no road: build one\n")
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "WM_TEST_STRICT": strict, "WM_TEST_SHARED": str(place)}
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", place, place], env=env,
                          cwd=place, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_what_is_skipped_is_said_at_the_end(tmp_path: Path) -> None:
    status, said = outcome(tmp_path, "0")
    assert status == 0 and "1 passed, 3 skipped" in said
    assert re.findall(r"^ +(\d)  (.*)$", said.partition("what would enable it")[2], re.MULTILINE) == [
        ("1", "no road: build one"), ("1", f"{EXPECTED[0]}: put it there"), ("2", "no wings: apt-get install wings")]


def test_in_strict_mode_only_what_is_expected_is_skipped(tmp_path: Path) -> None:
    status, said = outcome(tmp_path, "1")
    assert status == 1 and "1 failed, 1 passed, 1 skipped, 1 error" in said
    assert said.count("WM_TEST_STRICT=1 forbids: no wings: apt-get install wings") >= 2
    assert f"all skips fail but of '{EXPECTED[0]}'" in said
