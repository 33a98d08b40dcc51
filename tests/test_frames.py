"""What V sees of CarRacing: the road, or the whole picture, from the environment to the champion; and what that tells."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import in_one_process, learning, once, refuse, succeed

from wm_mpi.core.files import read_json
from wm_mpi.core.schema import Manifest
from wm_mpi.data.datasets import open_frames
from wm_mpi.envs import EnvSpec, display, make_env, policy_frame
from wm_mpi.envs.fast import CarRacingVector
from wm_mpi.envs.fast.true_state import STATE, Watched
from wm_mpi.world.gates.metrics import regions
from wm_mpi.world.gates.state_probe import explained
from wm_mpi.world.manifest import frame_of

FRAMES: tuple[str, ...] = ("road", "whole", "published")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pipeline on whole frames, up to a run: frames/ vae/ latents/ rnn/ world/ es/."""
    return once(tmp_path_factory, "whole", fill)


def fill(out: Path) -> None:
    """Run the stages."""
    in_one_process([["collect", "--preset", "smoke", "--frame", "whole", "--out", out / "frames"], *learning(out, "--probe"),
                    ["es", "--preset", "smoke", "--world", out / "world", "--out", out / "es"]])


def driven(env: str, frame: str | None, steps: int) -> list[np.ndarray]:
    """What two cars show on the way."""
    with display("none"):
        cars = make_env(EnvSpec(env, frame=frame), 2)
        seen = [cars.reset(seed=[3, 4])[0].copy()]
        for step in range(steps):
            seen.append(cars.step(np.array([[np.sin(step / 9), 0.7, 0], [0.1, 0.2, 0.3]]))[0].copy())
        return seen


@pytest.mark.parametrize("env,steps", [("fast", 150), ("gymnasium", 12)])
def test_environments_show_policy_frames(env: str, steps: int) -> None:
    pictures = driven(env, None, steps)
    assert pictures[0].shape == (2, 96, 96, 3)
    for frame in FRAMES:
        for picture, small in zip(pictures, driven(env, frame, steps), strict=True):
            np.testing.assert_array_equal(policy_frame(picture, frame), small)


def test_no_other_frames() -> None:
    with pytest.raises(ValueError, match="frame is 'half', but must be 'road' or 'whole' or 'published'"):
        CarRacingVector(1, frame="half")


@pytest.mark.parametrize("frame", FRAMES)
def test_the_car_is_where_the_gates_look(frame: str) -> None:
    cars = CarRacingVector(1, observation_size=64, frame=frame)
    cars.reset(seed=5)
    for _ in range(60):
        seen = cars.step([[0.0, 0.1, 0.0]])[0]
    edge, car, grass = regions(seen, frame)
    assert car.sum() > 8 and edge.any() and grass.any()
    assert not regions(seen, "road" if frame == "whole" else "whole")[1].all()
    if frame == "whole":
        assert not (edge | car | grass)[:, 56:].any()


def test_the_true_state() -> None:
    cars = Watched(4, "road")
    cars.reset(1, 0)
    states, places = [], []
    for _ in range(250):
        states.append(cars.state())
        places.append(cars._cars.hull_xy[:4].astype(np.float64))
        cars.drive(states[-1])
    assert cars.running.sum() >= 3
    forward, sideways, offset = (np.array(states)[:, cars.running][:, :, STATE.index(name)]
                                 for name in ("forward speed", "sideways speed", "offset"))
    way = np.linalg.norm(np.diff(np.array(places)[:, cars.running], axis=0), axis=2)
    np.testing.assert_allclose(np.hypot(forward, sideways)[100:-1].mean(axis=0), 50 * way[100:].mean(axis=0), rtol=0.02)
    assert np.abs(offset).max() < 9 and forward[100:].std() > 3
    cars.reset(1, 0)
    np.testing.assert_array_equal(cars.state(), states[0])


def test_what_regression_finds() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((900, 5))
    truth = np.stack([features[:, 0] * 3 + 1, rng.standard_normal(900)], axis=1)
    judge = np.arange(900) >= 600
    found = explained(features, truth, judge)
    assert found[0] > 0.999 and found[1] < 0.05


def test_whole_frames_all_the_way(whole: Path, tmp_path: Path) -> None:
    with open_frames(whole / "frames") as data:
        assert data.frame == "whole" and data.read("frames", 50, 51)[0, 58:].mean() < 60  # the bar is black
    manifest = read_json(whole / "world" / "manifest.json", Manifest, "")
    assert frame_of(manifest) == "whole"
    assert set(json.loads((whole / "world" / "manifest.json").read_text())["true_state"]) == set(STATE)
    for env in ("fast", "gymnasium"):
        verdict = tmp_path / f"{env}.json"
        succeed("evaluate", "--preset", "smoke", "--run", whole / "es", "--episodes", 1, "--max-frames", 30, "--env", env,
                "--json", verdict)
        assert json.loads(verdict.read_text())["env"]["frame"] == "whole"
    succeed("watch", "--run", whole / "es", "--max-frames", 20, "--sheet", tmp_path / "sheet.png", "--dream")
    succeed("collect", "--preset", "smoke", "--policy", whole / "es", "--episodes", 2, "--shard-episodes", 2, "--out",
            tmp_path / "more")
    with open_frames(tmp_path / "more") as data:
        assert data.frame == "whole"


def test_a_champion_may_show_what_it_does_not_see(tmp_path: Path) -> None:
    """The same drive, recorded in all ways."""
    said = {}
    for frame in FRAMES:
        succeed("collect", "--policy", "carracing", "--episodes", 1, "--max-frames", 80, "--width", 2, "--frame", frame,
                "--out", tmp_path / frame)
        with open_frames(tmp_path / frame) as data:
            said[frame] = data.read("frames", 0, 80), data.read("actions", 0, 80)
    for frame in ("whole", "published"):
        np.testing.assert_array_equal(said["road"][1], said[frame][1])
        assert not np.array_equal(said["road"][0], said[frame][0])


@pytest.mark.parametrize("stage", ["encode", "freeze", "collect", "refit"])
def test_frames_that_do_not_fit(stage: str, whole: Path, pipeline: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = {"encode": ["--vae", whole / "vae", "--data", pipeline / "frames", "--out", out],
            "freeze": ["--vae", whole / "vae", "--rnn", whole / "rnn", "--data", pipeline / "frames", "--out", out],
            "collect": ["--frame", "whole", "--mix", pipeline / "frames", "--episodes", 1, "--max-frames", 5, "--out", out],
            "refit": ["--run", whole / "es", "--world", pipeline / "world", "--data", pipeline / "frames",
                      "--out", tmp_path / "start.h5"]}[stage]
    said = refuse(stage, *line)
    assert f"{pipeline / 'frames' / 'frames.h5'} has road frames, but" in said and "collect with --frame whole" in said
    assert not (tmp_path / "start.h5").exists() and not list(out.glob("*.h5"))
