"""What commands find around them: terminals without ±, umasks, names with blanks and worse, places that cannot be written.

In this process, with the toy: nothing here is about ranks or worlds.
"""

import ast
import dataclasses
import io
import json
import logging
import math
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ENVIRONMENT, ROOT

from wm_mpi import collect, es, evaluate, export, refit, report, watch
from wm_mpi.__main__ import RANKED
from wm_mpi.core import cli, config, files, progress, rundir
from wm_mpi.core.cli import parse, run_command
from wm_mpi.core.errors import UserError
from wm_mpi.core.launch import launch
from wm_mpi.core.options import PATHS, Command, flag
from wm_mpi.core.progress import Progress, speak
from wm_mpi.core.ranges import check
from wm_mpi.core.terminal import quoted, shown, spell_streams
from wm_mpi.evolution import judging

OPTIONS = [each for each in vars(config).values() if isinstance(each, type) and each.__name__.endswith("Config")]
STRANGE = os.fsdecode(b"caf\xe9 isn't \xff0 \\ text")


def options(kind: type[Command]) -> dict[str, tuple[Any, ...]]:
    """The types of a command's options."""
    hints = typing.get_type_hints(kind)
    return {field.name: (hints[field.name], *typing.get_args(hints[field.name])) for field in dataclasses.fields(kind)}


def train(out: Path, generations: int = 1) -> Path:
    """A run of the toy."""
    es.main(config.EsConfig(out=str(out), env="toy", popsize=4, episodes=1, generations=generations, eval_every=1,
                            eval_episodes=2))
    return out


def judge(run: Path, **options: Any) -> None:
    evaluate.main(config.EvaluateConfig(run=str(run), **({"episodes": 2} | options)))


def verdicts(run: Path) -> int:
    return len((run / "evaluations.jsonl").read_text().splitlines())


@pytest.fixture
def spoken() -> Iterator[None]:
    """The logger as a command sets it, and back."""
    before = progress.log.handlers[:], progress.log.level, progress.log.propagate
    speak(logging.INFO)
    yield
    progress.log.handlers[:], progress.log.propagate = before[0], before[2]
    progress.log.setLevel(before[1])


@pytest.fixture
def unwritable(tmp_path: Path) -> Path:
    """A place for a file where even root can make none."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "out"


# Terminals


@pytest.mark.parametrize("encoding,expected", [
    ("ascii", r"1.0 +- 2.0 -3 4 x 5... e ? \xe9"), ("iso-8859-1", r"1.0 ± 2.0 -3 4 × 5... é ? \xe9"),
    ("utf-8", r"1.0 ± 2.0 −3 4 × 5… é 日 \xe9")])
def test_what_a_stream_cannot_show_is_spelt(encoding: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    spell_streams()
    for stream in streams:
        print("1.0 ± 2.0 −3 4 × 5… é 日 \udce9", file=stream, end="", flush=True)
        assert stream.buffer.getvalue().decode(encoding) == expected  # type: ignore[attr-defined]


@pytest.mark.usefixtures("spoken")
@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1"])
def test_a_verdict_is_said_to_any_terminal(encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(tmp_path / "run")
    monkeypatch.setattr(cli, "_heed_signals", lambda: None)
    monkeypatch.setattr(config.EvaluateConfig, "one_thread", False)
    monkeypatch.setattr(sys, "argv", ["evaluate", "--run", str(run), "--episodes", "2"])
    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    with pytest.raises(SystemExit, match="^0$"):
        run_command("evaluate", config.EvaluateConfig)
    terminal.flush()
    said = terminal.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert (" +- " if encoding == "ascii" else " ± ") in said and verdicts(run) == 1


def test_a_verdict_is_kept_before_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, kept = train(tmp_path / "run"), []
    monkeypatch.setattr("builtins.print", lambda *_, **__: kept.append((run / "evaluations.jsonl").exists()))
    judge(run)
    assert kept and all(kept)


def test_files_are_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    """In a process that takes no other language than ASCII."""
    code = ("import sys; from pathlib import Path; from wm_mpi.core import files\n"
            "from wm_mpi.core.progress import Progress\n"
            "place = Path(sys.argv[1]); files.write_text(place / 'text', '\\u00b1\\u2212\\udce9')\n"
            "with Progress(place / 'log', 1) as bar: bar.line('\\u00b1', 10)\n"
            "print(ascii(files.read_text(place / 'text')))\n")
    bare = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code, tmp_path], env={**ENVIRONMENT, **bare}, cwd=ROOT, encoding="ascii",
                          capture_output=True, check=False)
    assert done.stdout == r"'\xb1\u2212\\xe9'" + "\n", done
    assert (tmp_path / "text").read_bytes() == "±−".encode() + rb"\xe9"
    assert (tmp_path / "log").read_bytes().endswith("  ±\n".encode())


def test_every_file_of_text_says_its_encoding() -> None:
    """Ruff sees open and Path(...).read_text, not the method of a path that came from elsewhere."""
    for source in (ROOT / "wm_mpi").rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("read_text", "write_text"):
                assert any(each.arg == "encoding" for each in node.keywords), f"{source}, line {node.lineno}"


# Umasks


@pytest.mark.parametrize("umask", [0o002, 0o027, 0o077], ids=oct)
def test_files_are_for_whom_the_umask_says(umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a run, replaced ones too, an evaluation, a report, an export and a film; in a directory of a group."""
    place = tmp_path / "group"
    place.mkdir()
    place.chmod(0o2777 & ~umask)
    monkeypatch.chdir(place)
    before = os.umask(umask)
    try:
        run = train(place / "run")
        train(run, 2)
        judge(run, json="verdict.json")
        report.main(config.ReportConfig(run=str(run), png="report.png"))
        export.main(config.ExportConfig(run="carracing", out="export"))
        export.main(config.ExportConfig(run="carracing", out="export"))
        with files.atomic_path(place / "a") as temporary:
            temporary.write_bytes(b"")
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in place.rglob("*")}
    assert len(modes) > 20 and {path.name for path in modes} > {"lock", "champion.h5", "log.txt", "report.html"}
    for path, mode in modes.items():
        assert mode == (0o2777 if path.is_dir() else 0o666) & ~umask, f"{path}: {mode:o}"


# Names


def test_a_home_directory_is_found_in_every_option_that_names_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    texts = {(kind, name) for kind in OPTIONS for name, types in options(kind).items() if str in types}
    for kind, name in texts:
        if name in PATHS:
            assert getattr(parse(kind, "x", [f"{flag(name)}=~/x y"]), name) == "/home/me/x y"
    assert {name for _, name in texts} - set(PATHS) == {"tracks", "host", "origin", "prefix", "env", "frame"}
    with pytest.raises(UserError, match="--out is ~nobody-here/x, but there is no such home directory"):
        parse(config.EsConfig, "es", ["--out=~nobody-here/x"])


@pytest.mark.parametrize("name", ["with a blank", "it's \"mine\"", "$HOME `ls` & ; *", STRANGE], ids=ascii)
def test_any_name_will_do_and_the_next_command_is_quoted(name: str, tmp_path: Path,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    spell_streams()
    run = train(tmp_path / name)
    following = capsys.readouterr().out.partition("next: python -m wm_mpi.evaluate --run ")[2]
    done = subprocess.run(["bash", "-c", f"printf %s {following}"], capture_output=True, check=True)
    assert done.stdout == os.fsencode(run)
    train(run, 2)
    judge(run, json=str(run / name / "verdict.json"))
    report.main(config.ReportConfig(run=str(run), png=str(run / f"{name}.png")))
    page = (run / "report.html").read_text()
    assert re.sub(r"[^\w ]", "", shown(name)) in re.sub(r"&#?\w+;|[^\w ]", "", page)
    judge(run, controller="both")
    export.main(config.ExportConfig(run="carracing", out=str(run / "shared" / name)))
    assert f"--run {quoted(name)}" in (run / "shared" / name / "README.md").read_text()


def test_data_of_any_name(tmp_path: Path) -> None:
    """An index names its shards, also those of another directory."""
    from wm_mpi.data.datasets import open_frames, write_index
    from wm_mpi.data.episodes import Episode, write_episode, write_shard
    place = tmp_path / STRANGE
    step = np.zeros((3, 3), np.float32)
    write_episode(place / "0.h5", Episode(0, 7, np.full((3, 64, 64, 3), 9, np.uint8), step, step[:, 0], step[:, 0] > 1))
    write_shard(place / "shard.h5", [place / "0.h5"])
    write_index(tmp_path, [place / "shard.h5"], {"policy": STRANGE})
    with open_frames(tmp_path) as data:
        assert (data.read("frames", 0, 3) == 9).all() and (data.read("rewards", 0, 3) == 0).all()
        assert data.about == {"policy": STRANGE}


def test_scripts_quote_the_commands_that_they_name() -> None:
    for script in ROOT.glob("jobs/**/*.*bash"):
        for line in script.read_text().splitlines():
            assert not re.match(r"\s*echo .*(python -m|tail|WORLD=|activate).*\$\{?(out|from|OUT|WM_VENV)\b", line), line


def test_a_machine_without_room_for_a_temporary_file(monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    assert launch(["-np", "2", "es"], RANKED) == 2
    assert capsys.readouterr().err.startswith("error: no temporary file can be made (No such file or directory): name a")


# Places


def never(*_: object, **__: object) -> None:
    raise AssertionError("it began to work")


def test_an_older_data_set_that_is_not_there_is_said_before_anything_is_played(tmp_path: Path) -> None:
    wanted = config.CollectConfig(out=str(tmp_path / "frames"), mix=str(tmp_path / "nowhere"), episodes=1)
    with pytest.raises(UserError, match="nowhere/frames.h5 does not exist"):
        collect.begin(wanted, None, "road")
    assert not (tmp_path / "frames").exists()


@pytest.mark.usefixtures("spoken")
def test_a_run_that_takes_no_verdict(tmp_path: Path, unwritable: Path, monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused before it is played, unless --json gives the verdict another place."""
    run = train(tmp_path / "run")
    (run / "evaluations.jsonl").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(judging, "score", never)
        with pytest.raises(UserError, match="evaluations.jsonl cannot be written: .*: give --json FILE"):
            judge(run)
        with pytest.raises(UserError, match="file/out cannot be written: "):
            judge(run, json=str(unwritable))
    capsys.readouterr()
    judge(run, json=str(tmp_path / "new" / "verdict.json"))
    said = capsys.readouterr()
    assert "over 2 test tracks" in said.out and "verdict.json alone" in said.err
    assert json.loads((tmp_path / "new" / "verdict.json").read_text())["tracks"]


def test_a_disk_that_is_full_in_the_end_costs_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    def full(path: Path, *_: object) -> None:
        raise UserError(f"{path} could not be written, the disk is full")

    run = train(tmp_path / "run")
    monkeypatch.setattr(evaluate, "append_jsonl", full)
    with pytest.raises(UserError, match="the disk is full"):
        judge(run)
    assert "over 2 test tracks" in capsys.readouterr().out
    judge(run, json=str(tmp_path / "verdict.json"))


def test_compared_runs_are_told_apart_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by their arrays, of which nobody can say whether they are equal."""
    runs = [train(tmp_path / "run"), Path(shutil.copytree(tmp_path / "run", tmp_path / "copy"))]
    monkeypatch.setattr(rundir.RunDir, "__eq__", lambda *_: True)
    judge(runs[0], compare=str(runs[1]), controller="both")
    assert [*map(verdicts, runs)] == [2, 2]


@pytest.mark.parametrize("refused", [
    lambda run, out: report.main(config.ReportConfig(run=str(run), out=str(out))),
    lambda run, out: report.main(config.ReportConfig(run=str(run), png=str(out))),
    lambda run, out: refit.main(config.RefitConfig(run="carracing", world="carracing", out=str(out))),
    lambda run, out: export.main(config.ExportConfig(run="carracing", out=str(out))),
    lambda run, out: watch.main(config.WatchConfig(run="carracing", video=f"{out}.mp4")),
    lambda run, out: watch.main(config.WatchConfig(run="carracing", sheet=f"{out}.png")),
], ids=["report", "report --png", "refit", "export", "watch --video", "watch --sheet"])
def test_a_place_that_cannot_be_written_is_said_first(refused: Callable[[Path, Path], None], tmp_path: Path,
                                                      unwritable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(tmp_path / "run")
    for module, work in ((report, "make_footage"), (refit, "Features"), (export, "write_export"), (watch, "open_session")):
        monkeypatch.setattr(module, work, never)
    with pytest.raises(UserError, match=r"file/out(\.mp4|\.png)? cannot be written: Not a directory"):
        refused(run, unwritable)


def test_a_directory_in_the_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written: it is a directory"), files.atomic_path(tmp_path):
        never()


def test_notes_that_are_not_there_or_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "write_export", never)
    (tmp_path / "picture").write_bytes(b"\xff\xd8")
    for name, why in (("nothing.md", "cannot be read: No such file"), ("picture", "is not text in UTF-8")):
        with pytest.raises(UserError, match=f"{name} {why}"):
            export.main(config.ExportConfig(run="carracing", out=str(tmp_path / "out"), notes=str(tmp_path / name)))


# Numbers


@pytest.mark.parametrize("kind", OPTIONS, ids=lambda kind: kind.__name__)
def test_every_number_is_finite_and_every_seed_below_2_to_the_32(kind: type[Command]) -> None:
    numbers = [name for name, types in options(kind).items() if {int, float} & set(types)]
    for name in numbers:
        with pytest.raises(UserError, match=f"{flag(name)}\\b.*nan") as refused:
            parse(kind, "x", [f"{flag(name)}=nan"])
        assert "\n" not in str(refused.value)
        for value in (math.inf, -math.inf):
            with pytest.raises(UserError, match=f"{flag(name)} is -?inf, but must be "):
                check(kind(**{name: value}))  # type: ignore[arg-type]
    if "seed" in numbers:
        assert parse(kind, "x", [f"--seed={2**32 - 1}"])
        with pytest.raises(UserError, match="--seed is 4294967296, but must be at most 4294967295"):
            parse(kind, "x", [f"--seed={2**32}"])


@pytest.mark.parametrize("tracks", ["nan:5", "0:inf", "0:²", f"0:{2**33}", "-1:2", "1:2:3"])
def test_tracks_are_seeds_too(tracks: str) -> None:
    with pytest.raises(UserError, match=f"--tracks {tracks} is not a range A:B"):
        evaluate.judged_tracks(1, tracks, 0)


def test_the_log_of_a_bar_takes_any_text(tmp_path: Path) -> None:
    with Progress(tmp_path / "log", 1) as bar:
        bar.line(STRANGE, logging.DEBUG)
    assert rb"caf\xe9 isn't" in (tmp_path / "log").read_bytes()
