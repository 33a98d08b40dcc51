"""Commands run as a user types them: through a shell's environment, each in a process of its own, with a timeout."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wm_mpi.history import OPERATION

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
               "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
ENVIRONMENT.pop("DISPLAY", None)


def command(*arguments: object, ranks: int = 0) -> list[str]:
    """The command line of ``python -m wm_mpi.X``, under mpirun if ``ranks`` > 0."""
    name, *rest = map(str, arguments)
    python = [sys.executable, name, *rest] if name.endswith(".py") else [sys.executable, "-m", f"wm_mpi.{name}", *rest]
    return ["mpirun", "--oversubscribe", "-np", str(ranks), *python] if ranks else python


def wm(*arguments: object, ranks: int = 0, timeout: float = 240, env: dict[str, str] | None = None,
       cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of the project to its end."""
    return subprocess.run(command(*arguments, ranks=ranks), capture_output=True, text=True, timeout=timeout,
                          env={**ENVIRONMENT, **(env or {})}, cwd=cwd or ROOT, check=False)


def succeed(*arguments: object, **options: object) -> str:
    """Run a command that must succeed; gives what it printed."""
    done = wm(*arguments, **options)  # type: ignore[arg-type]
    assert done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def refuse(*arguments: object, status: int = 2, **options: object) -> str:
    """Run a command that must be refused in one sentence, without a traceback; gives the sentence."""
    done = wm(*arguments, **options)  # type: ignore[arg-type]
    said = done.stdout + done.stderr
    assert done.returncode == status, f"{arguments} ended with {done.returncode}:\n{said}"
    assert "Traceback" not in said, said
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, said
    return lines[0]


def metrics(run: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in OPERATION} for row in rows]


def same(left: Path, right: Path) -> None:
    """Two runs agree to the last digit: metrics apart from how it went, champion, and the set of journalled episodes."""
    assert metrics(left) == metrics(right)
    assert (left / "champion.h5").read_bytes() == (right / "champion.h5").read_bytes()
    journals = [{tuple(sorted(json.loads(line).items())) for line in (run / "episodes.jsonl").read_text().splitlines()}
                for run in (left, right)]
    assert journals[0] == journals[1]


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything up to a world, tiny, on real CarRacing: frames/ vae/ latents/ rnn/ world/. Do not write into it."""
    out = tmp_path_factory.mktemp("pipeline")
    succeed("collect", "--preset", "smoke", "--out", out / "frames", ranks=3)
    succeed("train_vae", "--preset", "smoke", "--data", out / "frames", "--out", out / "vae")
    succeed("encode", "--data", out / "frames", "--vae", out / "vae", "--out", out / "latents")
    succeed("train_rnn", "--preset", "smoke", "--data", out / "latents", "--out", out / "rnn")
    succeed("freeze", "--preset", "smoke", "--vae", out / "vae", "--rnn", out / "rnn", "--data", out / "frames",
            "--out", out / "world")
    return out


@pytest.fixture
def copied(pipeline: Path, tmp_path: Path) -> Path:
    """A copy of the pipeline that a test may damage."""
    shutil.copytree(pipeline, tmp_path / "copy")
    return tmp_path / "copy"
