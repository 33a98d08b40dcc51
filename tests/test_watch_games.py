"""watch, report and export of games other than CarRacing: what is shown is what is judged, in the game's own words."""

import contextlib
import dataclasses
import io
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import gymnasium
import numpy as np
import pytest
from browser import answering, browser
from conftest import Watching, once, succeed
from gymnasium import spaces
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from wm_mpi.core.controller import CAR, Control, Output
from wm_mpi.core.errors import UserError
from wm_mpi.core.seeding import track_seed
from wm_mpi.envs import EnvSpec, Look, game_of, make_pictured
from wm_mpi.envs.doom import STEP_ASIDE
from wm_mpi.envs.games import Rules
from wm_mpi.evolution.champion import load_trained
from wm_mpi.pool import Listed
from wm_mpi.reporting.clips import make_footage
from wm_mpi.reporting.learning import learning
from wm_mpi.reporting.run_data import read_run
from wm_mpi.rollout.worker import Rollout, Task, make_rollout
from wm_mpi.viewer.drawing import ROAD, SIZE, STEER, VIEW, Board, fitted, placed
from wm_mpi.viewer.dreams import within
from wm_mpi.viewer.drive import VIEWS, VectorDrive
from wm_mpi.viewer.episode import Session, Show, Sight
from wm_mpi.viewer.gauges import Gauge, gauges_of
from wm_mpi.viewer.session import Part, open_session
from wm_mpi.viewer.sheet import LEFT, Moments, cell, contact_sheet
from wm_mpi.viewer.web.server import open_server
from wm_mpi.viewer.web.source import RunSource, Sources
from wm_mpi.world.inference import Inference

RNG = np.random.default_rng(8)


class Still(gymnasium.Env):
    """A user's own pictures, which nobody can have drawn."""

    observation_space = spaces.Box(0, 255, (40, 80, 3), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.full((40, 80, 3), 7, np.uint8), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        return np.full((40, 80, 3), 70 + action, np.uint8), 1.0, False, False, {}


class Numbers(Still):
    """And vectors, of which there is nothing to see at all."""

    observation_space = spaces.Box(-1, 1, (3,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        return np.zeros(3, np.float32), super().reset(seed=seed)[1]


def part_of(run: Path, **options: Any) -> Part:
    trained = load_trained(str(run), env=None, world=None, max_frames=60, lap_complete_percent=None, deterministic=None)
    return Part.of(trained, **options)


def shown(session: Session, track: int) -> tuple[list[tuple[float, ...]], float]:
    """Actions and return of an episode that is watched."""
    session.reset(track_seed(0, track))
    actions = []
    while not session.ended:
        session.advance()
        actions.append(session.action)
    return actions, session.sight().total


def judged(rollout: Rollout, parameters: np.ndarray, tracks: list[int]) -> list[tuple[list[tuple[float, ...]], float]]:
    """The same of episodes that ``rollout`` plays side by side."""
    recorder = rollout._recorder = Watching()
    played = dict(rollout.run(parameters[None], Listed(enumerate(Task(0, track_seed(0, track)) for track in tracks))))
    return [(recorder.actions[index], played[index].total) for index in range(len(tracks))]


def test_doom_is_shown_as_it_is_judged(doom: Path) -> None:
    part = part_of(doom / "es")
    rollout = make_rollout(EnvSpec("doom", 60, frame="view"), part.world, 2, part.deterministic)
    session = open_session(part)
    assert [shown(session, track) for track in (3, 4)] == judged(rollout, part.parameters, [3, 4])
    assert session.show.look.title == "Doom's Take Cover" and session.sight().road.shape == (120, 160, 3)


def test_a_dream_is_shown_as_c_is_trained_in_it(doom: Path) -> None:
    """To the last bit, at the run's own temperature unless told otherwise; a visitor may act in it."""
    part = part_of(doom / "es")
    assert part.temperature == 1.15 and part.in_latents and part.env == "doom"
    rollout = make_rollout(EnvSpec("dream", 60, temperature=1.15), part.world, part.width, False)
    session = open_session(part, dream=True, size=(60, 90))
    tracks = list(range(3, 19))  # M hardly trained ends many a dream at its first frame
    expected = judged(rollout, part.parameters, tracks)
    assert [shown(session, track) for track in tracks] == expected
    assert max(len(actions) for actions, _ in expected) > 1
    hotter = open_session(part_of(doom / "es", temperature=1.9), dream=True)
    assert [shown(hotter, track)[0] for track in tracks] != [actions for actions, _ in expected]
    first = session.reset(track_seed(0, 3))
    assert first.road.shape == (56, 90, 3) and first.road.any()  # the status bar, which V is not shown, is no part of it
    left, right = ((session.reset(track_seed(0, 3)), session.step([aside]))[1] for aside in (-1.0, 9.0))
    assert (left.action, right.action) == ((-1.0,), (1.0,))
    world, (z, h, c, actions) = Inference.of(str(part.world)), session._env._before
    seen, predicted = world.decode(np.stack([session._env._z[0], world.expect(z, actions, h, c).likeliest()[0]]))
    np.testing.assert_array_equal(right.seen, seen)
    np.testing.assert_array_equal(right.predicted, predicted)


def test_a_film_and_a_sheet_of_doom(doom: Path, tmp_path: Path) -> None:
    """In real time, 35 frames per second, in the game's own shape, with what C does in words."""
    said = succeed("watch", "--run", doom / "es", "--tracks", "5:6", "--max-frames", 20, "--video", tmp_path / "doom.mp4",
                   "--sheet", tmp_path / "doom.png")
    assert "episode 5: 20.0 points in 20 frames" in said
    with av.open(str(tmp_path / "doom.mp4")) as film:
        assert film.streams.video[0].average_rate == 35
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert pictures[0].shape == (SIZE[1], 1040, 3) and len(pictures) == 20 + 35
    with Image.open(tmp_path / "doom.png") as sheet:
        assert sheet.width == LEFT + 8 * 134 - 6 + 24 and sheet.height == 60 + 52 + 96 + 3 * 134 + 30


def test_vectors_are_drawn_by_their_game_and_played_as_without() -> None:
    """Drawing is no part of the game: actions and returns are those of an environment that cannot draw."""
    game = game_of("LunarLander-v3")
    assert game.make(Rules(50, 0.95)).render_mode is None
    rollout = make_rollout(EnvSpec("LunarLander-v3", 50), None, 2, True, 4)
    parameters = RNG.normal(0, 1, rollout._policy.parameters)
    session = open_session(Part("LunarLander-v3", None, parameters, max_frames=50, width=2, hidden=4))
    assert [shown(session, track) for track in (1, 2)] == judged(rollout, parameters, [1, 2])
    sight = session.sight()
    assert sight.road.shape == (400, 600, 3) and len(np.unique(sight.road.reshape(-1, 3), axis=0)) > 3
    board = Board("lander", session.show)
    assert board.size == (ROAD[2] + 48, SIZE[1]) and board.draw(sight, "episode 1").shape == (720, 948, 3)
    moments = Moments("episode 1", session.show)
    moments.add(sight)
    assert contact_sheet("lander", [moments], session.show).height == 60 + 52 + 2 * (174 + 30)
    with pytest.raises(UserError, match="nothing to dream with"):
        open_session(Part("LunarLander-v3", None, parameters), dream=True)


def test_what_draws_nothing_is_seen_as_c_sees_it() -> None:
    env = make_pictured(EnvSpec("test_watch_games:Still", frame="picture"), (600, 400))
    assert env.reset(seed=[1])[0].shape == (1, 64, 64, 3) and env.render()[0].shape == (40, 80, 3)
    env.step(np.eye(2)[1:])
    assert (env.render()[0] == 71).all()
    with pytest.raises(UserError, match="draws no pictures .*judge it with evaluate"):
        VectorDrive(EnvSpec("test_watch_games:Numbers", frame=None), np.zeros(8))


def test_words_of_games() -> None:
    assert game_of("doom").look.fps == 35 and game_of("LunarLander-v3").look == Look("LunarLander-v3", fps=50)
    assert [game_of(name).look.episode for name in ("fast", "gymnasium", "doom")] == ["track", "track", "episode"]
    assert Look("", outputs=("a", "b")).named(3) == ("0", "1", "2")


def test_atari_names_its_actions() -> None:
    pytest.importorskip("ale_py", reason="ale-py is not installed: pip install -c constraints.txt -e '.[atari]'")
    breakout = game_of("ALE/Breakout-v5")
    gauge, = gauges_of(breakout.control, breakout.look)
    assert gauge == Gauge("action", 0, 1, ("noop", "fire", "right", "left"), "choice") and breakout.look.fps == 30
    assert gauge.lit((0, 0, 1, 0)) == [False, False, True, False]


def test_gauges_follow_the_controller() -> None:
    assert gauges_of(Control(CAR), game_of("fast").look) == (
        Gauge("steer", -1, 1), Gauge("gas", 0, 1), Gauge("brake", 0, 1))
    step, = gauges_of(game_of("doom").control, game_of("doom").look)
    for aside in (-1, -0.34, -STEP_ASIDE, 0, STEP_ASIDE, 0.34, 1):  # as TakeCover.step takes it
        assert step.lit((aside,)) == [aside < -STEP_ASIDE, abs(aside) <= STEP_ASIDE, aside > STEP_ASIDE]
    own = Control((Output(2, 0, -2), Output(2.5, 2.5, 0)))
    assert gauges_of(own, Look("")) == (Gauge("0", -2, 2), Gauge("1", 0, 5)) and own.bounds == ([-2, 0], [2, 5])
    switches = Control((Output(1, 0, -1),) * 3, "switches")
    assert gauges_of(switches, Look(""))[0].lit((1, 0, 1)) == [True, False, True]


@pytest.mark.parametrize("number", [1, 4, 6, 17])
def test_gauges_have_their_places(number: int) -> None:
    places = placed([Gauge(str(each), -1, 1) for each in range(number)], 24, 900)
    assert places[0][0] > 24 and all(width > 10 for _, width, _ in places) and places[-1][0] + places[-1][1] <= 924
    assert all(left + width < right for (left, width, _), (right, *_) in zip(places, places[1:], strict=False))


@pytest.mark.parametrize("shape", [(120, 160), (210, 160), (400, 600), (500, 500)])
def test_boards_and_sheets_fit_any_shape(shape: tuple[int, int]) -> None:
    """The picture is whole, in its own shape, and lies between the margins."""
    show = Show.of(game_of("doom"), shape[1] / shape[0], VIEWS)
    road, view = np.full((*shape, 3), 200, np.uint8), np.full((64, 64, 3), 90, np.uint8)
    sight = Sight(road, view, view, view, (1.0,), 1.0, 5.0, 5, False, False)
    board = Board("a title that is far too long to stand in the room that there is for it, so that it is cut", show)
    drawn = board.draw(sight, f"episode {2**31 - 1}")
    assert drawn.shape[1::-1] == board.size and not board.size[0] % 2
    rows, columns = np.nonzero((drawn == 200).all(axis=2))
    assert (rows.min(), rows.max()) == (56, 655) and abs(np.ptp(columns) + 1 - 600 * show.aspect) <= 1
    assert columns.min() >= ROAD[0] and np.ptp(np.nonzero((drawn == 90).all(axis=2))[1]) + 1 == VIEW
    assert (drawn == STEER).all(axis=2).any(), "the word for what C does is lit"
    assert np.asarray(fitted(road, *cell(show))).shape[1] <= 128 and within(show.aspect, (400, 600))[0] <= 400


@pytest.mark.parametrize("name,aspect,views", [("fast", 1.5, VIEWS), ("doom", 4 / 3, VIEWS), ("fast", 0.76, ())])
@pytest.mark.parametrize("number", [1111111111, 4088888888, 2**32 - 1])
def test_a_long_title_ends_before_the_episodes_number(name: str, aspect: float, views: tuple, number: int) -> None:
    """What is drawn with the title alone and what is drawn later in the same line are apart, whatever the digits."""
    show = Show.of(game_of(name), aspect, views)
    still = np.zeros((64, 64, 3), np.uint8)
    sight = Sight(still, still, still, still, (0.0,) * len(show.gauges), 0.0, 0.0, 0, False, False)
    lines = [Board(title, show).draw(sight, f"{show.look.episode} {number}")[16:48] for title in ("a/long name " * 30, "")]
    untitled = (lines[1] != lines[1][0, 0]).any(axis=(0, 2)).nonzero()[0]
    title = (lines[0] != lines[1]).any(axis=(0, 2)).nonzero()[0]
    assert title.min() < 40 and 10 < untitled.min() - title.max() < 60


def test_a_report_of_a_dream_shows_both_scores(doom: Path, tmp_path: Path) -> None:
    """The mean in the dream beside the real game's at each validation, and what others have reached; nothing of cars."""
    succeed("report", "--run", doom / "es", "--out", tmp_path / "page.html", "--films", 0, "--png", tmp_path / "page.png")
    page = (tmp_path / "page.html").read_text()
    for words in ("World Models on Doom&#39;s Take Cover, C trained in M&#39;s dream at temperature 1.15", "dream mean",
                  "real game", "C cheats its dream", "what counts as solved, 750; paper, temperature 1.15, 1092 ± 556",
                  "released weights", "973.4", "population in the dream", "Judgement on unseen episodes"):
        assert words in page, words
    for words in ("laps", "track", "the road", "CarRacing-v0", "at the wheel"):
        assert words not in page.partition("</style>")[2].partition("Configuration and versions")[0], words
    data = read_run(str(doom / "es"))
    chart = learning(data)[0].chart
    marks = {mark.label: mark for mark in chart.marks if mark.label and np.size(mark.y)}
    assert marks["dream mean"].y[-1] == data.rows[-1]["return_mean"] and list(marks["real game"].y) == [
        row["eval_mean"] for row in data.validated]
    assert [marks[name].y for name in ("solved", "paper", "weights")] == [[750] * 2, [1092] * 2, [973.4] * 2]
    in_dream = [{"env": {"env": name}, "returns": [1.0] * tracks} for name, tracks in (("dream", 100), ("doom", 2))]
    assert dataclasses.replace(data, evaluations=in_dream).verdict is in_dream[1]


def test_films_of_other_games_in_a_report(doom: Path) -> None:
    """Two tracks of the real game at its own pace, and the dreams at the usual temperatures and at C's."""
    data = read_run(str(doom / "es"))
    rules = {"env": "doom", "env_id": "x", "max_frames": 30, "lap_complete_percent": 0.95}
    judged = {"returns": [3.0, 2.0], "tracks": [3, 4], "env": rules, "deterministic": False, "width": 2}
    footage = make_footage(dataclasses.replace(data, evaluations=[judged]), 1)
    assert footage is not None and not footage.missing
    assert [film.caption for film in footage.films] == [
        "worst of 2: episode 4, 2.0 points when evaluated; in this episode 30.0 points in 30 frames",
        "best of 2: episode 3, 3.0 points when evaluated; in this episode 30.0 points in 30 frames"]
    assert (footage.films[0].width, footage.films[0].height) == (267 + 4 + 64, 200)
    assert [strip.caption.split(";")[0] for strip in footage.dreams] == [
        f"Temperature {each}" for each in (0.1, 0.5, 1.0, 1.15, 1.3)]


def test_a_card_of_another_game(doom: Path, tmp_path: Path) -> None:
    succeed("export", "--run", doom / "es", "--out", tmp_path / "shared")
    card = (tmp_path / "shared" / "README.md").read_text()
    for words in ("a world model of Doom's Take Cover", "64 latents", "LSTM 512", "1088 numbers", "rows 0 to 99 of 120",
                  "M's dream, temperature 1.15; the champion was chosen in the real game",
                  "es --env dream --temperature 1.15"):
        assert words in card, words
    assert "lap" not in card and "track" not in card and "{" not in card


@contextlib.contextmanager
def served(run: Path) -> Iterator[int]:
    """A server of a run's page; gives its port."""
    trained = load_trained(str(run), env=None, world=None, max_frames=None, lap_complete_percent=None, deterministic=None)
    server = open_server(Sources(RunSource(trained), None), 0, "127.0.0.1")
    with answering(server) as port:
        yield port


@contextlib.contextmanager
def visited(run: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """A visit to a run's page: tells wishes, and gives the figures of the first picture of which something is true."""
    with served(run) as port, connect(f"ws://127.0.0.1:{port}/drive", max_size=None, compression=None) as line:
        def picture(met: Callable[[dict[str, Any]], Any], **wishes: Any) -> dict[str, Any]:
            line.send(json.dumps(wishes))
            for _ in range(400):
                data = line.recv(20)
                size, = struct.unpack_from(">I", data)
                about = json.loads(data[4:4 + size])
                line.send(json.dumps({"drawn": about["number"]}))
                if met(about):
                    return about | {"size": Image.open(io.BytesIO(data[4 + size:])).size}
            raise AssertionError(f"never true, last {about}")

        yield picture


def test_a_page_of_doom_is_played_left_and_right(doom: Path) -> None:
    """And its dream is that of training, at its temperature; what is played is told once, with the first picture."""
    with visited(doom / "es") as picture:
        first = picture(lambda about: True)
        show = first["show"]
        assert (show["verb"], show["episode"], show["keys"], show["temperature"]) == ("play", "episode", 1, 1.15)
        assert (show["width"], show["height"]) == (533, 400) and first["size"] == (533, 528)
        assert show["gauges"][0]["words"] == ["left", "none", "right"] and show["latents"] == 64
        assert "show" not in picture(lambda about: about["frame"] > first["frame"])
        assert picture(lambda about: about["driver"] == "visitor" and about["frame"] > 5, driver="visitor",
                       wheel=[-1, 0, 0])["action"] == [-1]
        dreamt = picture(lambda about: about["place"] == "dream", place="dream")
        assert dreamt["show"]["views"] == ["seen", "predicted"] and dreamt["show"]["scene"] == "the dream"


@pytest.fixture(scope="session")
def lander(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a game of vectors."""
    return once(tmp_path_factory, "lander", lambda out: succeed(
        "es", "--preset", "smoke", "--env", "LunarLander-v3", "--max-frames", 60, "--out", out / "es")) / "es"


def test_a_page_of_vectors_is_for_watching_only(lander: Path) -> None:
    with visited(lander) as picture:
        first = picture(lambda about: True)
        assert first["show"]["views"] == [] and first["show"]["keys"] == 0 and first["size"] == (600, 400)
        played = picture(lambda about: about["frame"] > 3, driver="visitor", wheel=[1, 0, 0])
        assert played["driver"] == "champion" and sorted(played["action"]) == [0, 0, 0, 1]
        with pytest.raises(ConnectionClosed, match="nothing to dream with"):
            picture(lambda about: about["place"] == "dream", place="dream")


@pytest.mark.alone
def test_a_page_of_vectors_in_a_browser(lander: Path, tmp_path: Path) -> None:
    """Neither wheel nor dream is offered; the action that is taken is lit."""
    with served(lander) as port, browser(tmp_path) as chromium:
        page = chromium.page()
        page.open(f"http://127.0.0.1:{port}/")
        page.until("Number(document.querySelector('#frame').textContent) > 3")
        for part in ("#drivers", "#places", "#pad", ".minds"):
            assert page.run(f"document.querySelector('{part}').offsetParent === null"), part
        words = page.run("[...document.querySelectorAll('#gauges span')].map((each) => each.textContent).join()")
        assert words == "0,1,2,3" and page.run("document.querySelectorAll('#gauges .lit').length") == 1
        assert page.text("#heading") == "Watch it play" and page.text("#episode") == "Episode"
        assert page.complaints == [] and not page.scrolls_sideways()
