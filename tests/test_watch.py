"""watch: films, sheets and a real window of a tiny champion, through the shell as a user types it."""

import ctypes
import ctypes.util
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import ENVIRONMENT, command, refuse, succeed
from PIL import Image, ImageGrab
from skips import NO_XVFB

from wm_mpi.core.seeding import track_seed
from wm_mpi.envs import game_of
from wm_mpi.evolution.champion import judged_track, judged_tracks
from wm_mpi.viewer.drawing import PITCH, ROAD, SIZE, VIEW, Board
from wm_mpi.viewer.dreams import DreamDrive
from wm_mpi.viewer.drive import VIEWS, Drive
from wm_mpi.viewer.episode import Show, Sight
from wm_mpi.viewer.films import Film
from wm_mpi.viewer.sheet import CELL, GAP, LEFT, MOMENTS, Moments
from wm_mpi.watch import REST_SECONDS

FRAMES = 40
FRAMES_PER_SECOND = game_of("fast").look.fps
REST_FRAMES = REST_SECONDS * FRAMES_PER_SECOND
CAR = Show.of(game_of("fast"), 1.5, VIEWS)


@pytest.fixture(scope="module")
def folder(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A champion in es/ with its world/, and the toy's in toy/. Do not write into it."""
    folder = tmp_path_factory.mktemp("watched")
    shutil.copytree(pipeline / "world", folder / "world")
    succeed("es", "--preset", "smoke", "--world", folder / "world", "--out", folder / "es")
    succeed("es", "--preset", "smoke", "--env", "toy", "--out", folder / "toy")
    return folder


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may damage."""
    shutil.copytree(folder / "es", tmp_path / "es")
    return tmp_path / "es"


def pictures(path: Path) -> tuple[np.ndarray, list[float]]:
    """A film's pictures uint8 [frames, height, width, 3] and their times (seconds)."""
    with av.open(str(path)) as file:
        decoded = list(file.decode(video=0))
    return np.stack([each.to_ndarray(format="rgb24") for each in decoded]), [float(each.time or 0) for each in decoded]


def part(films: np.ndarray, left: int, top: int, width: int, height: int) -> np.ndarray:
    return films[:, top:top + height, left:left + width].astype(int)


def test_a_film_shows_the_drive_that_evaluate_judges(folder: Path, run: Path, tmp_path: Path) -> None:
    """No flags: both files into the run. The road moves, the sheet has its moments, the return is evaluate's."""
    said = succeed("watch", "--run", run, "--max-frames", FRAMES)
    succeed("evaluate", "--run", run, "--episodes", 1, "--max-frames", FRAMES, "--json", tmp_path / "judged.json")
    judged = json.loads((tmp_path / "judged.json").read_text())
    assert f"track {judged['tracks'][0]}: {judged['returns'][0]:.1f} points in {FRAMES} frames" in said
    film, times = pictures(run / "watch.mp4")
    assert film.shape == (1 + FRAMES - 1 + REST_FRAMES, SIZE[1], SIZE[0], 3)
    np.testing.assert_allclose(times, np.arange(len(film)) / FRAMES_PER_SECOND, atol=1e-6)
    road = part(film, *ROAD)
    assert min(np.abs(road[step + 5] - road[step]).mean() for step in range(0, FRAMES - 5, 5)) > 1
    seen = part(film, ROAD[0] + ROAD[2] + 24, ROAD[1] + 24, VIEW, VIEW)
    assert np.abs(seen[FRAMES - 1] - seen[0]).mean() > 10
    assert np.abs(film[-1].astype(int) - film[-REST_FRAMES]).mean() < 1, "it stands still at the end"
    with Image.open(run / "watch.png") as sheet:
        assert sheet.format == "PNG" and sheet.width == LEFT + MOMENTS * (CELL + GAP) - GAP + 24
        cells = np.asarray(sheet.convert("RGB"))[120:120 + CELL // 2, LEFT:].astype(int)
    columns = [cells[:, number * (CELL + GAP):][:, :CELL] for number in range(MOMENTS)]
    assert min(np.abs(one - other).mean() for one, other in zip(columns, columns[1:], strict=False)) > 1
    assert not list(run.glob(".wm_mpi-*"))


def test_tracks_and_dreams(folder: Path, tmp_path: Path) -> None:
    """Several tracks in one film; the dream's road is what the policy sees, and a temperature changes it."""
    arguments = ("watch", "--run", folder / "es", "--tracks", "5:7", "--max-frames", 10)
    succeed(*arguments, "--video", tmp_path / "new/two.mp4", "--sheet", tmp_path / "two.png")
    film, _ = pictures(tmp_path / "new/two.mp4")
    assert len(film) == 2 * (10 + REST_FRAMES)
    roads = part(film, *ROAD)
    assert np.abs(roads[10 + REST_FRAMES] - roads[0]).mean() > 3, "another track begins"
    with Image.open(tmp_path / "two.png") as sheet:
        assert sheet.height > 1000
    for temperature in ("0.1", "1.3"):
        said = succeed(*arguments, "--dream", "--temperature", temperature, "--sheet", tmp_path / f"{temperature}.png")
        assert said.count(" points in ") == 2 and not (tmp_path / "watch.mp4").exists()
    dreams = [(tmp_path / f"{temperature}.png").read_bytes() for temperature in ("0.1", "1.3")]
    assert dreams[0] != dreams[1] and not (folder / "es/watch.mp4").exists()


def test_a_visitor_steers_and_m_remembers_what_was_done(folder: Path) -> None:
    """M's memory follows the action taken; left alone, the controller drives as if it had taken the same actions."""
    parameters = np.random.default_rng(3).normal(0, 0.3, 867)
    cars = [Drive(str(folder / "world"), parameters, True, 30) for _ in range(3)]
    sights = [car.reset(track_seed(0, 4)) for car in cars]
    for _ in range(6):
        chosen = cars[0].step()
        copied, other = cars[1].step(chosen.action), cars[2].step((-1.0, 1.0, 0.0))
    assert other.action == (-1.0, 1.0, 0.0) and (other.road != chosen.road).any()
    np.testing.assert_array_equal(copied.road, chosen.road)
    np.testing.assert_allclose(cars[1]._policy.memory[0][0], cars[0]._policy.memory[0][0], atol=1e-5)
    assert np.abs(cars[2]._policy.memory[0][0] - cars[0]._policy.memory[0][0]).max() > 1e-3
    assert cars[0].step((9.0, 9.0, -9.0)).action == (1.0, 1.0, 0.0)
    assert sights[0].action == (0, 0, 0) and sights[0].frame == 0
    with pytest.raises(ValueError, match="begins with reset"):
        Drive(str(folder / "world"), parameters).step()


def test_predictions_are_of_this_frame_from_before(folder: Path) -> None:
    """What M expected is the decoded mean of its likeliest components after the last latents, state and action."""
    car = Drive(str(folder / "world"), np.random.default_rng(5).normal(0, 0.3, 867), False, 30)
    car.reset(track_seed(0, 8))
    h, c = np.zeros((2, 1, 256), np.float32)
    for _ in range(5):
        z = car._z
        sight = car.step()
        forecast = car._insight.expect(z, np.array([sight.action]), h, c)
        h, c = forecast.h, forecast.c
        np.testing.assert_array_equal(sight.predicted, car._insight.decode(forecast.likeliest())[0])
        np.testing.assert_array_equal(sight.reconstructed, car._insight.decode(car._z)[0])


def test_moments_are_spread_evenly_whatever_the_length() -> None:
    blank = np.zeros((6, 9, 3), np.uint8)
    for length in (0, 3, 100, 1000, 1777):
        moments = Moments("", CAR)
        for frame in range(length + 1):
            moments.add(Sight(blank, blank, blank, blank, (0, 0, 0), 0, 0, frame, frame == length, False))
            assert len(moments.chosen) <= 8 * MOMENTS + 1
        frames = [sight.frame for sight in moments.chosen]
        assert frames[0] == 0 and frames[-1] == length and len(frames) == min(MOMENTS, length + 1)
        if length > MOMENTS:
            assert np.abs(np.diff(frames) - length / (MOMENTS - 1)).max() < 0.02 * length + 1


def test_colours_are_kept(tmp_path: Path) -> None:
    with Film(tmp_path / "colours.mp4", (64, 64)) as film:
        film.add(np.full((64, 64, 3), (100, 202, 100), np.uint8), times=3)
        film.add(np.full((64, 64, 3), (200, 20, 40), np.uint8))
    shown, times = pictures(tmp_path / "colours.mp4")
    assert np.abs(shown[2].astype(int) - (100, 202, 100)).max() <= 3
    assert np.abs(shown[3].astype(int) - (200, 20, 40)).max() <= 3
    np.testing.assert_allclose(times, [0, 0.02, 0.04, 0.06])


@pytest.mark.parametrize("struck", [signal.SIGTERM, signal.SIGKILL])
def test_killed_in_the_middle_there_is_no_half_file(struck: signal.Signals, folder: Path, tmp_path: Path) -> None:
    video, sheet = tmp_path / "film.mp4", tmp_path / "sheet.png"
    video.write_bytes(b"the one of before")
    with subprocess.Popen(command("watch", "--run", folder / "es", "--video", video, "--sheet", sheet), env=ENVIRONMENT,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        until(lambda: any(each.stat().st_size for each in tmp_path.glob(".wm_mpi-*.tmp")))
        process.send_signal(struck)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == (75 if struck is signal.SIGTERM else -9), said
    assert video.read_bytes() == b"the one of before" and not sheet.exists()
    assert struck is signal.SIGKILL or not list(tmp_path.glob(".wm_mpi-*.tmp"))


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)


def test_mistakes_are_said_in_a_sentence(folder: Path, pipeline: Path, run: Path, tmp_path: Path) -> None:
    flags = {
        "--env toy draws no pictures": ("--run", folder / "toy"),
        "run, it is a world of freeze: give --run the --out of es": ("--run", folder / "world"),
        "run, it holds frames of collect: give --run": ("--run", pipeline / "frames"),
        "gone is not the directory of an es run, it does not exist": ("--run", tmp_path / "gone"),
        "is not a world, it is a run of es: give --world": ("--run", run, "--world", run),
        "--video is film.avi, but writes mp4 only": ("--run", run, "--video", "film.avi"),
        "--sheet is sheet.jpg, but writes png only": ("--run", run, "--sheet", "sheet.jpg"),
        "/proc/film.mp4 cannot be written": ("--run", run, "--video", "/proc/film.mp4", "--max-frames", 5),
        "/proc/sheet.png cannot be written": ("--run", run, "--sheet", "/proc/sheet.png", "--max-frames", 5),
        "--temperature is 0.0, but must be above 0": ("--run", run, "--dream", "--temperature", 0),
        "--tracks 7:5 is not a range": ("--run", run, "--tracks", "7:5"),
        "--window needs a display, but $DISPLAY is not set": ("--run", run, "--window")}
    for sentence, arguments in flags.items():
        assert sentence in refuse("watch", *arguments)


def test_runs_that_cannot_drive_yet_or_any_more(folder: Path, run: Path, tmp_path: Path) -> None:
    world, config = tmp_path / "world", run / "config.json"
    shutil.copytree(folder / "world", world)
    config.write_text(json.dumps({**json.loads(config.read_text()), "world": str(world), "generations": 9}))
    said = succeed("watch", "--run", run, "--max-frames", 2)
    assert "is not finished (2 of 9 generations): this is its champion so far, of generation 2" in said
    (world / "rnn.h5").write_bytes(b"nothing")
    assert "rnn.h5 is damaged, its SHA-256 is not the manifest's" in refuse("watch", "--run", run)
    shutil.rmtree(world)
    assert f"{world}, the world of {run}, is not there any more: say with --world" in refuse("watch", "--run", run)
    succeed("watch", "--run", run, "--world", folder / "world", "--max-frames", 2)
    (run / "champion.h5").unlink()
    assert "has no champion yet: let es finish a generation first" in refuse("watch", "--run", run)


@pytest.mark.parametrize("module,flags", [
    ("av", ("watch", "--max-frames", 2, "--video", "never.mp4")), ("pygame", ("watch", "--window")),
    ("websockets", ("watch", "--serve", 0)), ("matplotlib", ("report", "--films", 0, "--png", "never.png"))])
def test_a_package_that_is_not_there_is_named(module: str, flags: tuple[object, ...], run: Path, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError('not here', name={module!r})")
    env = {"PYTHONPATH": f"{tmp_path}:{ENVIRONMENT['PYTHONPATH']}"}
    assert f"needs the package {module}, which is not installed: pip install" in refuse(*flags, "--run", run, env=env)


def test_judged_tracks() -> None:
    assert [seed.track for seed in judged_tracks(9, "3:6", 0)] == [3, 4, 5] and len(judged_tracks(4, None, 0)) == 4
    assert judged_track(3, "3:6", 0) == track_seed(0, 6) and judged_track(4, None, 0) == judged_tracks(5, None, 0)[-1]


def test_a_windows_n_takes_the_next_track(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one episode was asked for."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    import pygame

    from wm_mpi.viewer.window import Window
    session = Drive(str(folder / "world"), np.zeros(867))
    window = Window(session, lambda number: track_seed(0, 7 + number), Board("", session.show))
    try:
        window.tick()
        assert window._seed.track == 7 and window.sight.frame == 1
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_n))
        window.tick()
        assert window._seed.track == 8 and window.sight.frame == 1
    finally:
        pygame.display.quit()


def test_a_dream_is_drawn_in_place_of_the_road(folder: Path) -> None:
    car = DreamDrive(str(folder / "world"), np.zeros(867), road=(40, 60))
    sight = car.reset(track_seed(0, 1))
    assert sight.road.shape == (35, 60, 3)  # rows that V is not shown are no part of it
    np.testing.assert_array_equal(sight.road, Image.fromarray(sight.seen).resize((60, 35), Image.Resampling.BICUBIC))
    assert PITCH * 2 + 24 + VIEW == ROAD[3]


@pytest.fixture
def screen() -> Iterator[str]:
    """A display of its own."""
    if shutil.which("Xvfb") is None:
        pytest.skip(NO_XVFB)
    reading, writing = os.pipe()
    with subprocess.Popen(["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x1024x24", "-nolisten", "tcp"],
                          pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        with open(reading) as number:
            display = f":{number.readline().strip()}"
        yield display
        server.terminate()


class Keyboard:
    """Presses keys on a display as hands do: through the server's XTEST extension."""

    def __init__(self, display: str) -> None:
        names = [ctypes.util.find_library(name) for name in ("X11", "Xtst")]
        if None in names:
            pytest.skip("libX11 or libXtst is not installed: apt-get install libx11-6 libxtst6")
        self._x, self._test = (ctypes.CDLL(name) for name in names)
        self._x.XOpenDisplay.restype = ctypes.c_void_p
        self._x.XStringToKeysym.restype = ctypes.c_ulong
        self._display = ctypes.c_void_p(self._x.XOpenDisplay(display.encode()))

    def press(self, name: str, down: bool) -> None:
        code = self._x.XKeysymToKeycode(self._display, ctypes.c_ulong(self._x.XStringToKeysym(name.encode())))
        self._test.XTestFakeKeyEvent(self._display, code, int(down), ctypes.c_ulong(0))
        self._x.XFlush(self._display)


@pytest.mark.alone
def test_a_real_window(folder: Path, screen: str) -> None:
    """It shows the board, arrow keys take over, space stops it, q closes it."""
    keyboard = Keyboard(screen)
    gauge = (ROAD[0] + 60, 684, ROAD[0] + 160, 692)
    """The left half of the steering gauge, on the board."""
    with subprocess.Popen(command("watch", "--run", folder / "es", "--window"), env={**ENVIRONMENT, "DISPLAY": screen},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            place = find_board(screen, process)

            def look() -> np.ndarray:
                left, top = place
                return np.asarray(ImageGrab.grab((left, top, left + SIZE[0], top + SIZE[1]), xdisplay=screen)).astype(int)

            def steered() -> float:
                return float((np.abs(look()[gauge[1]:gauge[3], gauge[0]:gauge[2]] - (90, 169, 255)).max(axis=2) < 9).mean())

            before = look()
            until(lambda: np.abs(look() - before)[ROAD[1]:ROAD[1] + ROAD[3], ROAD[0]:ROAD[0] + ROAD[2]].mean() > 1)
            assert steered() < 0.9, "the champion of two generations does not steer so hard"
            keyboard.press("Left", True)
            until(lambda: steered() > 0.95, 20)
            keyboard.press("space", True)
            keyboard.press("space", False)
            time.sleep(0.5)
            still = look()
            time.sleep(0.3)
            np.testing.assert_array_equal(look(), still)
            keyboard.press("q", True)
            said, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, said


def find_board(screen: str, process: subprocess.Popen[str]) -> tuple[int, int]:
    """Left and top of the window, once it has drawn its first board."""
    corner: list[tuple[int, int]] = []

    def drawn() -> bool:
        assert process.poll() is None, process.communicate()[0]
        shown = np.asarray(ImageGrab.grab(xdisplay=screen)).astype(int)
        ground = np.argwhere((shown == (20, 24, 29)).all(axis=2))
        if len(ground):
            corner[:] = [(int(ground[:, 1].min()), int(ground[:, 0].min()))]
        return bool(len(ground))

    until(drawn)
    return corner[0]
