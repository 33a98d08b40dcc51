"""Files read with a sentence on what is wrong, and written whole or not at all."""

import contextlib
import errno
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wm_mpi.core.errors import UserError, is_disk_full
from wm_mpi.core.schema import Value, checked
from wm_mpi.core.terminal import SPELT

TORN = ".wm_mpi-*.tmp"
"""What a kill -9 leaves of a write that ``atomic_path`` had begun."""


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


@contextlib.contextmanager
def replaced_directory(directory: Path) -> Iterator[Path]:
    """A new directory beside ``directory``, which takes its place in the end; whatever fails leaves that as it was.

    Raises:
        UserError: see ``explained``.
    """
    with explained(directory, "written"):
        make_parent(directory)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=TORN.split("*")[0], suffix=".tmp") as temporary:
            place = Path(temporary) / directory.name
            place.mkdir()
            yield place
            if directory.exists():
                os.rename(directory, Path(temporary) / "before")
            os.rename(place, directory)


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
