"""What a newcomer types: help, the list of commands, job files."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import CONFIGS, ENVIRONMENT, ROOT, succeed
from skips import NO_SHELLCHECK

from wm_mpi.__main__ import COMMANDS
from wm_mpi.core import config
from wm_mpi.core.cli import parse


def config_of(name: str) -> Any:
    """The class of a command's options."""
    return next(each for each in vars(config).values() if isinstance(each, type)
                and each.__name__.lower() == f"{name.replace('_', '').replace('train', '')}config")


def test_the_list_of_commands() -> None:
    said = subprocess.run([sys.executable, "-m", "wm_mpi"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert [line.split()[0] for line in said.splitlines() if " -> " in line] == [
        name for name, *_ in COMMANDS]


@pytest.mark.parametrize("name", [name for name, *_ in COMMANDS])
@pytest.mark.parametrize("preset", ["paper", "laptop", "smoke"])
def test_help_shows_every_option_with_its_preset(name: str, preset: str, monkeypatch: pytest.MonkeyPatch,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    config_class = config_of(name)
    if preset == "paper":
        if name in CONFIGS:  # a start of Keras is not worth it: what follows is all that its process would do
            monkeypatch.setenv("COLUMNS", "200")
            with pytest.raises(SystemExit, match="^0$"):
                parse(config_class, name, ["--help"])
            said = capsys.readouterr().out
        else:
            said = succeed(name, "--help", env={"COLUMNS": "200"})
        for field in dataclasses.fields(config_class):
            assert f"--{field.name.replace('_', '-')}" in said
        assert "None" not in said  # "{None}|INT (default: None)" teaches nobody
        assert str(ROOT) not in said
    required = [field.name for field in dataclasses.fields(config_class) if field.default is dataclasses.MISSING]
    flags = [part for name in required for part in (f"--{name}", "x")]
    parsed = parse(config_class, name, [*flags, "--preset", "smoke", "--preset", preset])  # the last one counts
    assert parsed.preset == preset
    for field, value in config_class.presets[preset].items():
        assert getattr(parsed, field) == value
    explicit = next((field for field, value in config_class.presets["smoke"].items()
                     if not isinstance(value, bool)), None)
    if explicit:
        parsed = parse(config_class, name, [*flags, f"--{explicit.replace('_', '-')}", "1000", f"--preset={preset}"])
        assert getattr(parsed, explicit) == 1000


def test_help_breaks_lines_where_the_terminal_does() -> None:
    told = succeed("es", "--help", env={"COLUMNS": "80"}).splitlines()
    lines = [line.strip("│| ") for line in told if line.startswith(("│", "|"))]
    said = " ".join(lines)
    assert all(lines)
    assert "sizes (days on a cluster), an evening" in said
    assert "Longest episode (frames). (default: the game's own, 1,000 for CarRacing)" in said.replace("1, 000", "1,000")
    assert "--validate-in {real,dream}" in said and "--hidden INT [INT ...]" in said
    assert "-q, --quiet" in said


@pytest.mark.parametrize("script", sorted([*ROOT.glob("jobs/*.bash"), ROOT / ".ci" / "run"]), ids=lambda path: path.name)
def test_scripts_are_clean(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    assert script.stat().st_mode & 0o111 or script.name in ("setup.bash", "stages.bash")
    if not shutil.which("shellcheck"):
        pytest.skip(NO_SHELLCHECK)
    subprocess.run(["shellcheck", "-x", script.relative_to(ROOT)], check=True, cwd=ROOT)


def writes_down(python: Path, typed: Path) -> None:
    """Make a ``python`` that only writes down what it is asked for, and of itself what is asked for as a venv."""
    python.write_text(f"""#!/bin/bash
case "$*" in
    "-c "*) ;;
    "-m wm_mpi.core.machine") echo 2 ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *) printf '%s\\n' "$*" >>{typed} ;;
esac
""")
    python.chmod(0o755)


@pytest.mark.parametrize("name,extras", [
    ("atari", "mpi,train,atari"), ("doom", "mpi,train,doom"), ("reproduce", "mpi,train")])
def test_a_long_job_installs_its_game(name: str, extras: str, tmp_path: Path) -> None:
    typed, python = tmp_path / "typed", tmp_path / "python"
    writes_down(python, typed)
    env = {name: value for name, value in ENVIRONMENT.items() if name != "WM_EXTRAS"} | {
        "PYTHON": str(python), "WM_VENV": f"{tmp_path}/venv", "OUT": f"{tmp_path}/out"}
    subprocess.run(["bash", ROOT / "jobs" / f"{name}.bash"], check=True, stdout=subprocess.DEVNULL, env=env, timeout=60)
    assert typed.read_text().splitlines()[0].endswith(f"--editable .[{extras}]")


@pytest.mark.parametrize("name", ["atari", "doom", "iterate", "reproduce"])
def test_what_a_long_job_types_is_understood(name: str, tmp_path: Path) -> None:
    """Every stage of a job that takes hours, with a python that only writes down what it is asked for."""
    typed, python = tmp_path / "typed", tmp_path / "bin" / "python"
    python.parent.mkdir()
    writes_down(python, typed)
    for file in ("frames/frames.h5", "vae/weights.h5", "rnn/weights.h5", "world/manifest.json", "es/champion.h5"):
        (tmp_path / "from" / file).parent.mkdir(parents=True)
        (tmp_path / "from" / file).touch()
    env = {"PATH": f"{python.parent}:{ENVIRONMENT['PATH']}", "FROM": f"{tmp_path}/from", "OUT": f"{tmp_path}/out",
           "WM_VENV": ""}  # another python would come first
    subprocess.run(["bash", ROOT / "jobs" / f"{name}.bash"], check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT | env,
                   timeout=60)
    seen = set[str]()
    for line in typed.read_text().splitlines():
        command, *flags = re.sub(r".*-m wm_mpi\.", "", line).split()
        parse(config_of(command), command, flags)
        seen.add(command)
    assert {"collect", "train_vae", "encode", "train_rnn", "freeze", "es"} <= seen


@pytest.mark.parametrize("turns", [1, 3])
def test_doom_takes_the_turns_that_it_is_told(turns: int, tmp_path: Path) -> None:
    typed, python = tmp_path / "typed", tmp_path / "bin" / "python"
    python.parent.mkdir()
    writes_down(python, typed)
    env = {"PATH": f"{python.parent}:{ENVIRONMENT['PATH']}", "OUT": f"{tmp_path}/out", "WM_VENV": "", "TURNS": str(turns)}
    job = ["bash", ROOT / "jobs" / "doom.bash"]
    done = subprocess.run(job, check=True, capture_output=True, text=True, env=ENVIRONMENT | env, timeout=60)
    stages = re.findall(r"== (\d+)/(\d+) ", done.stdout)
    assert stages == [(str(number + 1), str(len(stages))) for number in range(len(stages))]
    assert typed.read_text().count("wm_mpi.es ") == turns
    assert f"--run {tmp_path}/out/turn{turns}/es" in typed.read_text().splitlines()[-1]
    for wrong in ("0", "two", "-1", "1.5"):
        refused = subprocess.run(job, capture_output=True, text=True, env=ENVIRONMENT | env | {"TURNS": wrong}, check=False)
        assert refused.returncode == 2
        assert refused.stderr == f"error: TURNS is {wrong}, but must be a number of turns, 1 or more\n"


def test_parity_report_runs(tmp_path: Path) -> None:
    picture = tmp_path / "parity.png"
    done = subprocess.run([sys.executable, "-m", "benchmarks.parity", "--seeds", "70:71", "--frames", "60", "--picture",
                           picture], capture_output=True, text=True, cwd=ROOT, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["tracks identical"] == figures["poses bit-equal"] == figures["rewards equal"] == 1
    assert figures["mean absolute pixel error (of 255)"] < 0.3 and picture.exists()
