"""The house keeps its floors: imports point down only, and heavy packages stay in their rooms."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "wm_mpi"
FLOORS = {
    0: {"errors", "config", "cli", "rundir", "seeding", "single_thread", "progress", "registration", "launch", "machine",
        "schema", "terminal", "__init__"},
    1: {"envs", "models", "policy", "graph", "datasets", "batches", "strategy", "pool", "behaviour", "quantize", "reference",
        "measures", "charts", "film"},
    2: {"rollout", "history", "recording", "weights", "calibration", "evidence", "gates", "checkup",
        "insight", "dream", "scene", "picture", "window", "trained", "verdict", "card", "translation",
        "serving", "findings", "curves", "page", "poster", "footage"},
    3: {"collect", "train_vae", "encode", "train_rnn", "freeze", "es", "refit", "evaluate", "watch", "report", "export",
        "doctor", "__main__"},
}
ROOMS = {"mpi4py": {"pool"}, "keras": {"models"}, "cma": {"strategy"}, "onnxruntime": {"policy"}, "onnx": {"graph"},
         "h5py": {"datasets"}, "pyvirtualdisplay": {"envs"}, "numba": {"envs"},
         "websockets": {"serving"}, "av": {"film"}, "pygame": {"window", "envs"}}


def modules() -> list[tuple[str, Path]]:
    return [(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path) for path in sorted(PACKAGE.rglob("*.py"))]


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def floor(room: str) -> int:
    return next(number for number, rooms in FLOORS.items() if room in rooms)


def test_every_module_has_a_floor() -> None:
    assert {room for room, _ in modules()} == set().union(*FLOORS.values())


@pytest.mark.parametrize("room,path", modules(), ids=lambda value: str(value)[-30:])
def test_imports_point_down(room: str, path: Path) -> None:
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "wm_mpi" or len(parts) == 1 or parts[1] == room or parts[1] == "__version__":
            continue
        below = floor(parts[1])
        assert below < floor(room) or (below == floor(room) and below in (0, 2)), f"{path} imports {name}"


@pytest.mark.parametrize("room,path", modules(), ids=lambda value: str(value)[-30:])
def test_heavy_packages_stay_in_their_rooms(room: str, path: Path) -> None:
    for name in imports(path):
        rooms = ROOMS.get(name.split(".")[0])
        assert rooms is None or room in rooms, f"{path} imports {name}"
    assert not any(name.split(".")[0] == "tensorflow" for name in imports(path)), f"{path} is not backend-agnostic"


def test_es_loads_neither_tensorflow_nor_matplotlib() -> None:
    code = ("import sys, wm_mpi.es, wm_mpi.collect, wm_mpi.evaluate\n"
            "print(sorted({'tensorflow', 'keras', 'matplotlib', 'mpi4py'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=True)
    assert done.stdout.strip() == "[]"
