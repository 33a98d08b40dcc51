"""How much commands say: quiet, verbose, bars and lines; and the list of commands with its exit statuses."""

import json
import logging
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT, command, refuse, succeed, wm

from wm_mpi.__main__ import STATUSES
from wm_mpi.core import progress
from wm_mpi.core.config import CollectConfig, EsConfig
from wm_mpi.core.errors import INSTALLED_WITH, account
from wm_mpi.core.progress import Progress, speak

TOY = ("es", "--preset", "smoke", "--env", "toy")
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  "


def test_quiet_says_results_only_and_the_run_is_the_same(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = wm(*TOY, "--out", run, "--quiet")
    assert done.returncode == 0 and done.stderr == ""
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["finished", "next"]
    assert len((run / "log.txt").read_text().splitlines()) == 2, "the log has every generation"
    config = json.loads((run / "config.json").read_text())
    assert not {"quiet", "verbose"} & config.keys()
    said = succeed(*TOY, "--out", run, "--generations", 3, "-v")
    assert re.search(rf"^{TIME}resuming {run} after generation 2$", said, re.MULTILINE)
    assert re.search(rf"^{TIME}generation 3/3 ", said, re.MULTILINE)
    assert re.search(rf"^{TIME}es of wm_mpi .*'generations': 3", said, re.MULTILINE)
    assert json.loads((run / "config.json").read_text()) == {**config, "generations": 3}


def test_values_are_the_same_however_much_is_said() -> None:
    for kind in (EsConfig, CollectConfig):
        assert kind(out="x", quiet=True).values() == kind(out="x", verbose=True).values() == kind(out="x").values()


def test_verbose_errors_have_their_traceback(tmp_path: Path) -> None:
    done = wm("evaluate", "--run", tmp_path, "--verbose")
    assert done.returncode == 2
    assert "Traceback" in done.stderr and done.stderr.splitlines()[-1].startswith(f"error: {tmp_path} is not the directory")
    assert "Traceback" not in wm("evaluate", "--run", tmp_path).stderr
    assert "--quiet and --verbose cannot both be had" in refuse("evaluate", "--run", tmp_path, "-q", "-v")


@pytest.mark.parametrize("flags,shown", [((), True), (("--quiet",), False)])
def test_a_terminal_gets_a_bar_with_rate_and_time_left(flags: tuple[str, ...], shown: bool, tmp_path: Path) -> None:
    reading, writing = pty.openpty()
    termios.tcsetwinsize(writing, (40, 120))
    line = command(*TOY, "--generations", 40, "--out", tmp_path / "run", *flags)
    with subprocess.Popen(line, env=ENVIRONMENT, stdout=writing, stderr=writing, cwd=ROOT) as process:
        os.close(writing)
        said = b""
        try:
            while part := os.read(reading, 65536):
                said += part
        except OSError:  # how a terminal ends
            pass
        os.close(reading)
    assert process.returncode == 0, said
    assert bool(re.search(rb"\d+/160 \[\d\d:\d\d<[^\]]*episode/s", said)) is shown, said
    assert (b"generation 40/40" in said) is shown and b"finished: 40 generations" in said


@pytest.fixture
def spoken() -> Iterator[None]:
    """The logger as a command sets it, and back."""
    before = progress.log.handlers[:], progress.log.level, progress.log.propagate
    speak(logging.INFO)
    yield
    progress.log.handlers[:], progress.log.propagate = before[0], before[2]
    progress.log.setLevel(before[1])


@pytest.mark.usefixtures("spoken")
def test_without_a_terminal_there_are_lines_now_and_then(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with Progress(tmp_path / "log", 1000, 100, unit="frame", name="encode") as bar:
        for _ in range(100):
            clock[0] += 1
            bar.advance(2, note="loss 1")
        bar.line("an event")
        bar.warn("a bad event")
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == "encode: 122 of 1,000 frames, 2.0/s, 0:07:19 left, loss 1"
    assert len(lines) == 4 and lines[-1] == "an event" and said.err == "a bad event\n"
    assert [line[21:] for line in (tmp_path / "log").read_text().splitlines()] == ["an event", "a bad event"]
    speak(logging.WARNING)
    with Progress(tmp_path / "log", 10) as bar:
        clock[0] += 100
        bar.advance()
        bar.line("unheard")
        bar.warn("heard")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "heard\n") and "unheard" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("module", sorted(INSTALLED_WITH))
def test_a_missing_package_is_named_with_its_pip_command(module: str) -> None:
    text, status = account(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert status == 2 and module in text and text.endswith(f"pip install {INSTALLED_WITH[module]}") and "\n" not in text
    assert account(ModuleNotFoundError("No module named 'wm_mpi.lost'", name="wm_mpi.lost"))[1] == 1


def listed(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "wm_mpi", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)


def test_the_list_fits_a_terminal_and_help_explains_statuses() -> None:
    plain, told = listed().stdout, listed("--help").stdout
    rows = [line for line in plain.splitlines() if " -> " in line]
    assert len({line.index(" -> ") for line in rows}) == 1 and max(map(len, rows)) <= 80
    assert told.startswith(plain) and "Exit statuses" not in plain
    documented = (ROOT / "docs/design.md").read_text().partition("## Exit statuses")[2].partition("\n## ")[0]
    for status, meaning in STATUSES:
        assert f"  {status:>3}  {meaning}\n" in told and f"| {status} | " in documented
    assert documented.count("\n| ") == len(STATUSES) + 1


def test_a_command_works_without_its_dot(tmp_path: Path) -> None:
    done = listed(*TOY, "--out", str(tmp_path / "run"))
    assert done.returncode == 0 and "finished: 2 generations" in done.stdout, done.stderr
    for arguments, fix in ((("evaluat",), "did you mean evaluate?"), (("paint",), "wm-mpi lists all")):
        done = listed(*arguments)
        assert done.returncode == 2 and done.stdout == "" and fix in done.stderr and "Traceback" not in done.stderr
    assert listed("--version").stdout.startswith("wm_mpi ")
