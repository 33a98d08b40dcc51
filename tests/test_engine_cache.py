"""Where the compiled engine is kept: read-only caches, and users with no home and nothing to write to."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import ENVIRONMENT, ROOT
from numba.core import event
from skips import NO_ROOT

from wm_mpi.envs.fast import CarRacingVector, cache

FRAMES = ROOT / "tests" / "docker" / "frames.py"
SOURCE = "from numba import njit\n\n@njit(cache=True)\ndef double(x):\n    return x + x\n"


@contextlib.contextmanager
def counted() -> Iterator[list[str]]:
    """Names of what Numba compiles meanwhile."""
    names: list[str] = []
    with event.install_recorder("numba:compile") as compiled:
        yield names
    names += [each.data["dispatcher"].py_func.__name__ for _, each in compiled.buffer if each.is_start]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Import a module with a compiled function, cached in a directory, as another process would."""
    source = tmp_path / "doubling.py"
    source.write_text(SOURCE)

    def load(directory: Path, writable: bool) -> ModuleType:
        monkeypatch.setattr(cache, "DIRECTORY", directory)
        monkeypatch.setattr(cache, "_WRITABLE", writable)
        spec = importlib.util.spec_from_file_location("doubling", source)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        with cache.used():
            spec.loader.exec_module(module)
        return module

    return load


def listing(directory: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime for path in directory.rglob("*")}


def test_a_read_only_cache_is_read_and_not_written(tmp_path: Path, load: Callable[..., ModuleType]) -> None:
    load(tmp_path / "warm", True).double(1)
    before = listing(tmp_path / "warm")
    assert before
    again = load(tmp_path / "warm", False)
    with counted() as compiled:
        assert again.double(4) == 8
    assert compiled == []
    with counted() as compiled:
        assert again.double(1.5) == 3.0, "of another type: compiled, and not kept"
    assert compiled == ["double"] and listing(tmp_path / "warm") == before


def test_nowhere_is_a_cache_too(load: Callable[..., ModuleType]) -> None:
    assert load(cache._NOWHERE, False).double(4) == 8


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The first and the second place for caches; both are there and empty."""
    own, temporary = tmp_path / "own", tmp_path / "temporary"
    own.mkdir()
    temporary.mkdir()
    monkeypatch.setenv("WM_MPI_CACHE", str(own))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(temporary))
    return own, temporary


def readable_only(monkeypatch: pytest.MonkeyPatch, *places: Path) -> None:
    """For whoever runs the tests, root too, nothing below these places can be written."""
    def below(path: Any) -> bool:
        return any(Path(path).is_relative_to(place) for place in places)

    def access(path: Any, mode: int, real: Callable[..., bool] = os.access) -> bool:
        return not (mode & os.W_OK and below(path)) and real(path, mode)

    def mkdir(self: Path, *arguments: Any, real: Callable[..., None] = Path.mkdir, **options: Any) -> None:
        if below(self):
            raise OSError(30, "Read-only file system", str(self))
        real(self, *arguments, **options)

    monkeypatch.setattr(os, "access", access)
    monkeypatch.setattr(Path, "mkdir", mkdir)


def test_the_first_place_that_serves_is_taken(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch,
                                              caplog: pytest.LogCaptureFixture) -> None:
    own, temporary = places
    directory, writable = cache._directory()
    assert directory.parent == own / "wm_mpi" and writable
    (directory / "compiled").touch()
    readable_only(monkeypatch, own)
    assert cache._directory() == (directory, False), "complete, so it need not be written"
    (directory / "compiled").unlink()
    second, writable = cache._directory()
    assert second.parent == temporary / f"wm_mpi-{os.getuid()}" and writable
    monkeypatch.setattr(os, "getuid", lambda uid=os.getuid(): uid + 1)  # noqa: B008
    second.parent.rename(temporary / f"wm_mpi-{os.getuid()}")
    assert not caplog.records and cache._directory() == (cache._NOWHERE, False), "what another user left there is not run"
    assert "set WM_MPI_CACHE to one that can be written" in caplog.text


def test_no_home_and_no_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    for name in ("WM_MPI_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_294_967_000)  # no line in /etc/passwd
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    directory, writable = cache._directory()
    assert directory.is_relative_to(tmp_path) and writable
    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert cache._directory() == (cache._NOWHERE, False)


def test_a_cache_on_a_read_only_file_system(tmp_path: Path) -> None:
    """As in ``docker run --read-only`` or Apptainer: nothing can be written anywhere."""
    CarRacingVector(1)  # so that this machine's cache is complete
    shutil.copytree(cache.DIRECTORY, tmp_path / "wm_mpi" / cache.DIRECTORY.name)
    code = f"import runpy\nrunpy.run_path({str(FRAMES)!r})\nopen('written', 'w')"
    locked = "for at in /tmp /var/tmp .; do mount --bind $at $at && mount -o remount,bind,ro $at || exit 77; done; cd $PWD"
    done = subprocess.run(["unshare", "--mount", "bash", "-c", f'{locked} && exec "$@"', "-", sys.executable, "-c", code],
                          capture_output=True, text=True, check=False, cwd=tmp_path,
                          env={**ENVIRONMENT, "WM_MPI_CACHE": str(tmp_path), "HOME": "/nowhere"})
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(NO_ROOT)
    assert "nothing compiled" in done.stdout, done.stderr
    assert "Read-only file system: 'written'" in done.stderr, "the file system could be written, so nothing is shown"


def test_all_that_is_compiled_is_in_a_full_cache() -> None:
    """Every size, kind of action and picture, at any width, once the first environment of a machine has been made."""
    CarRacingVector(1)
    code = ("import numpy as np\nfrom numba.core import event\n"
            "with event.install_recorder('numba:compile') as compiled:\n"
            "    from wm_mpi.envs.fast import CarRacing, CarRacingVector\n"
            "    for mode in ('rgb_array', 'state_pixels'):\n"
            "        for cars in (CarRacingVector(17, mode), CarRacingVector(2, mode, observation_size=64)):\n"
            "            cars.reset(seed=1)\n            cars.step(np.zeros((cars.num_envs, 3), np.float32))\n"
            "            cars.render()\n"
            "    env = CarRacing(continuous=False, domain_randomize=True)\n"
            "    env.reset()\n    env.step(1)\n    env.step(None)\n"
            "print(sorted({each.data['dispatcher'].py_func.__name__ for _, each in compiled.buffer}))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.stdout == "[]\n", done.stdout + done.stderr
