import os
import shutil
import subprocess
import sys
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import ENVIRONMENT, refuse, succeed
from skips import NO_XVFB

from wm_mpi.envs import EnvSpec, display, make_env, policy_frame
from wm_mpi.envs.toy import Toy, optimum


def exact_policy_frame(frame: np.ndarray, row: int, column: int, rows: int = 84) -> list[int]:
    """The definition, in fractions: the mean over the area that pixel (row, column) of 64x64 covers, rounded to nearest."""
    means = []
    for channel in range(3):
        total = Fraction(0)
        for y in range(96):
            high = min(Fraction(rows, 64) * (row + 1), y + 1) - max(Fraction(rows, 64) * row, y)
            if high <= 0:
                continue
            for x in range(96):
                wide = min(Fraction(96, 64) * (column + 1), x + 1) - max(Fraction(96, 64) * column, x)
                if wide > 0:
                    total += high * wide * int(frame[y, x, channel])
        means.append(int(total / (Fraction(rows, 64) * Fraction(96, 64)) + Fraction(1, 2)))
    return means


@pytest.mark.parametrize("frame,rows", [("road", 84), ("whole", 96)])
def test_policy_frame_is_the_exact_area_mean(frame: str, rows: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    small = policy_frame(frames, frame)
    assert small.shape == (2, 64, 64, 3) and small.dtype == np.uint8
    for row, column in ((0, 0), (63, 63), (1, 2), (30, 17), (63, 0), (15, 47)):
        assert small[1, row, column].tolist() == exact_policy_frame(frames[1], row, column, rows)


def test_policy_frame_leaves_out_the_indicators() -> None:
    frames = np.zeros((1, 96, 96, 3), np.uint8)
    frames[:, 84:] = 255
    assert not policy_frame(frames).any()
    assert policy_frame(frames, "whole").any()


def test_gymnasium_is_carracing_v3() -> None:
    """Our vector of one plays what ``gymnasium.make`` plays."""
    import gymnasium
    reference = gymnasium.make("CarRacing-v3")
    with display("none"):
        env = make_env(EnvSpec("gymnasium", max_frames=20, frame=None), 1)
        seen, _ = env.reset(seed=[7], options={"reset_mask": np.array([True])})
        expected, _ = reference.reset(seed=7)
        np.testing.assert_array_equal(seen[0], expected)
        for step in range(20):
            action = np.array([np.sin(step), 0.5, 0.1])
            seen, reward, terminated, truncated, _ = env.step(action[None])
            expected, expected_reward, *_ = reference.step(action)
            np.testing.assert_array_equal(seen[0], expected)
            assert reward[0] == expected_reward
        assert truncated[0] and not terminated[0]


def test_an_episode_does_not_depend_on_the_one_before() -> None:
    with display("none"):
        env = make_env(EnvSpec("gymnasium", max_frames=1000), 2)
        mask = np.array([True, True])
        env.reset(seed=[1, 2], options={"reset_mask": mask})
        for _ in range(40):  # the second car has driven and its track was another
            env.step(np.array([[0, 0, 0], [0.4, 1, 0]], float))
        seen, _ = env.reset(seed=[5, 5], options={"reset_mask": mask})
        for step in range(60):
            np.testing.assert_array_equal(seen[0], seen[1])
            seen, reward, *_ = env.step(np.array([[np.sin(step / 9), 0.7, 0]] * 2))
            assert reward[0] == reward[1]


def test_leaving_the_field_ends_without_a_lap() -> None:
    with display("none"):
        env = make_env(EnvSpec("gymnasium", max_frames=5000), 1)
        env.reset(seed=[3])
        env.envs[0].unwrapped.car.hull.position = (400.0, 0.0)
        _, reward, terminated, _, infos = env.step(np.zeros((1, 3)))
        assert terminated[0] and reward[0] == -100 and not infos["lap_finished"][0]


@pytest.mark.skipif(find_spec("gym") is None, reason="gym is not installed: pip install -c constraints.txt -e '.[gym]'")
def test_gym_plays_like_gymnasium() -> None:
    with display("none"):
        ours, theirs = (make_env(EnvSpec(name, 1000), 1) for name in ("gymnasium", "gym"))
        frames = [env.reset(seed=[4])[0] for env in (ours, theirs)]
        assert frames[0].shape == frames[1].shape
        returns = [sum(env.step(np.array([[0.0, 0.3, 0.0]]))[1][0] for _ in range(50)) for env in (ours, theirs)]
        assert abs(returns[0] - returns[1]) < 10
        theirs.reset(seed=[4])
        theirs.envs[0].unwrapped._env.new_lap = True
        *_, terminated, truncated, infos = theirs.step(np.zeros((1, 3)))
        assert terminated[0] and not truncated[0] and infos["lap_finished"][0]


@pytest.mark.parametrize("missing,env,fix", [("Box2D", "gymnasium", "gymnasium[box2d]"), ("gym", "gym", "wm_mpi[gym]")])
def test_an_environment_that_is_not_installed(missing: str, env: str, fix: str, pipeline: Path, tmp_path: Path) -> None:
    code = (f"import sys, runpy; sys.modules['{missing}'] = None; "
            f"sys.argv = ['es', '--preset', 'smoke', '--env', '{env}', '--world', '{pipeline / 'world'}', "
            f"'--out', '{tmp_path / 'run'}']; runpy.run_module('wm_mpi.es', run_name='__main__')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 2 and fix in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "run").exists()


def test_toy_optimum_pays_nothing() -> None:
    env, best = Toy(), optimum()
    seen, _ = env.reset(seed=1)
    total, done = 0.0, False
    while not done:
        seen, reward, done, _, _ = env.step(best[3:].reshape(3, 4) @ seen + best[:3])
        total += reward
    assert abs(total) < 1e-20


needs_xvfb = pytest.mark.skipif(shutil.which("Xvfb") is None, reason=NO_XVFB)


def xvfbs() -> list[str]:
    return subprocess.run(["pgrep", "-x", "Xvfb"], capture_output=True, text=True).stdout.split()


@needs_xvfb
def test_one_xvfb_a_node_and_it_goes(pipeline: Path, tmp_path: Path) -> None:
    before = xvfbs()
    program = Path(__file__).parent / "programs" / "display_program.py"
    said = succeed(program, ranks=3).split()
    assert len(said) == 3 and len(set(said)) == 1 and said[0].startswith(":"), said
    assert xvfbs() == before


@needs_xvfb
@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_xvfb_does_not_outlive_a_killed_parent(signal: str) -> None:
    before = xvfbs()
    program = Path(__file__).parent / "programs" / "display_program.py"
    with subprocess.Popen([sys.executable, program, "wait"], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline().startswith(":")
        assert len(xvfbs()) == len(before) + 1
        os.kill(process.pid, {"TERM": 15, "KILL": 9}[signal])
        process.wait(10)
    for _ in range(50):
        if xvfbs() == before:
            return
        subprocess.run(["sleep", "0.1"])
    raise AssertionError(f"Xvfb is left over: {xvfbs()}")


def test_missing_xvfb_names_the_package(tmp_path: Path) -> None:
    said = refuse("es", "--env", "toy", "--display", "xvfb", "--out", tmp_path / "run", env={"PATH": str(tmp_path)})
    assert "apt-get install xvfb" in said
    said = refuse("es", "--env", "toy", "--display", "screen", "--out", tmp_path / "run")
    assert "$DISPLAY is not set" in said
