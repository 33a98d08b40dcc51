"""Games: what each tells of itself, how C acts in them, and Doom from its first episode into M's dream and back."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest
from conftest import DREAMT, FEW, here, metrics, refuse, same, succeed
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from wm_mpi import collect
from wm_mpi.core.config import CollectConfig
from wm_mpi.core.controller import Control, Output, unpack
from wm_mpi.core.errors import UserError
from wm_mpi.core.files import read_json
from wm_mpi.core.ranges import BUILT_IN
from wm_mpi.core.schema import Manifest
from wm_mpi.core.seeding import EpisodeSeed
from wm_mpi.core.shipped import PRETRAINED, found
from wm_mpi.data.arrays import load_arrays
from wm_mpi.data.batches import long_enough
from wm_mpi.data.datasets import open_frames
from wm_mpi.envs import DREAM, EnvSpec, Game, game_of, make_env, settled, solved_at
from wm_mpi.envs.doom import SHOWN_ROWS, TakeCover
from wm_mpi.envs.frame import Cut, shrink
from wm_mpi.envs.games import GAMES, Acted
from wm_mpi.envs.one_by_one import OneByOne
from wm_mpi.evolution.champion import load_trained
from wm_mpi.models.keras_policy import KerasPolicy
from wm_mpi.pool import Listed
from wm_mpi.rollout.exploration import HeldPolicy
from wm_mpi.rollout.worker import Rollout, Task
from wm_mpi.world.gates.survival_probe import EPISODES, SEED, Lived, describe, probe_survival, table
from wm_mpi.world.graph import build_policy, with_control
from wm_mpi.world.graph_builder import Builder
from wm_mpi.world.graph_memory import build_dream
from wm_mpi.world.inference import Inference, weights_in
from wm_mpi.world.latent_dream import BLOCK, LatentDream, beginnings
from wm_mpi.world.manifest import load_manifest, meant_by
from wm_mpi.world.policy import GraphPolicy, VectorPolicy, WorldPolicy, open_session
from wm_mpi.world.reference import tick
from wm_mpi.world.weights import halved

RNG = np.random.default_rng(15)
CONTROLS = {"car": Control(), "doom": game_of("doom").control, "choice": Control((Output(1, 0, -1),) * 4, "choice"),
            "switches": Control((Output(1, 0, -1),) * 2, "switches", ("z",))}


class Boxed(gymnasium.Env):
    """A user's own environment: two numbers within bounds of their own are wanted."""

    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Box(np.array([-2, 0], np.float32), np.array([2, 5], np.float32))

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._left = 4
        return np.zeros(3, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert action.shape == (2,) and action.dtype == np.float32 and self.action_space.contains(action)
        self._left -= 1
        seen, error = self.np_random.uniform(-1, 1, 3).astype(np.float32), float(np.sum((action - [1, 4]) ** 2))
        return seen, -error, self._left == 0, False, {}


def made_weights(name: str, control: Control) -> tuple[dict[str, npt.NDArray], dict[str, npt.NDArray]]:
    """V and M drawn at random, in the sizes of a game."""
    latents, hidden = (64, 512) if name == "doom" else (32, 256)
    shapes = {"conv1": (4, 4, 3, 32), "conv2": (4, 4, 32, 64), "conv3": (4, 4, 64, 128), "conv4": (4, 4, 128, 256),
              "mu": (1024, latents), "logvar": (1024, latents), "dense": (latents, 1024), "deconv1": (5, 5, 128, 1024),
              "deconv2": (5, 5, 64, 128), "deconv3": (6, 6, 32, 64), "deconv4": (6, 6, 3, 32)}
    vae = {}
    for layer, shape in shapes.items():
        part = "decoder" if layer.startswith("de") else "encoder"
        vae[f"{part}/{layer}/kernel"] = RNG.normal(0, 0.05, shape).astype(np.float32)
        vae[f"{part}/{layer}/bias"] = RNG.normal(0, 0.05, shape[2 if layer.startswith("deconv") else -1]).astype(np.float32)
    sizes = {"lstm/kernel": (latents + control.actions, 4 * hidden), "lstm/recurrent_kernel": (hidden, 4 * hidden),
             "lstm/bias": (4 * hidden,), "mdn/kernel": (hidden, 15 * latents), "mdn/bias": (15 * latents,),
             "reward/kernel": (hidden, 1), "reward/bias": (1,), "termination/kernel": (hidden, 1), "termination/bias": (1,)}
    rnn = {part: RNG.normal(0, 0.05, shape).astype(np.float32) for part, shape in sizes.items()}
    return vae, rnn


@pytest.mark.parametrize("name", CONTROLS)
def test_all_say_the_same_of_a_control(name: str) -> None:
    """The graph, Keras, and the formulas written out once more."""
    control = CONTROLS[name]
    vae, rnn = made_weights(name, control)
    latents, hidden = rnn["lstm/kernel"].shape[0] - control.actions, rnn["lstm/recurrent_kernel"].shape[0]
    graph = GraphPolicy(build_policy(vae, rnn, control=control).SerializeToString(), 3, True, control)
    keras = KerasPolicy(vae, rnn, 3, control)
    assert graph.parameters == keras.parameters == control.parameters(latents, hidden)
    assert name != "doom" or graph.parameters == 1088  # as published
    controller = RNG.normal(0, 0.3, (3, graph.parameters))
    h, c = RNG.normal(0, 0.3, (2, 3, hidden)).astype(np.float32)
    for policy in (graph, keras):
        for slot in range(3):
            policy.assign(slot, controller[slot], 0)
        policy.memory = h, c
    for _ in range(3):
        frames = RNG.integers(0, 256, (3, 64, 64, 3), np.uint8)
        exact = tick(vae, rnn, controller, frames, h, c, np.float64, control)
        for policy in (graph, keras):
            policy.memory = h, c
            actions, _ = policy.look(frames)
            np.testing.assert_allclose(actions, exact["actions"], atol=1e-4)
            np.testing.assert_allclose(policy.memory[0], exact["h"], atol=1e-4)
        h, c = exact["h"].astype(np.float32), exact["c"].astype(np.float32)
    assert Control.of(json.loads(json.dumps(control.describe()))) == control


def test_weights_in_half_the_room_are_the_same_numbers() -> None:
    """An M whose weights half precision holds takes less room in the graph, and acts to the bit as it would in full."""
    control = game_of("doom").control
    vae, rnn = made_weights("doom", control)
    rounded = {name: value.astype(np.float32) for name, value in halved(rnn, "made").items()}
    full, small = (build_policy(vae, each, control=control).SerializeToString() for each in (rnn, rounded))
    assert len(full) - len(small) == pytest.approx(2 * (65 + 512) * 4 * 512, rel=0.01)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Builder, "weights", Builder.constant)
        as_ever = build_policy(vae, rounded, control=control).SerializeToString()
    assert len(as_ever) == pytest.approx(len(full), abs=1000)
    said, wanted = (GraphPolicy(each, 3, True, control) for each in (small, as_ever))
    for policy in (said, wanted):
        for slot in range(3):
            policy.assign(slot, np.random.default_rng(slot).normal(0, 0.3, policy.parameters), 0)
    for _ in range(3):
        frames = RNG.integers(0, 256, (3, 64, 64, 3), np.uint8)
        np.testing.assert_array_equal(said.act(frames), wanted.act(frames))
        for one, other in zip(said.memory, wanted.memory, strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(UserError, match="made: lstm/bias does not fit into half precision, its largest weight is 1e"):
        halved({"lstm/bias": np.array([1e6, 1.0], np.float32)}, "made")


def test_a_world_in_half_is_what_it_was_judged_as(doom: Path, tmp_path: Path) -> None:
    """M is rounded before all else, stored so, and what is exported later is this very M."""
    here("freeze", "--preset", "smoke", "--half", "--vae", doom / "vae", "--rnn", doom / "rnn", "--data", doom / "frames",
         "--out", tmp_path / "world")
    trained, stored = load_arrays(doom / "rnn" / "weights.h5", "")[0], load_arrays(tmp_path / "world" / "rnn.h5", "")[0]
    for name, value in trained.items():
        np.testing.assert_array_equal(stored[name], value.astype(np.float16))
    assert any(not np.array_equal(stored[name], value) for name, value in trained.items())
    sizes = [(world / "world" / "policy.onnx").stat().st_size for world in (doom, tmp_path)]
    assert sizes[0] - sizes[1] > 2_000_000
    succeed("es", *DREAMT, "--world", tmp_path / "world", "--generations", 2, "--out", tmp_path / "es")
    succeed("export", "--run", tmp_path / "es", "--out", tmp_path / "card")
    shared = load_arrays(tmp_path / "card" / "rnn.h5", "")[0]
    assert all(np.array_equal(shared[name], value) for name, value in stored.items())


def test_a_push_reaches_a_controller_without_bias() -> None:
    control = game_of("doom").control
    assert control.whole(np.arange(4.0)).tolist() == [0, 0, 1, 2, 3]
    assert Control().whole(np.arange(4.0)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("hidden", [(), (5,), (5, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_c_on_vectors(hidden: tuple[int, ...], bias: bool) -> None:
    control = Control((Output(2, 1, -1), Output(1, 0, -1)), bias=bias).with_hidden(hidden)
    policy = VectorPolicy(3, 2, control)
    last = hidden[-1] if hidden else 3
    assert policy.parameters == {(): 0, (5,): 20, (5, 3): 38}[hidden] + 2 * (last + bias)
    parameters, seen = RNG.normal(0, 1, policy.parameters), RNG.normal(0, 1, (2, 3)).astype(np.float32)
    policy.assign(1, parameters, 0)
    values = seen[1].astype(float)
    for units in hidden:
        used = units * (len(values) + 1)
        shift, rows = unpack(parameters[:used], units)
        values, parameters = np.tanh(rows @ values + shift), parameters[used:]
    shift, rows = unpack(parameters, 2) if bias else (np.zeros(2), parameters.reshape(2, -1))
    first, second = np.tanh(rows @ values + shift)
    np.testing.assert_allclose(policy.act(seen)[1], [max(2 * first + 1, -1), max(second, -1)], rtol=1e-12)


@pytest.mark.parametrize("name", ["fast", "doom"])
@pytest.mark.parametrize("hidden", [(6,), (6, 4)])
def test_hidden_layers_take_the_place_of_a_worlds_linear_c(name: str, hidden: tuple[int, ...]) -> None:
    linear = game_of(name).control
    control = linear.with_hidden(hidden)
    vae, rnn = made_weights(name, linear)
    graph = with_control(build_policy(vae, rnn, control=linear).SerializeToString(), control)
    policy, hidden_of_m = GraphPolicy(graph, 3, True, control), rnn["lstm/recurrent_kernel"].shape[0]
    controller = RNG.normal(0, 0.3, (3, policy.parameters))
    assert control.parameters(rnn["lstm/kernel"].shape[0] - linear.actions, hidden_of_m) == policy.parameters
    for slot in range(3):
        policy.assign(slot, controller[slot], 0)
    h, c = RNG.normal(0, 0.3, (2, 3, hidden_of_m)).astype(np.float32)
    frames = RNG.integers(0, 256, (3, 64, 64, 3), np.uint8)
    for push in (0.0, 0.4):
        policy.memory, policy.push[:] = (h, c), push
        exact = tick(vae, rnn, pushed(controller, push, control), frames, h, c, np.float64,
                     replace(control, bias=True))
        np.testing.assert_allclose(policy.act(frames), exact["actions"], atol=1e-4)
        np.testing.assert_allclose(policy.memory[0], exact["h"], atol=1e-4)


def pushed(controller: npt.NDArray, push: float, control: Control) -> npt.NDArray:
    """Vectors with the outputs' b, to which ``push`` is added."""
    before = controller.shape[1] - control.actions * (control.hidden[-1] + int(control.bias))
    bias = controller[:, before:before + control.actions] if control.bias else np.zeros((len(controller), control.actions))
    after = controller[:, before + control.actions * int(control.bias):]
    return np.concatenate([controller[:, :before], bias + push, after], axis=1)


def test_the_shipped_worlds_v_and_m_are_the_same_with_hidden_layers() -> None:
    """In 8 bits too: with all of C at zero, both act alike, and must see and remember alike, to the bit."""
    linear, deep = WorldPolicy(found("carracing"), 2), WorldPolicy(found("carracing"), 2, hidden=[8, 4])
    assert deep.parameters == 8 * 289 + 4 * 9 + 3 * 5
    for policy in (linear, deep):
        for slot in range(2):
            policy.assign(slot, np.zeros(policy.parameters), 7)
    for _ in range(3):
        frames = RNG.integers(0, 256, (2, 64, 64, 3), np.uint8)
        (actions, z), (its_actions, its_z) = linear.look(frames), deep.look(frames)
        np.testing.assert_array_equal(z, its_z)
        np.testing.assert_array_equal(actions, its_actions)
        np.testing.assert_array_equal(linear.memory, deep.memory)


def test_games_are_told_by_their_spaces() -> None:
    lander = game_of("LunarLander-v3")
    assert (lander.observations, lander.control.kind, lander.control.actions, lander.max_frames, lander.solved) == (
        8, "choice", 4, 1000, (200.0, 100))
    walker = game_of("BipedalWalker-v3")
    assert (walker.observations, walker.control.kind, walker.control.actions, walker.max_frames) == (24, "squash", 4, 1600)
    own = game_of("test_games:Boxed")
    assert own.control.outputs == (Output(2, 0, -2), Output(2.5, 2.5, 0)) and solved_at("test_games:Boxed") is None
    for game in (lander, walker, own):  # a manifest is strict JSON
        assert Control.of(json.loads(json.dumps(game.control.describe(), allow_nan=False))) == game.control
    assert (game_of("doom").latents, game_of("doom").hidden, game_of("fast").frame) == (64, 512, "road")


def test_atari_is_pictures_and_a_choice() -> None:
    pytest.importorskip("ale_py", reason="ale-py is not installed: pip install -c constraints.txt -e '.[atari]'")
    breakout = game_of("ALE/Breakout-v5")
    assert breakout.pictures and breakout.frames == {"picture": Cut(210, 210)} and breakout.control.kind == "choice"
    env = make_env(EnvSpec("ALE/Breakout-v5", frame="picture"), 1)
    assert env.reset(seed=[1])[0].shape == (1, 64, 64, 3)
    assert env.step(np.eye(4)[1:2])[0].any()
    env.close()


@pytest.mark.parametrize("name,said", [
    ("Nope-v3", "cannot be used here .*give one of carracing"), ("Blackjack-v1", "shows Tuple.*wrap it"),
    ("CliffWalking-v1", "shows Discrete"), ("wm_mpi.envs.toy:Toy", "takes actions of Box"), ("no.such:Thing", "importable"),
    ("Nothing", "cannot be used here")])
def test_what_cannot_be_played_is_one_sentence(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as raised:
        game_of(name)
    assert "\n" not in str(raised.value)


def test_actions_arrive_in_the_environment_s_own_space() -> None:
    env = Acted(Boxed(), game_of("test_games:Boxed").control)
    env.reset(seed=1)
    assert env.step(np.array([1.0, 4.0]))[1] == 0
    lander = gymnasium.make("LunarLander-v3")
    acted = Acted(lander, game_of("LunarLander-v3").control)
    assert [acted.action(row) for row in np.eye(4)] == [0, 1, 2, 3]


def test_one_by_one_is_gymnasium_s_vector() -> None:
    ours, theirs = OneByOne([Boxed, Boxed]), SyncVectorEnv([Boxed, Boxed], autoreset_mode=AutoresetMode.DISABLED)
    np.testing.assert_array_equal(ours.reset(seed=[1, 2])[0], theirs.reset(seed=[1, 2])[0])
    for step in range(3):
        left, right = (env.step(np.full((2, 2), step, np.float32)) for env in (ours, theirs))
        for mine, other in zip(left[:4], right[:4], strict=True):
            np.testing.assert_array_equal(mine, other)
    ours.step(np.zeros((2, 2), np.float32))
    stood = ours.step(np.full((2, 2), np.nan))  # nobody is asked any more
    assert not stood[1].any() and not stood[2].any()
    mask = np.array([False, True])
    seen, _ = ours.reset(seed=[9, 9], options={"reset_mask": mask})
    _, rewards, *_ = ours.step(np.zeros((2, 2), np.float32))
    assert rewards[0] == 0 and rewards[1] == -17 and np.array_equal(seen[0], stood[0][0])


def test_a_game_is_made_for_its_first_episode() -> None:
    """Doom's is a process: a rank that validates one episode starts one."""
    made: list[Boxed] = []

    def make() -> gymnasium.Env:
        made.append(Boxed())
        return made[-1]

    control = game_of("test_games:Boxed").control
    rollout = Rollout(OneByOne([lambda: Acted(make(), control)] * 4), VectorPolicy(3, 4, control))
    assert len(made) == 1
    tasks = [Task(0, EpisodeSeed(number, 0)) for number in range(6)]
    parameters = np.linspace(-1, 1, 8)[None]
    (_, alone), = rollout.run(parameters, Listed([(0, tasks[0])]))
    assert len(made) == 1
    many = dict(rollout.run(parameters, Listed(enumerate(tasks))))
    assert len(made) == 4 and len(many) == 6 and many[0] == alone
    rollout._env.close()


def test_the_longest_episode_is_the_game_s() -> None:
    from wm_mpi.core.cli import parse
    from wm_mpi.core.config import EsConfig

    for name, frames, world in (("carracing", 1000, True), ("doom", 2100, True), ("BipedalWalker-v3", 1600, False)):
        config = settled(parse(EsConfig, "es", ["--env", name]))
        assert config.max_frames == frames and (config.world is not None) == world
    assert settled(parse(EsConfig, "es", ["--env", "doom", "--max-frames", "7"])).max_frames == 7
    for name, stuck in (("carracing", 100), ("toy", 100), ("doom", 0), ("LunarLander-v3", 0)):
        assert settled(parse(EsConfig, "es", ["--env", name])).stuck_frames == stuck
    assert settled(parse(EsConfig, "es", ["--env", "carracing", "--stuck-frames", "0"])).stuck_frames == 0


@pytest.mark.parametrize("kind", CONTROLS)
def test_held_actions(kind: str) -> None:
    control = CONTROLS[kind]
    policy = HeldPolicy(2, control)
    policy.assign(0, np.empty(0), 5)
    policy.assign(1, np.empty(0), 6)
    acted = np.stack([policy.act(np.zeros(2)) for _ in range(300)])
    changes = np.flatnonzero((np.diff(acted[:, 0], axis=0) != 0).any(axis=1))
    assert acted.shape == (300, 2, control.actions) and 30 < len(changes) < 150
    assert kind in ("choice", "switches") or np.diff(changes).max() <= 10
    low, high = acted.min(axis=(0, 1)), acted.max(axis=(0, 1))
    assert (low >= -1).all() and (high <= 1).all() and (high > 0.8).all()
    assert kind != "choice" or (acted.sum(axis=2) == 1).all()


def test_actions_held_for_longer() -> None:
    """Each episode has its own longest hold; up to 10 there is one for all, with the draws of the paper's 10."""
    control = CONTROLS["car"]

    def holds(longest: int | None, noise: int) -> list[int]:
        policy = HeldPolicy(1, control) if longest is None else HeldPolicy(1, control, longest)
        policy.assign(0, np.empty(0), noise)
        acted = np.stack([policy.act(np.zeros(1))[0, 0] for _ in range(3000)])
        return [int(each) for each in np.diff(np.flatnonzero(np.diff(acted)))]

    assert holds(None, 5) == holds(10, 5) and max(holds(3, 5)) == 3
    most = [max(holds(160, noise)) for noise in range(40)]
    assert max(most) <= 160 and min(most) >= 9 and 30 < float(np.median(most)) < 55 and max(most) > 120
    assert holds(160, 5) == holds(160, 5) != holds(160, 6)
    with pytest.raises(UserError, match="--longest-held 20 is for random actions that are held: not for --env fast, where"):
        collect.main(CollectConfig(longest_held=20))


def test_doom_depends_on_seed_and_actions_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vizdoom", reason="vizdoom is not installed: pip install -c constraints.txt -e '.[doom]'")
    monkeypatch.chdir(tmp_path)
    env = TakeCover()

    def play(seed: int) -> tuple[int, int]:
        seen, _ = env.reset(seed=seed)
        rng, total, frames = np.random.default_rng(seed), 0, 0
        while True:
            total += int(seen.sum())
            seen, reward, dead, *_ = env.step(rng.uniform(-1, 1, 1))
            frames += 1
            assert reward == 1 or dead
            if dead or frames == 400:
                return frames, total

    first = {seed: play(seed) for seed in (1, 2, 3)}
    assert {seed: play(seed) for seed in (3, 1, 2)} == first and len(set(first.values())) == 3
    picture, _ = env.reset(seed=4)
    env.close()
    vector = make_env(EnvSpec("doom", frame="view"), 1)
    np.testing.assert_array_equal(vector.reset(seed=[4])[0], shrink(picture[None], SHOWN_ROWS))
    vector.close()
    assert not list(tmp_path.iterdir()), "it leaves files where it is started"


@pytest.mark.parametrize("temperature", [0.3, 1.15])
def test_draws_are_the_paper_s(doom: Path, temperature: float) -> None:
    """The graph draws what the formula written out once more says of what M expects."""
    rnn, _ = load_arrays(doom / "world" / "rnn.h5", "")
    said_by, rows = Inference(rnn=rnn), 8
    state = [RNG.normal(0, 1, (rows, size)).astype(np.float32) for size in (64, 1, 512, 512)]
    chance, noise = RNG.random((rows, 64), np.float32), RNG.standard_normal((rows, 64), np.float32)
    session = open_session(build_dream(rnn).SerializeToString())
    z, h, ending = session.run(["z_next", "h_next", "termination"], dict(
        zip(("z", "actions", "h", "c"), state, strict=True)) | {
        "temperature": np.full((rows, 1), temperature, np.float32), "chance": chance, "noise": noise})
    said = said_by.expect(*state)
    weights = np.exp(said.logmix.astype(np.float64) / temperature)
    sums = weights.cumsum(axis=2) / weights.sum(axis=2, keepdims=True)
    chosen = (chance[..., None] > sums).sum(axis=2)
    sure = np.abs(chance[..., None] - sums).min(axis=2) > 1e-5  # else rounding decides
    assert sure.mean() > 0.99 and len(np.unique(chosen)) == 5
    mean, logstd = (np.take_along_axis(each, chosen[..., None], 2)[..., 0] for each in (said.mean, said.logstd))
    np.testing.assert_allclose(z[sure], (mean + np.exp(logstd) * np.sqrt(temperature) * noise)[sure], atol=1e-5)
    np.testing.assert_array_equal(h, said.h)
    np.testing.assert_array_equal(ending, said.termination)


def test_a_dream_does_not_depend_on_its_neighbours(doom: Path) -> None:
    """Nor on its slot, nor on the dream before it there, over more steps than are drawn at once."""
    def dreamt(width: int, slot: int, before: int = 0) -> list[np.ndarray]:
        dream = LatentDream.of(str(doom / "world"), width, 1.15, 50)
        dream._safe_frames = 50
        dream.reset(seed=[200 + each for each in range(width)])
        for step in range(before):
            dream.step(np.full((width, 1), np.cos(step)))
        seen, noise = [dream.reset(seed=[100 + (slot == each) for each in range(width)])[0][slot]], set()
        for step in range(2 * BLOCK + 3):
            observations, rewards, *_ = dream.step(np.full((width, 1), np.sin(step)))
            seen.append(observations[slot])
            noise.add(dream._noise[slot].tobytes())
            assert rewards[slot] == 1
        assert len(noise) == 3  # drawn anew for each block, and only then
        return seen

    alone = dreamt(4, 0)
    for others in (dreamt(4, 2), dreamt(4, 0, 7), dreamt(4, 3, BLOCK)):
        for left, right in zip(alone, others, strict=True):
            np.testing.assert_array_equal(left, right)


def test_doom_is_what_it_tells(doom: Path) -> None:
    manifest = read_json(doom / "world" / "manifest.json", Manifest, "")
    assert manifest["shapes"] == {"frames": [64, 64, 3], "latents": 64, "hidden": 512, "actions": 1, "parameters": 1088}
    with open_frames(doom / "frames") as data:
        assert data.frame == "view" and data.about["env"] == "doom"
        actions = data.read("actions", 0, len(data))
        assert actions.shape[1] == 1 and (actions < -1 / 3).any() and (actions > 1 / 3).any()


def test_short_episodes_teach_nothing() -> None:
    data: Any = SimpleNamespace(lengths=np.array([50, 300, 100, 101]))
    everything = np.arange(4)
    assert long_enough(data, everything, game_of("doom").dropped_frames).tolist() == [1, 3]
    assert long_enough(data, everything, game_of("fast").dropped_frames).tolist() == everything.tolist()
    assert long_enough(data, everything, 10_000).tolist() == everything.tolist()  # there must be something to learn from


def test_a_c_of_the_dream_is_the_same_on_any_ranks_and_resumed(doom: Path, tmp_path: Path) -> None:
    line = ("es", *DREAMT, "--world", doom / "world")
    succeed(*line, "--generations", 4, "--out", tmp_path / "ranks", ranks=3)
    succeed(*line, "--generations", 2, "--out", tmp_path / "resumed")
    succeed(*line, "--generations", 4, "--out", tmp_path / "resumed", ranks=2)
    for other in ("ranks", "resumed"):
        same(doom / "es", tmp_path / other)
    rows = metrics(doom / "es")
    assert [row["generation"] for row in rows if "eval_mean" in row] == [2, 4]


def test_a_c_of_the_dream_is_judged_in_the_game(doom: Path, tmp_path: Path) -> None:
    for flags, name in (((), "doom"), (("--env", "dream"), "dream")):
        file = tmp_path / "verdict.json"
        succeed("evaluate", "--run", doom / "es", "--episodes", 2, "--max-frames", 60, "--json", file, *flags)
        verdict = json.loads(file.read_text())
        assert verdict["env"]["env"] == name and verdict["env"].get("temperature") == (1.15 if name == "dream" else None)


def test_the_game_is_the_world_s_or_the_champion_s(doom: Path, pipeline: Path, tmp_path: Path) -> None:
    """Unless --env names one: es asks the world, collect the champion that plays, which was trained in a dream here."""
    succeed("es", "--preset", "smoke", "--world", doom / "world", "--max-frames", 40, *FEW, "--out", tmp_path / "real")
    succeed("collect", "--policy", doom / "es", "--episodes", 2, "--shard-episodes", 2, "--max-frames", 40, "--out",
            tmp_path / "frames")
    for place in ("real", "frames"):
        assert json.loads((tmp_path / place / "config.json").read_text())["env"] == "doom"
    assert meant_by("auto", None) == meant_by("auto", str(pipeline / "world")) == "fast"
    assert meant_by("gymnasium", str(doom / "world")) == "gymnasium"


def test_simple_ways_to_play_live_as_long_as_by_hand(doom: Path) -> None:
    pytest.importorskip("vizdoom", reason="vizdoom is not installed: pip install -c constraints.txt -e '.[doom]'")
    manifest = load_manifest(doom / "world")
    game = replace(game_of("doom"), max_frames=250)
    rnn, first = weights_in(doom / "world", manifest, "rnn.h5"), beginnings(doom / "world", manifest)
    lived = probe_survival(rnn, first, "doom", game, "view")
    assert [each.name for each in lived] == ["always left", "always none", "always right", "to and fro"]
    env, played = make_env(EnvSpec("doom", 250, frame="view"), 1), []
    for episode in range(EPISODES):
        env.reset(seed=[SEED + episode], options={"reset_mask": np.ones(1, np.bool_)})
        played.append(1)
        while not any(ended[0] for ended in env.step(np.full((1, 1), -1.0))[2:4]):
            played[-1] += 1
    assert lived[0].real == np.mean(played) and 50 < lived[0].real < 250
    assert all(1 <= each.dreamt <= 250 for each in lived)
    cheats = [Lived("always left", 100, 900), Lived("to and fro", 300, 400)]
    assert table(cheats).splitlines()[-1].startswith("always left lives 9.0 times as long in the dream, where C will")
    assert table(cheats[1:]).splitlines()[-1].startswith("no simple way lives more than 1.3 times as long in the dream")
    assert describe(cheats)["always left"] == {"real": 100, "dreamt": 900}


@pytest.mark.parametrize("name,last", [("doom", 1 / 11), ("fast", 1 / 2)])
def test_a_dream_ends_where_m_finds_that_likely_enough(name: str, last: float, doom: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """Doom's ends count tenfold, so that odds of 1 to 10 are enough; in CarRacing an end has to be likelier than not."""
    assert 1 / (1 + math.exp(-GAMES[name].dream_end)) == pytest.approx(last)
    dream = LatentDream.of(str(doom / "world"), 4, 1.0, 40)
    monkeypatch.setattr(dream, "_end", GAMES[name].dream_end)
    run = dream._session.run
    for chance, frames in ((last - 0.01, 40), (last + 0.01, 1)):

        def fixed(names: list[str], feed: dict, chance: float = chance) -> list[np.ndarray]:
            *others, termination = run(names, feed)
            return [*others, np.full_like(termination, np.log(chance / (1 - chance)))]

        monkeypatch.setattr(dream, "_session", SimpleNamespace(run=fixed))
        dream.reset(seed=[0, 1, 2, 3])  # type: ignore[arg-type]
        while not dream._ended.all():
            dream.step(np.zeros((4, 1)))
        assert dream._steps.tolist() == [frames] * 4


def test_temperatures_are_compared(doom: Path, tmp_path: Path) -> None:
    """Each temperature's run is es's own, the table says what is in its verdicts, and nothing is played twice."""
    line = ("temperatures", "--preset", "smoke", "--world", doom / "world", "--temperatures", 0.5, 1.3, *FEW)
    said = succeed(*line, "--out", tmp_path / "table", ranks=2)
    rows = json.loads((tmp_path / "table" / "temperatures.json").read_text())["rows"]
    assert [row["temperature"] for row in rows] == [0.5, 1.3] and (tmp_path / "table" / "temperatures.png").exists()
    card = (tmp_path / "table" / "temperatures.md").read_text()
    for row, theirs in zip(rows, ("2060 | 196", "732 | 753"), strict=True):
        assert f"| {row['temperature']:g} | {row['dream']['mean']:.0f} ± " in card and f"{theirs} |" in card
        assert (row["dream"]["env"]["env"], row["real"]["env"]["env"]) == ("dream", "doom")
        assert row["dream"]["env"]["temperature"] == row["temperature"]
        assert f"{row['temperature']:.2f}" in said and f"{row['real']['mean']:.0f} ± {row['real']['std']:.0f}" in said
    succeed("es", "--env", "dream", "--world", doom / "world", "--temperature", 1.3, "--popsize", 4, "--episodes", 1,
            "--generations", 2, "--max-frames", 60, "--eval-every", 2, "--eval-episodes", 2, "--stuck-frames", 0, *FEW,
            "--out", tmp_path / "es")
    same(tmp_path / "es", tmp_path / "table" / "1.3")
    files = [tmp_path / "table" / at / f"{name}.jsonl" for at in ("0.5", "1.3") for name in ("metrics", "evaluations")]
    before = [each.read_bytes() for each in files]
    succeed(*line, "--out", tmp_path / "table")
    assert [each.read_bytes() for each in files] == before
    for wrong, why in (((0.5, 0), "has 0.0"), ((1, 1), "each of them once")):
        assert why in refuse("temperatures", "--temperatures", *wrong, "--out", tmp_path / "no")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("flags,said", [
    (("--env", "dream", "--temperature", 0), "--temperature is 0"),
    (("--env", "toy", "--temperature", 1), "are for --env dream"),
    (("--env", "doom"), "is a world of carracing, not of doom: give --env carracing, or"),
    (("--hidden", 4, 0), "--hidden is 0"), (("--env", "LunarLander-v3", "--hidden", -1), "--hidden is -1")])
def test_what_does_not_fit_is_one_sentence(flags: tuple, said: str, tmp_path: Path) -> None:
    assert said in refuse("es", "--preset", "smoke", "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run" / "config.json").exists()


def test_es_and_evaluate_on_vectors(tmp_path: Path) -> None:
    line = ("es", "--preset", "smoke", "--env", "LunarLander-v3", "--hidden", 4, "--max-frames", 60)
    succeed(*line, "--out", tmp_path / "one")
    succeed(*line, "--out", tmp_path / "three", ranks=3)
    same(tmp_path / "one", tmp_path / "three")
    said = succeed("evaluate", "--run", tmp_path / "one", "--episodes", 2, "--max-frames", 60)
    assert "not solved: that takes a mean of at least 200 over at least 100" in said and "laps" not in said


def test_hidden_layers_from_training_to_the_card(pipeline: Path, tmp_path: Path) -> None:
    line = ("es", "--preset", "smoke", "--world", pipeline / "world", "--hidden", 8, 4, "--strategy", "openes",
            "--popsize", 6, "--max-frames", 60)
    one, three, card = (tmp_path / name for name in ("one", "three", "card"))
    succeed(*line, "--out", one)
    succeed(*line, "--generations", 1, "--out", three)
    succeed(*line, "--out", three, ranks=3)  # goes on
    same(one, three)
    assert len(load_arrays(one / "champion.h5", "")[0]["parameters"]) == 8 * 289 + 4 * 9 + 3 * 5
    assert "mean" in succeed("evaluate", "--run", one, "--episodes", 2, "--max-frames", 60)
    succeed("collect", "--policy", one, "--episodes", 1, "--max-frames", 20, "--out", tmp_path / "frames")
    succeed("watch", "--run", one, "--max-frames", 20, "--sheet", tmp_path / "sheet.png")
    succeed("export", "--run", one, "--out", card)
    told = (card / "README.md").read_text()
    assert "C (with 8 and 4 hidden units, 2363 numbers)" in told and "--hidden 8 4" in told
    assert "one has hidden layers (--hidden), but refit" in refuse("refit", "--run", one, "--world", pipeline / "world",
                                                                   "--data", pipeline / "frames", "--out", tmp_path / "c.h5")
    assert "but the paper's code has a linear one" in refuse("export", "--run", one, "--published", tmp_path / "published")
    said = refuse("es", "--preset", "smoke", "--world", pipeline / "world", "--init", one, "--out", tmp_path / "on")
    assert "its C has 2,363 numbers, not 867" in said and not (tmp_path / "on").exists()


def test_hidden_layers_in_a_dream(doom: Path, tmp_path: Path) -> None:
    line = ("es", *DREAMT, "--world", doom / "world", "--hidden", 4)
    succeed(*line, "--out", tmp_path / "one")
    succeed(*line, "--out", tmp_path / "three", ranks=3)
    same(tmp_path / "one", tmp_path / "three")
    for place in ("doom", "dream"):
        said = succeed("evaluate", "--run", tmp_path / "one", "--env", place, "--episodes", 1, "--max-frames", 40)
        assert "mean" in said
    succeed("watch", "--run", tmp_path / "one", "--dream", "--max-frames", 10, "--sheet", tmp_path / "sheet.png")


def test_a_champion_is_judged_where_it_was_trained(tmp_path: Path) -> None:
    shutil.copytree(PRETRAINED / "carracing", tmp_path / "run")
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    for trained_in, judged_in in (("fast", "fast"), ("gymnasium", "gymnasium"), ("dream", "fast")):
        (tmp_path / "run" / "config.json").write_text(json.dumps(settings | {"env": trained_in}))
        trained = load_trained(str(tmp_path / "run"), env=None, world=None, max_frames=None, lap_complete_percent=None,
                               deterministic=None)
        assert (trained.spec.name, trained.spec.max_frames) == (judged_in, 1000)


def test_the_command_line_knows_the_games() -> None:
    assert set(BUILT_IN) == {*GAMES, DREAM} and BUILT_IN[0] == "fast"


def test_what_games_have_in_common() -> None:
    assert Game.max_frames == 1000 and {game_of(name).max_frames for name in ("fast", "gymnasium", "toy")} == {1000}
