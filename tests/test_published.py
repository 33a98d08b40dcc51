"""What the paper's authors published, against their formulas written out once more, which share nothing with ours."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, refuse, succeed, wm

from wm_mpi import adopt, export
from wm_mpi.core.config import AdoptConfig, ExportConfig
from wm_mpi.core.errors import UserError
from wm_mpi.data.arrays import load_arrays
from wm_mpi.envs.frame import stretch
from wm_mpi.evolution.champion import load_trained
from wm_mpi.world.graph import build_encoder
from wm_mpi.world.inference import Inference
from wm_mpi.world.latent_dream import LatentDream
from wm_mpi.world.policy import WorldPolicy, run_encoder
from wm_mpi.world.published import NAMES, Published, read_published, read_vae, write_published

REFERENCE = ROOT.parent / "shared" / "reference"
NO_FILES = f"no published weights: put the files of the paper's authors at {REFERENCE}"
RNG = np.random.default_rng(2018)
SIZES = {"carracing": (32, 256, 3), "doom": (64, 512, 1)}
"""Latents, units, actions."""
GAMES = tuple(SIZES)


# --- files of their shapes --------------------------------------------------------------------------------------------
def numbers(*shape: int, inputs: int = 400) -> list:
    return np.rint(RNG.normal(0, 10_000 / np.sqrt(inputs), shape)).astype(int).tolist()


def write(path: Path, value: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, separators=(",", ":")).replace("[", "[\n").replace(",", ",\n").replace("]", "\n]"))


def made_vae(latents: int) -> list:
    shapes = [((4, 4, 3, 32), 48), ((4, 4, 32, 64), 512), ((4, 4, 64, 128), 1024), ((4, 4, 128, 256), 2048),
              ((1024, latents), 1024), ((1024, latents), 4096), ((latents, 1024), latents), ((5, 5, 128, 1024), 1024),
              ((5, 5, 64, 128), 800), ((6, 6, 32, 64), 576), ((6, 6, 3, 32), 288)]
    biases = [32, 64, 128, 256, latents, latents, 1024, 128, 64, 32, 3]
    return [each for (shape, inputs), bias in zip(shapes, biases, strict=True)
            for each in (numbers(*shape, inputs=inputs), numbers(bias))]


def made_rnn(game: str) -> list:
    latents, hidden, actions = SIZES[game]
    flag = int(game == "doom")
    outputs, inputs = 15 * latents + flag, latents + actions + flag
    return [numbers(hidden, outputs), numbers(outputs), numbers(inputs + hidden, 4 * hidden), numbers(4 * hidden)]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of both games, made of random numbers, in the folders that the authors' repository has."""
    place = tmp_path_factory.mktemp("published")
    for game, (latents, *_) in SIZES.items():
        doom = game == "doom"
        folders = ("tf_models",) * 3 if doom else ("vae", "rnn", "initial_z")
        for folder, name, value in zip(folders, ("vae", "rnn", "initial_z"), (
                made_vae(latents), made_rnn(game), [numbers(5, latents), numbers(5, latents)]), strict=True):
            write(place / game / folder / f"{name}.json", value)
        size = 1088 if doom else 867
        write(place / game / "log" / f"{NAMES['doom' if doom else 'fast']}.cma.16.64.best.json",
              [RNG.normal(0, 0.2, size).round(4).tolist(), 900.460571875])
        write(place / game / "log" / "x.cma.16.64.hist_best.json", [])
    return {game: place / game for game in SIZES}


@pytest.fixture(scope="module")
def adopted(published: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What adopt makes of them: a world and a run in one directory each."""
    place = tmp_path_factory.mktemp("adopted")
    for game, files in published.items():
        adopt.main(AdoptConfig(published=str(files), out=str(place / game)))
    return {game: place / game for game in published}


@pytest.fixture
def known_v(adopted: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """V is not read anew, which takes seconds."""
    def read(path: Path) -> dict[str, np.ndarray]:
        game = "doom" if path.parent.name == "tf_models" else "carracing"
        return load_arrays(adopted[game] / "vae.h5", "")[0]

    monkeypatch.setattr("wm_mpi.world.published.read_vae", read)


def exact(path: Path) -> list[np.ndarray]:
    return [np.array(each) / 10_000 for each in json.loads(path.read_text())]


# --- their formulas ---------------------------------------------------------------------------------------------------
def their_frame(picture: np.ndarray, rows: int) -> np.ndarray:
    """imresize and what came after, in floats: the triangle's weights of each new pixel, at its own support."""
    seen = picture[:rows] / 255
    seen = np.floor((seen - seen.min()) * 255 / (seen.max() - seen.min() or 1) + 0.5)
    for axis, size in ((1, picture.shape[1]), (0, rows)):
        scale = size / 64
        centres = (np.arange(64)[:, None] + 0.5) * scale
        weights = np.maximum(0, 1 - abs(np.arange(size)[None] + 0.5 - centres) / max(scale, 1))
        weights /= weights.sum(axis=1, keepdims=True)
        seen = np.moveaxis(np.rint(np.tensordot(weights, seen, axes=(1, axis))), 0, axis)
    return np.round((1.0 - seen) * 255).astype(int) % 256


def their_encoder(layers: list, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mu and log variance of frames [B, 64, 64, 3] of 0..1, pixel by pixel of each layer."""
    picture = frames
    for kernel, bias in zip(layers[0:8:2], layers[1:8:2], strict=True):
        size = (picture.shape[1] - 4) // 2 + 1
        following = np.zeros((len(picture), size, size, kernel.shape[-1]))
        for row in range(size):
            for column in range(size):
                patch = picture[:, 2 * row:2 * row + 4, 2 * column:2 * column + 4]
                following[:, row, column] = np.tensordot(patch, kernel, axes=3) + bias
        picture = np.maximum(following, 0)
    flat = picture.reshape(len(picture), -1)
    return flat @ layers[8] + layers[9], flat @ layers[10] + layers[11]


def their_decoder(layers: list, z: np.ndarray) -> np.ndarray:
    """A dense layer without activation, then each pixel stamps its kernel onto the next picture; 0..1."""
    picture = (z @ layers[12] + layers[13]).reshape(len(z), 1, 1, 1024)
    for number, (kernel, bias) in enumerate(zip(layers[14::2], layers[15::2], strict=True)):
        size, width = picture.shape[1], kernel.shape[0]
        painted = np.zeros((len(z), 2 * (size - 1) + width, 2 * (size - 1) + width, kernel.shape[2])) + bias
        for row in range(size):
            for column in range(size):
                stamp = np.einsum("bi,hwoi->bhwo", picture[:, row, column], kernel)
                painted[:, 2 * row:2 * row + width, 2 * column:2 * column + width] += stamp
        picture = 1 / (1 + np.exp(-painted)) if number == 3 else np.maximum(painted, 0)
    return picture


def sigmoid(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


class Theirs:
    """Their M and C of one game; the flag is 1 on the first frame, when the state is zero."""

    def __init__(self, game: str, rnn: list, parameters: list, batch: int) -> None:
        self.latents, hidden, self.actions = SIZES[game]
        self.doom, self.rnn, self.parameters = game == "doom", rnn, np.array(parameters)
        self.h, self.c = np.zeros((2, batch, hidden))
        self.first = True

    def act(self, z: np.ndarray) -> np.ndarray:
        if self.doom:
            return np.tanh(np.concatenate([z, self.c, self.h], axis=1) @ self.parameters.reshape(-1, 1))
        action = np.tanh(np.concatenate([z, self.h], axis=1) @ self.parameters[3:].reshape(288, 3) + self.parameters[:3])
        return np.stack([action[:, 0], (action[:, 1] + 1) / 2, np.clip(action[:, 2], 0, 1)], axis=1)

    def step(self, z: np.ndarray, action: np.ndarray) -> np.ndarray:
        kernel, bias, cell, cell_bias = self.rnn
        seen = np.concatenate([z, action, *([np.full((len(z), 1), float(self.first))] * self.doom), self.h], axis=1)
        i, j, f, o = np.split(seen @ cell + cell_bias, 4, axis=1)
        self.c = sigmoid(f + 1) * self.c + sigmoid(i) * np.tanh(j)
        self.h = sigmoid(o) * np.tanh(self.c)
        self.first = False
        return self.h @ kernel + bias


def test_their_frames() -> None:
    for height, width, rows, lowest, highest in ((96, 96, 84, 0, 256), (96, 96, 84, 30, 180), (480, 640, 400, 5, 250)):
        grain = RNG.integers(lowest, highest, (height // 8, width // 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        ours, theirs = stretch(grain[None], rows)[0].astype(int), their_frame(grain, rows)
        off = abs(ours - theirs)
        off = np.minimum(off, 256 - off)  # black is white
        assert off.max() <= 1 and (off > 0).mean() < 0.02
    flat = np.full((2, 96, 96, 3), 7, np.uint8)
    flat[1, 0, 0], flat[1, 90] = 200, 255  # what lies in the bar counts for nothing
    ours = stretch(flat, 84)
    assert (ours[0] == 255).all() and ours[1, -1].min() == 255 and 100 < ours[1, 0, 0, 0] < 255


@pytest.mark.parametrize("game", GAMES)
def test_v_and_the_first_frames(game: str, published: dict[str, Path], adopted: dict[str, Path]) -> None:
    vae, = published[game].rglob("vae.json")
    layers = exact(vae)
    frames = RNG.integers(0, 256, (2, 64, 64, 3), np.uint8)
    policy = WorldPolicy(adopted[game], 2, deterministic=True)
    for slot in range(2):
        policy.assign(slot, np.zeros(policy.parameters), 0)
    mu, logvar = their_encoder(layers, frames / 255)
    np.testing.assert_allclose(policy.look(frames)[1], mu, atol=1e-4)
    encode = run_encoder(build_encoder(read_vae(vae)).SerializeToString())
    np.testing.assert_allclose(encode(frames)["logvar"], logvar, atol=1e-4)
    z = RNG.normal(0, 1, (2, SIZES[game][0])).astype(np.float32)
    np.testing.assert_allclose(Inference.of(adopted[game]).decode(z), 255 * their_decoder(layers, z), atol=0.51)
    first, = published[game].rglob("initial_z.json")
    for name, value in zip(("mu", "logvar"), exact(first), strict=True):
        np.testing.assert_allclose(load_arrays(adopted[game] / "beginnings.h5", "")[0][name], value, atol=1e-6)


def compare(game: str, rnn: list, parameters: list, world: Path) -> None:
    """Ticks of M and C from an episode's first frame on: what M expects, what C does, and M's state."""
    latents, hidden, actions = SIZES[game]
    memory, policy = Inference.of(world), WorldPolicy(world, 2, deterministic=True)
    theirs = Theirs(game, rnn, parameters, 2)
    own = load_trained(str(world), env=None, world=None, max_frames=None, lap_complete_percent=None, deterministic=None)
    for slot in range(2):
        policy.assign(slot, own.parameters, 0)
    h, c = np.zeros((2, 2, memory.hidden), np.float32)
    for _ in range(4):
        frames = RNG.integers(0, 256, (2, 64, 64, 3), np.uint8)
        acted, z = policy.look(frames)
        action = theirs.act(z)
        np.testing.assert_allclose(acted, action, atol=1e-4)
        said, out = memory.expect(z, acted, h, c), theirs.step(z, action)
        h, c = said.h, said.c
        for state in (h, policy.memory[0]):
            np.testing.assert_allclose(state[:, :hidden], theirs.h, atol=1e-4)
        for state in (c, policy.memory[1]):
            np.testing.assert_allclose(state[:, :hidden], theirs.c, atol=1e-4)
        density = out[:, int(theirs.doom):].reshape(2, latents, 15)
        logmix = density[..., :5] - np.log(np.exp(density[..., :5]).sum(axis=-1, keepdims=True))
        np.testing.assert_allclose(said.logmix, logmix, atol=1e-3)
        np.testing.assert_allclose(said.mean, density[..., 5:10], atol=1e-3)
        np.testing.assert_allclose(said.logstd, np.clip(density[..., 10:], -7, 7), atol=1e-3)
        np.testing.assert_allclose(said.termination, out[:, 0] - np.log(10) if theirs.doom else -20, atol=1e-3)
        assert not said.reward.any()


@pytest.mark.parametrize("game", GAMES)
def test_m_and_c(game: str, published: dict[str, Path], adopted: dict[str, Path]) -> None:
    rnn, = published[game].rglob("rnn.json")
    controller, = published[game].rglob("*.best.json")
    compare(game, exact(rnn), json.loads(controller.read_text())[0], adopted[game])


# --- theirs -----------------------------------------------------------------------------------------------------------
@pytest.mark.skipif(not (REFERENCE / "carracing" / "rnn.json").exists(), reason=NO_FILES)
@pytest.mark.usefixtures("known_v")
@pytest.mark.parametrize("game", GAMES)
def test_the_real_files(game: str, published: dict[str, Path], tmp_path: Path) -> None:
    """V is made, and so is Doom's M; read, compared, and written to the byte."""
    place, real = shutil.copytree(published[game], tmp_path / "files"), REFERENCE / game
    names = ["initial_z.json", "rnn.json"] if game == "carracing" else ["initial_z.json"]
    for name in names:
        there, = place.rglob(name)
        shutil.copyfile(real / name, there)
    controller, = real.glob("*.best.json")
    shutil.copyfile(controller, place / "log" / controller.name)
    adopt.main(AdoptConfig(published=str(place), out=str(tmp_path / "world")))
    rnn, = place.rglob("rnn.json")
    parameters, score = json.loads(controller.read_text())
    compare(game, exact(rnn), parameters, tmp_path / "world")
    arrays, about = load_arrays(tmp_path / "world" / "champion.h5", "")
    assert about["validation_mean"] == score == (900.460571875 if game == "carracing" else 958.505859375)
    export.main(ExportConfig(run=str(tmp_path / "world"), published=str(tmp_path / "again")))
    for name in names:
        assert json.loads((real / name).read_text()) == json.loads((tmp_path / "again" / name).read_text())
    same = {"rnn.json": rnn, f"{NAMES['fast' if game == 'carracing' else 'doom']}.best.json": controller}
    for name, path in same.items():
        assert (tmp_path / "again" / name).read_bytes() == path.read_bytes(), name
    dream = len(load_arrays(tmp_path / "world" / "beginnings.h5", "")[0]["mu"])
    assert dream == (1 if game == "carracing" else 1000)


# --- there and back ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("game", GAMES)
def test_what_is_written_is_what_was_read(game: str, published: dict[str, Path], adopted: dict[str, Path],
                                          tmp_path: Path) -> None:
    export.main(ExportConfig(run=str(adopted[game]), published=str(tmp_path)))
    for path in tmp_path.iterdir():
        theirs = path.name.replace(".best", ".cma.16.64.best")
        before, = published[game].rglob(theirs)
        assert before.read_bytes() == path.read_bytes(), path.name
    assert len(list(tmp_path.iterdir())) == 4


def test_what_ships_is_written_with_a_warning(tmp_path: Path) -> None:
    done = wm("export", "--run", "carracing", "--published", tmp_path / "files")
    assert done.returncode == 0
    assert "finished: carracing.best.json, initial_z.json, rnn.json, vae.json in" in done.stdout
    assert "V sees whole frames, but the paper's code" in done.stderr and "C was trained on the mean of z" in done.stderr
    found = read_published(tmp_path / "files")
    ours = load_arrays(ROOT / "wm_mpi" / "pretrained" / "carracing" / "rnn.h5", "")[0]
    for name in ("lstm/kernel", "lstm/recurrent_kernel", "lstm/bias", "mdn/kernel", "mdn/bias"):
        np.testing.assert_allclose(found.rnn[name], ours[name].astype(np.float32), atol=6e-5)
    champion = load_arrays(ROOT / "wm_mpi" / "pretrained" / "carracing" / "champion.h5", "")[0]["parameters"]
    np.testing.assert_array_equal(found.parameters, champion)


def test_what_their_code_cannot_take(adopted: dict[str, Path], tmp_path: Path) -> None:
    rnn, vae = (load_arrays(adopted["doom"] / name, "")[0] for name in ("rnn.h5", "vae.h5"))
    narrow = {name: value[..., :-15] if name.startswith("mdn") else value for name, value in rnn.items()}
    for what, said in (
            (Published("doom", vae, narrow, None, None),
             "X has 63 latents, but the paper's code for doom takes 64: train V and M anew with --latents 64"),
            (Published("fast", vae, rnn, None, None), "X has 64 latents"),
            (Published("doom", vae, rnn, None, np.ones(1090)), "C of X looks at the unit of M that tells the first frame")):
        with pytest.raises(UserError, match=said):
            write_published(tmp_path / "out", what, "X")
    with pytest.raises(UserError, match="was adopted from the paper's authors' files.*give --published DIR"):
        export.main(ExportConfig(run=str(adopted["doom"]), out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


# --- playing ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("flags", [("carracing",), ("doom",), ("doom", "--env", "dream")], ids=" ".join)
def test_it_plays(flags: tuple[str, ...], adopted: dict[str, Path], tmp_path: Path) -> None:
    game, *rest = flags
    if not rest and game == "doom":
        pytest.importorskip("vizdoom", reason="vizdoom is not installed: pip install -c constraints.txt -e '.[doom]'")
    succeed("evaluate", "--run", adopted[game], "--episodes", 2, "--max-frames", 12, "--width", 2, *rest, "--json",
            tmp_path / "verdict.json")
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["env"]["frame"] == "published" and verdict["deterministic"] is False
    assert verdict["env"]["env"] == ("dream" if rest else "fast" if game == "carracing" else "doom")
    assert not rest or verdict["env"]["temperature"] == 1.25


def test_doom_dreams_begin_where_they_are_told_to(adopted: dict[str, Path]) -> None:
    dream = LatentDream.of(str(adopted["doom"]), 64, 1.25, 2100)
    arrays = load_arrays(adopted["doom"] / "beginnings.h5", "")[0]
    z = dream.reset(seed=list(range(64)))[0][:, :64]
    off = (z[:, None] - arrays["mu"]) / np.exp(arrays["logvar"] / 2)
    nearest = np.sqrt((off**2).mean(axis=2)).argmin(axis=1)
    assert set(nearest) == set(range(5)) and 0.8 < off[np.arange(64), nearest].std() < 1.2


# --- what is wrong ----------------------------------------------------------------------------------------------------
NO_LIST, NO_SCORE = "not a list of arrays of numbers", "does not hold a list of parameters and a score"
BAD = {
    "vae.json": [
        ("", "is damaged"), ("[1, 2", "is damaged"), ("{}", "of another version, or damaged"), ('[["a"]]', NO_LIST),
        ("[[[1], [1, 2]]]", NO_LIST), ("[[1], [2]]", "holds 2 arrays, but a vae.json 22"),
        ("[[1], [1e999]]", "array 1 has numbers that are not finite"),
        (json.dumps([[0]] * 22), r"array 0, encoder/conv1/kernel, has shape \(1,\), not \(4, 4, 3, 32\)")],
    "rnn.json": [
        ("[[[1]], [1], [[1]], [1]]", r"shapes \(1, 1\), \(1,\), \(1, 1\), \(1,\), which is neither CarRacing's M nor Doom")],
    "initial_z.json": [
        ("[[[1]], [[1]]]", "does not hold mu and log variance of 32 latents each")],
    "carracing.cma.16.64.best.json": [
        ("3", "of another version, or damaged"), ("[[1, 2]]", NO_SCORE), ('[[1, "x"], 2]', NO_SCORE),
        ("[[1], null]", NO_SCORE), ("[[1, 2.5], 900]", r"shape \(2,\), but C for carracing has \(867,\)"),
        (json.dumps([[0.5] * 866 + [float("nan")], 900]), "not finite")]}


@pytest.mark.parametrize("name", BAD)
def test_damaged_files_are_one_sentence(name: str, published: dict[str, Path], tmp_path: Path,
                                        request: pytest.FixtureRequest) -> None:
    place = shutil.copytree(published["carracing"], tmp_path / "files")
    if name != "vae.json":
        request.getfixturevalue("known_v")
    bad, = place.rglob(name)
    for text, said in BAD[name]:
        bad.write_text(text)
        with pytest.raises(UserError, match=said) as refused:
            adopt.main(AdoptConfig(published=str(place), out=str(tmp_path / "out")))
        assert str(bad) in str(refused.value) and "\n" not in str(refused.value)
        assert "github.com/hardmaru/WorldModelsExperiments" in str(refused.value)
    assert not (tmp_path / "out").exists() and [each.name for each in tmp_path.iterdir()] == ["files"]


@pytest.mark.usefixtures("known_v")
def test_what_is_not_there_and_what_is_in_the_way(published: dict[str, Path], tmp_path: Path) -> None:
    assert "no directory: give --published the folder" in refuse("adopt", cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    (tmp_path / "empty").mkdir()

    def refused(files: Path, out: Path = tmp_path / "out") -> str:
        with pytest.raises(UserError) as error:
            adopt.main(AdoptConfig(published=str(files), out=str(out)))
        return str(error.value)

    assert f"{tmp_path / 'empty'} has no vae.json" in refused(tmp_path / "empty")
    place = shutil.copytree(published["carracing"], tmp_path / "files")
    (place / "other.best.json").write_text("[]")
    assert "several controllers (carracing.cma.16.64.best.json, other.best.json)" in refused(place)
    (place / "other.best.json").unlink()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "champion.h5").write_text("mine")
    assert "was not made by adopt: give another --out" in refused(place, tmp_path / "mine")
    assert (tmp_path / "mine" / "champion.h5").read_text() == "mine"
    shutil.copyfile(next(published["doom"].rglob("rnn.json")), place / "rnn" / "rnn.json")
    assert "rnn.json is of 64 latents, but its vae.json of 32" in refused(place)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("known_v")
def test_a_world_without_a_champion(published: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, out = shutil.copytree(published["carracing"], tmp_path / "files"), tmp_path / "out"
    adopt.main(AdoptConfig(published=str(place), out=str(out)))
    assert "and its champion (900.5 by its authors' count)" in capsys.readouterr().out
    shutil.rmtree(place / "log")
    shutil.rmtree(place / "initial_z")
    adopt.main(AdoptConfig(published=str(place), out=str(out)))
    said = capsys.readouterr().out
    assert "nobody can dream in this world" in said and "without a champion" in said
    assert not (out / "champion.h5").exists() and not (out / "beginnings.h5").exists()
    with pytest.raises(UserError, match="has no beginnings.h5"):
        LatentDream.of(str(out), 1, 1.0, 10)
