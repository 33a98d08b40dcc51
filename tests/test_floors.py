"""The house keeps its floors: imports point down only, and heavy packages stay in their rooms."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "wm_mpi"
COMMANDS = {"api", "collect", "train_vae", "encode", "train_rnn", "freeze", "es", "temperatures", "refit", "evaluate",
            "watch", "report", "export", "adopt", "doctor", "__init__", "__main__"}
"""All that lies beside the folders; commands may import from any of these."""
ROOF: dict[str, set[str]] = {"api": {"es"}, "__init__": {"api"}}
"""What stands on commands."""
BELOW: dict[str, set[str]] = {
    "core": set(),
    "envs": {"core"},
    "pool": {"core"},
    "data": {"core"},
    "models": {"core", "data"},
    "world": {"core", "data", "envs"},
    "rollout": {"core", "data", "envs", "pool", "world"},
    "evolution": {"core", "data", "envs", "pool", "world", "rollout"},
    "viewer": {"core", "data", "envs", "world", "evolution"},
    "reporting": {"core", "data", "envs", "world", "evolution", "viewer"},
}
"""Folders, lowest first, and what each may import from. Models that are trained and worlds, frozen, meet in freeze."""
HOMES = {"mpi4py": "pool/transport", "cma": "evolution/strategies/cma", "keras": "models", "tensorboardX": "data/board",
         "wandb": "evolution/loggers", "mlflow": "evolution/loggers",
         "onnxruntime": "world/policy", "onnx": "world/graph", "h5py": "data", "numba": "envs",
         "vizdoom": "envs/doom", "ale_py": "envs/games", "pyvirtualdisplay": "envs",
         "websockets": "viewer/web", "av": "viewer/films", "scipy": "world/gates",
         "jinja2": "reporting", "markupsafe": "reporting"}
"""The one place that knows of a library."""


def modules() -> list[Path]:
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imports(module: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def test_what_lies_where() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == COMMANDS
    assert {path.parts[0] for path in modules() if len(path.parts) > 1} == BELOW.keys()
    assert len(COMMANDS | BELOW.keys()) <= 30


def test_folders_stand_on_one_another() -> None:
    order = list(BELOW)
    for folder, below in BELOW.items():
        assert below <= set(order[:order.index(folder)]), f"{folder} stands on what is above it"


@pytest.mark.parametrize("module", modules(), ids=str)
def test_imports_point_down(module: Path) -> None:
    here = module.parts[0] if len(module.parts) > 1 else None
    allowed = {*BELOW, *ROOF.get(module.stem, ())} if here is None else BELOW[here]
    for name in imports(module):
        package, _, rest = name.partition(".")
        room = rest.partition(".")[0]
        if package == "wm_mpi" and room not in ("", "__version__", here):
            assert room in allowed, f"{module} imports {name}"


@pytest.mark.parametrize("module", modules(), ids=str)
def test_a_library_is_known_in_one_place(module: Path) -> None:
    for name in imports(module):
        home = HOMES.get(name.split(".")[0])
        assert home is None or module.as_posix().startswith(home), f"{module} imports {name}"
    assert not any(name.split(".")[0] == "tensorflow" for name in imports(module)), f"{module} is not backend-agnostic"


def test_es_loads_neither_tensorflow_nor_matplotlib() -> None:
    code = ("import sys, wm_mpi.es, wm_mpi.collect, wm_mpi.evaluate\n"
            "print(sorted({'tensorflow', 'keras', 'matplotlib', 'mpi4py'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=True)
    assert done.stdout.strip() == "[]"
