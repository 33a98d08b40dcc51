"""The way in: a line with nothing on it trains, bad ones are refused at once, and an installed package needs no clone."""

import dataclasses
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import get_type_hints

import pytest
from conftest import ENVIRONMENT, ROOT, refuse, succeed, wm

from wm_mpi import __version__
from wm_mpi.core import config as configs
from wm_mpi.core.cli import parse
from wm_mpi.core.config import EsConfig, VaeConfig
from wm_mpi.core.errors import INSTALLED_WITH, UserError
from wm_mpi.core.options import Command
from wm_mpi.core.rundir import begin_directory
from wm_mpi.core.shipped import PRETRAINED, called, found

COMMANDS = {"collect": "Collect", "train_vae": "Vae", "encode": "Encode", "train_rnn": "Rnn", "freeze": "Freeze", "es": "Es",
            "temperatures": "Temperatures", "refit": "Refit", "evaluate": "Evaluate", "watch": "Watch", "report": "Report",
            "export": "Export", "adopt": "Adopt", "doctor": "Doctor"}
HELP = ": python -m wm_mpi.es --help shows all flags"
TINY = ("--generations", 2, "--popsize", 4, "--episodes", 1, "--max-frames", 60, "--eval-episodes", 2)


def config_class(name: str) -> type[Command]:
    return getattr(configs, f"{COMMANDS[name]}Config")


# --- nothing on the line ----------------------------------------------------------------------------------------------
def test_es_trains_in_the_world_that_ships_and_says_how_to_watch(tmp_path: Path) -> None:
    said = succeed("es", *TINY, ranks=3, cwd=tmp_path).splitlines()
    assert "carracing, which comes with the package" in said[0] and "runs/es" in said[0]
    assert said[1] == "watch it: python -m wm_mpi.watch --run runs/es --serve 8000"
    assert len((tmp_path / "runs/es/metrics.jsonl").read_text().splitlines()) == 2
    settings = json.loads((tmp_path / "runs/es/config.json").read_text())
    assert settings["world"] == "carracing", "a name, not where the package lies on this machine"
    again = succeed("es", *TINY, cwd=tmp_path)
    assert "resuming runs/es after generation 2" in again
    judged = succeed("evaluate", "--episodes", 1, "--max-frames", 50, cwd=tmp_path)
    assert judged.startswith("this is carracing, which comes with the package; for your own: --run runs/es")
    assert (tmp_path / "carracing-evaluations.jsonl").exists()
    own = succeed("evaluate", "--run", "runs/es", "--episodes", 1, "--max-frames", 50, cwd=tmp_path)
    assert "mean solution of generation" in own and (tmp_path / "runs/es/evaluations.jsonl").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_typed_alone(name: str) -> None:
    parsed = parse(config_class(name), name, [])
    assert parsed.preset == "champion"
    assert parsed == config_class(name)()


def test_what_one_command_writes_the_next_one_reads() -> None:
    names = "collect", "train_vae", "encode", "train_rnn", "freeze"
    collect, vae, encode, rnn, freeze = (config_class(name)() for name in names)
    assert {collect.out} == {vae.data, encode.data, freeze.data}  # type: ignore[attr-defined]
    assert {vae.out} == {encode.vae, freeze.vae}  # type: ignore[attr-defined]
    assert (encode.out, rnn.out) == (rnn.data, freeze.rnn)  # type: ignore[attr-defined]
    assert config_class("refit")().world == freeze.out and config_class("export")().run == EsConfig().out  # type: ignore


def test_the_paper_s_preset_is_the_paper_s() -> None:
    paper = parse(EsConfig, "es", ["--preset", "paper"])
    assert (paper.popsize, paper.episodes, paper.generations, paper.sigma, paper.deterministic, paper.stuck_frames) == (
        64, 16, 1800, 0.1, False, 0)
    v = parse(VaeConfig, "train_vae", ["--preset", "paper"])
    assert (v.learning_rate, v.epochs, v.batch_size, v.kl_tolerance) == (1e-4, 10, 100, 0.5)


def test_the_name_of_a_preset_is_no_part_of_a_run(tmp_path: Path) -> None:
    spelt = parse(EsConfig, "es", ["--preset", "paper"])
    values = {field.name: getattr(spelt, field.name) for field in dataclasses.fields(EsConfig) if field.name != "preset"}
    begin_directory(tmp_path, spelt.values(), EsConfig.changeable_fields())
    (tmp_path / "lock").unlink()
    begin_directory(tmp_path, EsConfig(**values).values(), EsConfig.changeable_fields())
    (tmp_path / "lock").unlink()
    with pytest.raises(UserError, match="popsize: 64 there, 128 now"):
        begin_directory(tmp_path, EsConfig().values(), EsConfig.changeable_fields())


# --- names ------------------------------------------------------------------------------------------------------------
def test_names_of_what_ships_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert found("carracing") == str(PRETRAINED / "carracing") and called(found("carracing")) == "carracing"
    assert found("/elsewhere/wm_mpi/pretrained/carracing") == str(PRETRAINED / "carracing"), "an older run's record"
    assert found("/elsewhere/carracing") == "/elsewhere/carracing" and called("runs/es") == "runs/es"
    (tmp_path / "carracing").mkdir()
    assert found("carracing") == "carracing", "a directory of that name comes first"


@pytest.mark.parametrize("arguments,meant", [
    (("es", "--world", "carracin"), "did you mean carracing, which comes with the package?"),
    (("evaluate", "--run", "car_racing"), "did you mean carracing, which comes with the package?"),
    (("watch", "--run", "runs/ess"), "did you mean runs/es?"),
    (("watch", "--run", "something"), "it does not exist: give --run the --out of es, or carracing or doom, which come"),
    (("es", "--world", "runs"), "or carracing or doom, which come with the package")])
def test_a_name_that_is_not_there(arguments: tuple[str, ...], meant: str, tmp_path: Path) -> None:
    (tmp_path / "runs/es").mkdir(parents=True)
    assert meant in refuse(*arguments, cwd=tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["es", "runs"], "nothing was written"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_its_version(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="^0$"):
        parse(config_class(name), name, ["--version"])
    assert capsys.readouterr().out == f"wm_mpi {__version__}\n"


# --- bad flags --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("flags,sentence", [
    ("--popsize 1", "--popsize is 1, but must be at least 3"),
    ("--popsize 1.5", f"--popsize: invalid literal for int() with base 10: '1.5'{HELP}"),
    ("--popsiz 3", f"unrecognized options: --popsiz, 3, perhaps you meant --popsize{HELP}"),
    ("stray", f"unrecognized options: stray{HELP}"),
    ("--out", f"missing value for argument '--out'{HELP}"),
    ("--env nope", "--env is nope, but must be one of carracing, gymnasium, gym, doom, dream, toy, an id of Gymnasium with "
                   "its version, such as LunarLander-v3, or package.module:Class")])
def test_a_bad_flag_is_one_plain_sentence(flags: str, sentence: str, tmp_path: Path) -> None:
    for encoding in ("utf-8", "ascii"):  # tyro draws other boxes
        done = wm("es", *flags.split(), cwd=tmp_path, env={"PYTHONIOENCODING": encoding})
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {sentence}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", COMMANDS)
def test_empty_values_are_refused(name: str) -> None:
    texts = [field for field, kind in get_type_hints(config_class(name)).items() if kind in (str, str | None)]
    for field in texts:
        with pytest.raises(UserError, match=f"--{field.replace('_', '-')} is empty"):
            parse(config_class(name), name, [f"--{field.replace('_', '-')}="])
    assert texts


@pytest.mark.alone
def test_a_bad_flag_on_many_ranks_is_said_once_and_soon() -> None:
    began = time.monotonic()
    done = wm("es", "--popsize", 1, ranks=32)
    assert time.monotonic() - began < 20
    assert done.returncode == 2 and done.stderr.count("error: --popsize is 1, but must be at least 3") == 1
    assert done.stderr.count("error") == 1 and "\x1b" not in done.stderr and not done.stdout


def test_a_bad_flag_is_said_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    heavy = {"numpy", "gymnasium", "numba", "mpi4py", "h5py", "onnxruntime"}
    code = ("import runpy, sys\nsys.argv = ['-m', '--popsize', '1']\ntry:\n"
            f"    runpy.run_module('wm_mpi.es', {{}}, '__main__')\nfinally:\n    print(sorted({heavy} & set(sys.modules)))")
    script = tmp_path / "-m"  # as a command is called
    script.write_text(code)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=ENVIRONMENT, check=False, cwd=ROOT)
    assert done.stdout == "[]\n" and "--popsize is 1" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_ranks_keep_to_one_thread_and_keras_does_not(name: str) -> None:
    assert config_class(name).one_thread == (name not in ("train_vae", "encode", "train_rnn", "freeze"))


def test_one_thread_is_set_before_numpy_reads_it(tmp_path: Path) -> None:
    for name in ("collect", "es", "evaluate", "export"):
        code = ("import runpy, sys\nimport wm_mpi.core.cli\nassert 'numpy' not in sys.modules\n"
                "import importlib\nreal = importlib.import_module\n"
                "def watch(module):\n    import os\n"
                "    print(module, os.environ['OMP_NUM_THREADS'], 'numpy' in sys.modules)\n    sys.exit(0)\n"
                "importlib.import_module = watch\n"
                f"sys.argv = ['-m']\nrunpy.run_module('wm_mpi.{name}', {{}}, '__main__')")
        script = tmp_path / "-m"
        script.write_text(code)
        clean = {key: value for key, value in ENVIRONMENT.items() if not key.endswith("_NUM_THREADS")}
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=clean, check=False, cwd=tmp_path)
        assert done.stdout == f"wm_mpi.{name} 1 False\n", done.stderr


# --- an installed package ---------------------------------------------------------------------------------------------
BLOCKED = ("tensorflow", "keras", "scipy", "matplotlib", "av", "torch", "jax")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the packages of the extras cannot be imported."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "sitecustomize.py").write_text(
        "import sys\nclass Block:\n    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {BLOCKED}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\nsys.meta_path.insert(0, Block())\n")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


def test_a_rank_needs_no_extra(base: dict[str, str], tmp_path: Path) -> None:
    succeed("es", *TINY, env=base, cwd=tmp_path)
    succeed("evaluate", "--episodes", 1, "--max-frames", 50, env=base, cwd=tmp_path)
    succeed("watch", "--sheet", "x.png", "--max-frames", 30, env=base, cwd=tmp_path)
    succeed("report", "--run", "runs/es", "--films", 0, env=base, cwd=tmp_path)
    assert (tmp_path / "x.png").stat().st_size > 10_000


@pytest.mark.parametrize("arguments,extra", [
    (("train_vae",), "train"), (("encode",), "train"), (("train_rnn",), "train"), (("freeze",), "train"),
    (("watch", "--video", "x.mp4"), "watch"), (("report", "--films", 0, "--png", "x.png"), "watch")])
def test_a_missing_extra_is_named(arguments: tuple, extra: str, base: dict[str, str], tmp_path: Path) -> None:
    assert refuse(*arguments, env=base, cwd=tmp_path).endswith(f": pip install 'wm_mpi[{extra}]'")
    assert not (tmp_path / "x.mp4").exists() and not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("settings,asked", [({"KERAS_BACKEND": "tensorflaw"}, "KERAS_BACKEND asks for the Keras backend "),
                                            ({"KERAS_BACKEND": "numpy"}, "KERAS_BACKEND asks for the Keras backend "),
                                            ({"KERAS_BACKEND": ""}, "keras.json asks for the Keras backend 'theano'")])
def test_a_keras_backend_that_cannot_train_is_a_sentence(settings: dict[str, str], asked: str, tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"backend": "theano"}')
    said = refuse("encode", env={"KERAS_HOME": str(tmp_path), **settings}, cwd=tmp_path)
    assert asked in said and said.endswith("tensorflow, jax or torch: set KERAS_BACKEND=tensorflow")


def test_a_keras_backend_that_is_not_installed_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")  # importing it fails
    said = refuse("encode", cwd=tmp_path, env={"KERAS_BACKEND": "torch", "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    assert said.endswith("the package torch, which is not installed: pip install torch, or set KERAS_BACKEND=tensorflow")


@pytest.mark.parametrize("settings", [
    '{"floatx": "float16", "epsilon": 0.5, "image_data_format": "channels_first", "backend": "tensorflow"}',
    '{"floatx": "int8", "epsilon": 0, "image_data_format": "upside down"}', "[1]", '{"floatx"'])
def test_of_kerass_settings_only_the_backend_counts(settings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Keras reads them when it is first imported, without importing all of it again."""
    models = importlib.import_module("wm_mpi.models")
    (tmp_path / "keras.json").write_text(settings)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    with models._own_settings():
        keras = importlib.util.find_spec("keras.src.backend.config")
        config = importlib.util.module_from_spec(keras)
        keras.loader.exec_module(config)
    assert (config.floatx(), config.epsilon(), config.image_data_format()) == ("float32", 1e-7, "channels_last")
    assert config.backend() == "tensorflow" and os.environ["KERAS_HOME"] == str(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["keras.json"] and (tmp_path / "keras.json").read_text() == settings


def test_extras_are_those_of_the_package() -> None:
    setup = (ROOT / "setup.py").read_text()
    for fix in INSTALLED_WITH.values():
        if fix.startswith("'"):
            assert f'"{fix[1:-1].partition("[")[2][:-1]}": [' in setup


def test_commands_work_beside_a_clone_of_the_package_s_name(tmp_path: Path) -> None:
    (tmp_path / "wm_mpi").mkdir()  # a clone's folder has no __init__.py, which makes it a namespace package
    installed = {key: value for key, value in ENVIRONMENT.items() if key != "PYTHONPATH"}
    for name in COMMANDS:
        done = subprocess.run([sys.executable, "-m", f"wm_mpi.{name}", "--no-such-flag"], capture_output=True, text=True,
                              env=installed, cwd=tmp_path, check=False)
        assert done.returncode == 2 and "unrecognized options: --no-such-flag" in done.stderr, done.stderr


@pytest.mark.slow
def test_a_wheel_needs_no_clone(wheel: Path, tmp_path: Path) -> None:
    packed, = wheel.glob("*.whl")
    points, = (wheel / "site").glob("*.dist-info/entry_points.txt")
    assert "wm-mpi = wm_mpi.__main__:console" in points.read_text() and packed.stat().st_size < 40e6
    empty = tmp_path / "empty"
    empty.mkdir()
    env = {"PYTHONPATH": str(wheel / "site"), "OMPI_ALLOW_RUN_AS_ROOT": "", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": ""}
    line = [sys.executable, "-m", "wm_mpi", "launch", "-np", "3", "es", *map(str, TINY)]
    for _ in ("begin", "resume"):
        done = subprocess.run(line, capture_output=True, text=True, env={**ENVIRONMENT, **env}, cwd=empty, check=False)
        assert done.returncode == 0, done.stderr
        assert len((empty / "runs/es/metrics.jsonl").read_text().splitlines()) == 2
    assert "resuming runs/es after generation 2" in done.stdout
    succeed("watch", "--sheet", "x.png", "--max-frames", 30, env=env, cwd=empty)
    code = "import gymnasium; print(gymnasium.make('wm_mpi:wm_mpi/CarRacing-v3').reset(seed=0)[0].shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=empty, check=False,
                          env={**ENVIRONMENT, **env})
    assert done.stdout == "(96, 96, 3)\n", done.stderr
