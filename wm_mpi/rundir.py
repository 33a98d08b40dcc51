"""The files of a run: one class names them all, and every write is whole or absent."""

import contextlib
import difflib
import errno
import fcntl
import json
import os
import platform
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from wm_mpi import __version__
from wm_mpi.errors import UserError, is_disk_full
from wm_mpi.schema import Value, checked
from wm_mpi.terminal import SPELT

PACKAGES = ("numpy", "gymnasium", "box2d", "cma", "onnxruntime", "h5py", "mpi4py", "keras", "tensorflow")

TORN = ".wm_mpi-*.tmp"
"""What a kill -9 leaves of a write that ``atomic_path`` had begun."""
KINDS = {"checkpoint": "it is a run of es", "manifest.json": "it is a world of freeze",
         "shards": "it holds frames of collect", "latents.h5": "it holds latents of encode",
         "weights.h5": "it holds a model of train_vae or train_rnn",
         "es": "it holds a whole pipeline, of which es/ is the run and world/ the world"}
"""What a directory is, by what is in it."""
PRETRAINED = Path(__file__).parent / "pretrained"
"""Champions with their worlds that are part of the package, a directory each."""
LOCK_PATIENCE = 5.0
"""How long a start waits for the lock of a command that is just ending (seconds)."""


@contextlib.contextmanager
def explained(path: Path, doing: str) -> Iterator[None]:
    """Turn what the file system refuses inside the block into a sentence about ``path``; ``doing`` is "read" or "written".

    Raises:
        UserError: instead of any OSError.
    """
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise UserError(f"{path} could not be written, the disk is full: free some space and run the same "
                            "command again; everything finished so far is kept") from error
        raise UserError(f"{path} cannot be {doing}: {error.strerror or error}") from error


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; on success fsync it and rename it into place, else remove it.

    Raises:
        UserError: the disk is full, or the place cannot be written; what stood at ``path`` before is untouched.
    """
    with explained(path, "written"):
        temporary = _new_file_beside(path)
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _fsync_directory(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def check_writable(path: Path) -> None:
    """Find out at the start whether ``atomic_path`` will be able to write there; leaves nothing behind.

    Raises:
        UserError: it will not.
    """
    made = [each for each in (path.parent, *path.parent.parents) if not each.exists()]
    with explained(path, "written"):
        _new_file_beside(path).unlink()
        for directory in made:
            directory.rmdir()


def check_appendable(path: Path) -> None:
    """Find out at the start whether ``append_jsonl`` will be able to write there.

    Raises:
        UserError: it will not.
    """
    if not path.exists():
        check_writable(path)
    else:
        with explained(path, "written"), open(path, "ab"):
            pass


def make_parent(path: Path) -> None:
    """The directory in which a file will be. Where a file is in its place, whoever writes finds "Not a directory"."""
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir(parents=True, exist_ok=True)


def _new_file_beside(path: Path) -> Path:
    """An empty file in the same directory, for ``path`` to be made of: with the permissions that the user's umask, or the
    directory's default ACL, gives every new file.
    """
    make_parent(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a directory")
    temporary = path.with_name(TORN.replace("*", secrets.token_hex(8)))
    temporary.touch(exist_ok=False)
    return temporary


@contextlib.contextmanager
def replaced_together(directory: Path, last: str) -> Iterator[Path]:
    """A place for new files that belong together; in the end they replace those of ``directory``, ``last`` after the others.

    Whatever fails inside the block leaves the directory as it was. A kill between the renames leaves it without ``last``.

    Raises:
        UserError: see ``explained``.
    """
    with explained(directory, "written"):
        directory.mkdir(parents=True, exist_ok=True)
        for torn in directory.glob(TORN):
            shutil.rmtree(torn, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=TORN.split("*")[0], suffix=".tmp", dir=directory) as temporary:
            place = Path(temporary)
            yield place
            names = sorted((path.name for path in place.iterdir()), key=lambda name: (name == last, name))
            for name in names:
                with open(place / name, "rb+") as file:
                    os.fsync(file.fileno())
            (directory / last).unlink(missing_ok=True)
            for name in names:
                os.replace(place / name, directory / name)
            _fsync_directory(directory)


def _fsync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems do not allow it on directories
        pass
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=SPELT)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        UserError: it cannot be read, or is no text.
    """
    try:
        with explained(path, "read"):
            return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8 ({error.reason} at byte {error.start})") from None


def read_json(path: Path, schema: type[Value], what: str) -> Value:
    """Read a JSON file that must hold what ``schema`` asks for; ``what`` says in an error what the file was meant to be.

    Raises:
        UserError: missing, unreadable, damaged, or something else.
    """
    try:
        with explained(path, "read"):
            value = json.loads(path.read_text(encoding="utf-8")) if path.exists() else _missing(path, what)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): {what}") from None
    return checked(value, schema, str(path), what)


def _missing(path: Path, what: str) -> Any:
    raise UserError(f"{path} does not exist: {what}")


def append_jsonl(path: Path, row: dict[str, Any], durable: bool = True) -> None:
    """Append one object as a line; ``durable`` also waits for the disk (a crash of the process alone never needs that).

    Raises:
        UserError: the disk is full, or the file cannot be written.
    """
    data = json.dumps(row, allow_nan=False).encode() + b"\n"
    with explained(path, "written"), open(path, "ab") as file:
        file.write(data)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def iterate_jsonl(path: Path, schema: type[Value]) -> Iterator[Value]:
    """The whole lines of a JSONL file, one at a time; a last line torn by a crash is cut off, a missing file is empty.

    Raises:
        UserError: unreadable, damaged, or lines of something else than ``schema`` asks for.
    """
    if not path.exists():
        return
    with explained(path, "read"), open(path, "rb+") as file:
        whole = 0
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                file.truncate(whole)
                return
            whole += len(line)
            yield _parsed(line, schema, f"{path} line {number}")


def _parsed(line: bytes, schema: type[Value], where: str) -> Value:
    fix = "remove that line to go on"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is damaged ({error}): {fix}") from None
    return checked(value, schema, where, fix)


def read_jsonl(path: Path, schema: type[Value]) -> list[Value]:
    """All whole lines of a JSONL file, see ``iterate_jsonl``."""
    return list(iterate_jsonl(path, schema))


def whole_lines(path: Path, schema: type[Value]) -> Iterator[Value]:
    """The whole lines of a JSONL file. Unlike ``iterate_jsonl`` it leaves a torn last line: it may be in the making.

    Raises:
        UserError: see ``iterate_jsonl``.
    """
    if not path.exists():
        return
    with explained(path, "read"):
        data = path.read_bytes()
    for number, line in enumerate(data[:data.rfind(b"\n") + 1].splitlines(), start=1):
        yield _parsed(line, schema, f"{path} line {number}")


def environment() -> dict[str, Any]:
    """Versions, host and processor, for the record of what produced a result."""
    versions: dict[str, str] = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {"wm_mpi": __version__, "python": platform.python_version(), "packages": versions,
            "host": socket.gethostname(), "platform": platform.platform(), "cpu": cpu_model(),
            "cpus": os.cpu_count(), "command": sys.argv}


def cpu_model() -> str:
    """The processor, in its maker's words."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def lock_directory(path: Path) -> None:
    """Keep every other process from writing results to ``path``, as long as this process lives, however it ends.

    A POSIX record lock on the file ``lock``: it holds across hosts on NFS, and dies with its holder.

    Raises:
        UserError: another process holds it.
    """
    lock, patience = path / "lock", time.monotonic() + LOCK_PATIENCE
    with explained(lock, "written"):
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)  # never closed: closing would give the lock up
    while True:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                print(f"{path} is on a file system without locks ({error.strerror}): take care that no second command "
                      "writes to it", file=sys.stderr)
                return
            if time.monotonic() > patience:
                holder = lock.read_text(encoding="utf-8", errors="replace").strip() or "another process"
                raise UserError(f"{path} is in use by {holder}: wait until that has ended, or give another --out") from None
            time.sleep(0.1)
    os.ftruncate(handle, 0)
    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def begin_directory(path: Path, config: dict[str, Any], changeable: frozenset[str]) -> None:
    """Create and lock an output directory with ``config.json`` and ``environment.json``, or check that it is this one's.

    Args:
        path: the directory.
        config: the configuration as JSON values.
        changeable: fields that a later start may change (how long to run, say).

    Raises:
        UserError: the directory holds results of another configuration, is in use, or cannot be written.
    """
    recorded = path / "config.json"
    with explained(path, "written"):
        path.mkdir(parents=True, exist_ok=True)
    lock_directory(path)
    if recorded.exists():
        _same(recorded, read_json(recorded, dict[str, Any], "delete the directory or restore the file"), config, changeable)
        for torn in path.rglob(TORN):
            torn.unlink(missing_ok=True)
    write_json(recorded, config)
    write_json(path / "environment.json", environment())


def kind_of(path: Path) -> str:
    """What a directory is, in words for whoever gave it where another was wanted."""
    if not path.exists():
        return f"it does not exist{_alike(path)}"
    return next((what for name, what in KINDS.items() if (path / name).exists()), "it is something else")


def _alike(path: Path) -> str:
    """A name that may have been meant: of a champion that comes with the package, or of a neighbour."""
    beside = [each.name for each in path.parent.iterdir() if each.is_dir()] if path.parent.is_dir() else []
    names = difflib.get_close_matches(path.name, [*shipped(), *beside], n=1)
    if not names:
        return ""
    ships = names[0] in shipped() and names[0] not in beside
    return f" (did you mean {names[0]}, which comes with the package?)" if ships else (
        f" (did you mean {path.parent / names[0]}?)")


def found(name: str) -> str:
    """The directory of that name, or, where there is none, what comes with the package under it.

    A run records the name; older runs recorded where the package was installed when they began.
    """
    ships = name if Path(name).parent.name != PRETRAINED.name else Path(name).name
    return str(PRETRAINED / ships) if not os.path.exists(name) and ships in shipped() else name


def called(name: str) -> str:
    """The opposite of ``found``: the name of what comes with the package, any other directory as it is."""
    return Path(name).name if Path(name).parent == PRETRAINED else name


def describe_place(directory: str) -> str:
    """A directory in words: by its name, if it comes with the package."""
    name = called(directory)
    return name if name == directory else f"{name}, which comes with the package"


def shipped() -> list[str]:
    """Names of what comes with the package."""
    return sorted(path.parent.name for path in PRETRAINED.glob("*/champion.h5"))


def beside(run: str | Path, name: str) -> Path:
    """Where a file about a run goes unless told otherwise: into its directory; of a shipped one, into the current one."""
    path = Path(run).resolve()
    return Path(f"{path.name}-{name}") if path.parent == PRETRAINED.resolve() else Path(run) / name


class RunDir:
    """Names of everything that an ``es`` run writes; nothing else builds such a path."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.environment = self.path / "environment.json"
        self.metrics = self.path / "metrics.jsonl"
        self.episodes = self.path / "episodes.jsonl"
        self.checkpoints = self.path / "checkpoint"
        self.champion = self.path / "champion.h5"
        self.evaluations = self.path / "evaluations.jsonl"
        self.log = self.path / "log.txt"
        self.report = self.path / "report.html"

    def begin(self, config: dict[str, Any], changeable: frozenset[str]) -> None:
        """``begin_directory`` for a run."""
        begin_directory(self.path, config, changeable)
        self.checkpoints.mkdir(exist_ok=True)

    def save_checkpoint(self, generation: int, data: bytes, keep: int = 2) -> None:
        """Write ``checkpoint/NNNNNN.ckpt`` atomically and remove all but the newest ``keep``."""
        with atomic_path(self.checkpoints / f"{generation:06d}.ckpt") as temporary:
            temporary.write_bytes(data)
        for old in self.checkpoint_files()[:-keep]:
            old.unlink(missing_ok=True)

    def checkpoint_files(self) -> list[Path]:
        """Checkpoints on disk, oldest first."""
        return sorted(self.checkpoints.glob("*.ckpt"))


def _same(path: Path, old: dict[str, Any], new: dict[str, Any], changeable: frozenset[str]) -> None:
    different = [f"{name}: {old.get(name)!r} there, {new.get(name)!r} now"
                 for name in sorted(old.keys() | new.keys())
                 if name not in changeable and old.get(name) != new.get(name)]
    if different:
        raise UserError(f"{path.parent} holds results of another configuration ({'; '.join(different)}): "
                        "give another --out, or the same flags to go on with it")
