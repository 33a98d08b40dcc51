"""Commands run as a user types them: through a shell's environment, each in a process of its own, with a timeout."""

import contextlib
import fcntl
import importlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, browser, fetch_axe
from skips import pytest_runtest_makereport, pytest_terminal_summary  # noqa: F401  hooks

from wm_mpi.core import config, progress
from wm_mpi.core.cli import parse
from wm_mpi.core.errors import UserError, account
from wm_mpi.core.launch import SESSIONS
from wm_mpi.envs.games import GAMES, game_of
from wm_mpi.evolution.run_state import OPERATION

ROOT = Path(__file__).parent.parent
TOGETHER = {f"tests/test_{name}.py" for name in (
    "engine_render", "envs", "export", "published", "quantize", "report", "serve", "translation", "watch")}
"""Files whose tests stay in one process when several run tests: they share what a fixture of their module makes, or look at
the whole machine (envs: which Xvfb there are)."""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
               "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
ENVIRONMENT.pop("DISPLAY", None)


def command(*arguments: object, ranks: int = 0) -> list[str]:
    """The command line of ``python -m wm_mpi.X``, under mpirun if ``ranks`` > 0."""
    name, *rest = map(str, arguments)
    python = [sys.executable, name, *rest] if name.endswith(".py") else [sys.executable, "-m", f"wm_mpi.{name}", *rest]
    return ["mpirun", "--oversubscribe", *own_session(), "-np", str(ranks), *python] if ranks else python


def own_session() -> list[str]:
    """Flags of mpirun for a place of its own: tests kill many, see ``launch.SESSIONS``."""
    return ["--prtemca", SESSIONS.removeprefix("PRTE_MCA_"), tempfile.mkdtemp(prefix="wm_mpi-test-")]


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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out files of TOGETHER first, all other tests one by one: so that all processes end at about the same time."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file in TOGETHER else nodeid

    return Scheduling(config, log)


CONFIGS = {"train_vae": config.VaeConfig, "train_rnn": config.RnnConfig, "encode": config.EncodeConfig,
           "freeze": config.FreezeConfig}


def here(*arguments: object) -> str:
    """Run a command of Keras inside this process, where it is not the process that is tested; gives what it printed.

    Keras takes six seconds of a core to start.
    """
    name, *rest = map(str, arguments)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), progress.speaking(logging.INFO):
        importlib.import_module(f"wm_mpi.{name}").main(parse(CONFIGS[name], name, rest))
    return said.getvalue()


def refuse_here(*arguments: object) -> str:
    """Run a command of Keras inside this process, which must refuse as ``refuse`` says; gives the sentence."""
    with pytest.raises(UserError) as refused:
        here(*arguments)
    sentence, status = account(refused.value)
    assert status == 2 and "\n" not in sentence
    return sentence


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


def once(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], object]) -> Path:
    """A directory that whoever needs it first fills, for all processes that run tests beside and after one another."""
    beside = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    place = Path(os.environ.get("WM_TEST_SHARED") or beside)
    with open(place / f"{name}.lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        if not lock.read():
            shutil.rmtree(place / name, ignore_errors=True)  # left by one that failed
            (place / name).mkdir()
            fill(place / name)
            lock.write("filled")
    return place / name


def learning(out: Path, *frozen: object) -> list[list[object]]:
    """The commands from frames/ to world/ of a directory, tiny; ``frozen`` are further flags of freeze."""
    return [["train_vae", "--preset", "smoke", "--data", out / "frames", "--out", out / "vae"],
            ["encode", "--data", out / "frames", "--vae", out / "vae", "--out", out / "latents"],
            ["train_rnn", "--preset", "smoke", "--data", out / "latents", "--out", out / "rnn"],
            ["freeze", "--preset", "smoke", *frozen, "--vae", out / "vae", "--rnn", out / "rnn", "--data", out / "frames",
             "--out", out / "world"]]


def in_one_process(stages: list[list[object]]) -> None:
    """Run commands one after another, with one start of Keras."""
    succeed(ROOT / "tests" / "programs" / "commands.py", json.dumps(stages, default=str))


@pytest.fixture(autouse=True)
def games_of_this_test() -> Iterator[None]:
    """Games that a test registers end with it."""
    before = dict(GAMES)
    yield
    if before != GAMES:
        GAMES.clear()
        GAMES.update(before)
        game_of.cache_clear()


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything up to a world, tiny, on real CarRacing: frames/ vae/ latents/ rnn/ world/. Do not write into it."""
    def fill(out: Path) -> None:
        succeed("collect", "--preset", "smoke", "--out", out / "frames", ranks=3)
        in_one_process(learning(out))

    return once(tmp_path_factory, "pipeline", fill)


FEW = ("--width", 2)
"""Episodes in lock-step where the game is Doom: each is a process."""
DREAMT = ("--env", "dream", "--temperature", 1.15, "--preset", "smoke", "--popsize", 6, "--episodes", 2, "--max-frames", 80,
          *FEW)
"""Flags of es for a C of Doom's dream, tiny."""


@pytest.fixture(scope="session")
def doom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Doom's pipeline, tiny, up to a C of the dream: frames/ vae/ latents/ rnn/ world/ es/. Do not write into it."""
    pytest.importorskip("vizdoom", reason="vizdoom is not installed: pip install -c constraints.txt -e '.[doom]'")
    def fill(out: Path) -> None:
        stages = learning(out)
        stages[2] += ["--learning-rate", 0.01, "--steps", 40]  # until M takes ends for rare: before, dreams end at once
        in_one_process([["collect", "--preset", "smoke", "--env", "doom", *FEW, "--out", out / "frames"], *stages,
                        ["es", *DREAMT, "--world", out / "world", "--generations", 4, "--out", out / "es"]])

    return once(tmp_path_factory, "doom", fill)


class Watching:
    """A recorder of the actions of episodes that a ``Rollout`` plays, by the number of their task."""

    def __init__(self) -> None:
        self._taken: dict[int, list[tuple[float, ...]]] = {}
        self.actions: dict[int, list[tuple[float, ...]]] = {}

    def begin(self, slot: int) -> None:
        self._taken[slot] = []

    def step(self, slot: int, frame: object, action: Iterable[float], reward: float, terminated: bool) -> None:
        self._taken[slot].append(tuple(action))

    def finish(self, slot: int, index: int, task: object) -> None:
        self.actions[index] = self._taken[slot]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a wheel, and installed from it in site/. Do not write into it."""
    def fill(out: Path) -> None:
        for arguments in (["wheel", "--wheel-dir", out, ROOT], ["install", "--target", out / "site"]):
            subprocess.run([sys.executable, "-m", "pip", arguments[0], "--quiet", "--no-deps", *arguments[1:],
                            *(out.glob("*.whl") if arguments[0] == "install" else ())], check=True, capture_output=True)
        for path in (ROOT / "wm_mpi" / "envs" / "fast").rglob("*.py"):  # so that the engine need not be compiled again
            shutil.copystat(path, out / "site" / path.relative_to(ROOT))

    return once(tmp_path_factory, "wheel", fill)


@pytest.fixture
def copied(pipeline: Path, tmp_path: Path) -> Path:
    """A copy of the pipeline that a test may damage."""
    shutil.copytree(pipeline, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core."""
    return (once(tmp_path_factory, "axe", fetch_axe) / "axe.min.js").read_text()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser."""
    with browser(tmp_path_factory.mktemp("chromium")) as started:
        yield started
