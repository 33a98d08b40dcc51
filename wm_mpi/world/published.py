"""V, M and C in the files of the paper's authors (2018), read and written: JSON lists of round(10,000 x) each.

``vae.json``: kernel and bias of four convolutions, mu, log variance, a dense layer and four transposed convolutions, in our
layouts already. ``rnn.json``: four arrays, see ``published_rnn``. ``initial_z.json``: V's mu and log variance of first
frames. ``*.best.json``: C as it is, and its score.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.core.errors import UserError
from wm_mpi.core.files import read_json, replaced_together, write_text
from wm_mpi.envs import Game, family, game_of
from wm_mpi.world.published_rnn import Arrays, Floats, has_start, our_rnn, their_rnn, without_start
from wm_mpi.world.weights import MIXTURES, Weights, actions_of, hidden_of, latents_of

SCALE = 10_000
LAYERS = ("encoder/conv1", "encoder/conv2", "encoder/conv3", "encoder/conv4", "encoder/mu", "encoder/logvar",
          "decoder/dense", "decoder/deconv1", "decoder/deconv2", "decoder/deconv3", "decoder/deconv4")
"""V's, in the order of vae.json, each a kernel and a bias."""
NAMES = {"fast": "carracing", "doom": "doomrnn"}
"""What the authors call games, whose names begin those of controllers."""
PLACES = ("", "vae", "rnn", "initial_z", "log", "tf_models")
"""Where files lie in the folders of their repository; the first is the folder itself."""
WHENCE = "take it from the repository of the paper's authors, github.com/hardmaru/WorldModelsExperiments"


@dataclass(frozen=True)
class Published:
    """What the files hold, as this package has it."""

    game: str
    """``fast`` or ``doom``."""
    vae: Arrays
    """By the names of ``models.vae``."""
    rnn: Arrays
    """By the names of ``models.rnn``; Doom's M has a unit more than theirs, see ``published_rnn``."""
    beginnings: Arrays | None
    """mu and logvar [N, L] of first frames, where there are any."""
    parameters: Floats | None
    """C's, shape (P,), where there is a C."""
    score: float = 0.0
    """C's mean return, as they judged it."""


def read_published(directory: Path) -> Published:
    """V, M, first latents and C of one game, which the shape of ``rnn.json`` tells; the last two may be missing.

    Args:
        directory: with the files in it, or in the folders that their repository has.

    Raises:
        UserError: V or M is missing; something is damaged, or does not fit the rest.
    """
    if not directory.is_dir():
        raise UserError(f"{directory} is no directory: give --published the folder carracing or doomrnn of a clone of "
                        "github.com/hardmaru/WorldModelsExperiments, or one with their vae.json and rnn.json")
    first, controllers = _find(directory, "initial_z.json"), _find(directory, "*.best.json")
    if len(controllers) > 1:
        raise UserError(f"{directory} has several controllers ({', '.join(path.name for path in controllers)}): leave one "
                        "there")
    vae = read_vae(_the(directory, "vae.json"))
    path = _the(directory, "rnn.json")
    name, rnn = read_rnn(path)
    latents = latents_of(rnn)
    if vae["encoder/mu/bias"].size != latents:
        raise UserError(f"{path} is of {latents} latents, but its vae.json of {vae['encoder/mu/bias'].size}: they are not "
                        "of one game")
    beginnings = read_beginnings(first[0], latents) if first else None
    if not controllers:
        return Published(name, vae, rnn, beginnings, None)
    parameters, score = read_controller(controllers[0], name, latents)
    return Published(name, vae, rnn, beginnings, parameters, score)


def write_published(directory: Path, what: Published, name: str) -> list[str]:
    """What ``read_published`` reads, all of it or nothing; gives the files' names.

    Args:
        directory: is made if need be.
        what: from a world and its champion.
        name: of that world, for errors.

    Raises:
        UserError: V, M or C has another shape than theirs.
    """
    game = game_of(what.game)
    rnn, restart = without_start(what.rnn)
    for said, found, theirs, flag in (("latents", latents_of(rnn), game.latents, "--latents"),
                                      ("units in M", hidden_of(rnn), game.hidden, "--hidden")):
        if found != theirs:
            raise UserError(f"{name} has {found} {said}, but the paper's code for {family(what.game)} takes {theirs}: train "
                            f"V and M anew with {flag} {theirs}")
    controller = None if what.parameters is None else _their_controller(game, what.rnn, what.parameters, name)
    with replaced_together(directory, last="vae.json") as new:
        _write(new / "vae.json", [what.vae[f"{layer}/{part}"] for layer in LAYERS for part in ("kernel", "bias")])
        rnn["termination/bias"] = rnn["termination/bias"] - game.dream_end
        _write(new / "rnn.json", their_rnn(rnn, restart if what.game == "doom" else None))
        if what.beginnings is not None:
            _write(new / "initial_z.json", [what.beginnings["mu"], what.beginnings["logvar"]])
        if controller is not None:
            write_text(new / f"{NAMES[what.game]}.best.json", _text([controller.tolist(), what.score]))
        return sorted(path.name for path in new.iterdir())


def read_vae(path: Path) -> Arrays:
    """V by the names of ``models.vae``.

    Raises:
        UserError: missing, damaged, or something else.
    """
    arrays = _read(path)
    names = [f"{layer}/{part}" for layer in LAYERS for part in ("kernel", "bias")]
    if len(arrays) != len(names):
        raise UserError(f"{path} holds {len(arrays)} arrays, but a vae.json {len(names)}: {WHENCE}")
    latents = arrays[names.index("encoder/mu/bias")].size
    for number, (name, value) in enumerate(zip(names, arrays, strict=True)):
        if value.shape != (wanted := _shape_in_vae(name, latents)):
            raise UserError(f"{path}: array {number}, {name}, has shape {value.shape}, not {wanted}: {WHENCE}")
    return {name: value.astype(np.float32) for name, value in zip(names, arrays, strict=True)}


def read_rnn(path: Path) -> tuple[str, Arrays]:
    """The game, and M by the names of ``models.rnn``.

    Raises:
        UserError: missing, damaged, or something else.
    """
    arrays = _read(path)
    shapes = [each.shape for each in arrays]
    for name in NAMES:
        game, restart = game_of(name), int(name == "doom")
        outputs, hidden = game.latents * 3 * MIXTURES + restart, game.hidden
        inputs = game.latents + game.control.actions + restart
        if shapes == [(hidden, outputs), (outputs,), (inputs + hidden, 4 * hidden), (4 * hidden,)]:
            rnn = our_rnn(arrays, inputs, bool(restart))
            rnn["termination/bias"] += np.float32(game.dream_end)  # their loss counts ends alone, see ``Game``
            return name, rnn
    raise UserError(f"{path} holds arrays of the shapes {', '.join(map(str, shapes))}, which is neither CarRacing's M nor "
                    f"Doom's: {WHENCE}")


def read_beginnings(path: Path, latents: int) -> Arrays:
    """Mu and logvar of first frames, [N, L] each.

    Raises:
        UserError: damaged, or something else.
    """
    arrays = _read(path)
    if len(arrays) != 2 or arrays[0].shape != arrays[1].shape or arrays[0].shape[1:] != (latents,) or not len(arrays[0]):
        raise UserError(f"{path} does not hold mu and log variance of {latents} latents each: {WHENCE}")
    return {name: value.astype(np.float32) for name, value in zip(("mu", "logvar"), arrays, strict=True)}


def read_controller(path: Path, name: str, latents: int) -> tuple[Floats, float]:
    """C's parameters for a game, laid out as ours (P,), and the score that stands beside them.

    Raises:
        UserError: damaged, or something else.
    """
    game = game_of(name)
    try:
        parameters, score = read_json(path, list[Any], WHENCE)
        theirs, score = np.array(parameters, np.float64), float(score)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{path} does not hold a list of parameters and a score: {WHENCE}") from None
    if theirs.shape != (wanted := (game.control.parameters(latents, game.hidden),)):
        raise UserError(f"{path} holds parameters of shape {theirs.shape}, but C for {family(name)} has {wanted}: {WHENCE}")
    if not (np.isfinite(theirs).all() and np.isfinite(score)):
        raise UserError(f"{path} has numbers that are not finite: {WHENCE}")
    actions = game.control.actions
    split = actions if game.control.bias else 0
    rows = theirs[split:].reshape(-1, actions).T  # a row for each output
    if name == "doom":  # it does not look at the unit that M has in addition
        rows = np.insert(rows, [latents + game.hidden, latents + 2 * game.hidden], 0.0, axis=1)
    return np.concatenate([theirs[:split], rows.ravel()]), score


def _find(directory: Path, name: str) -> list[Path]:
    return sorted(path for place in PLACES for path in (directory / place).glob(name))


def _the(directory: Path, name: str) -> Path:
    found = _find(directory, name)
    if not found:
        raise UserError(f"{directory} has no {name}: {WHENCE}")
    return found[0]


def _read(path: Path) -> list[Floats]:
    """The arrays of a file, as they were before they were multiplied."""
    value = read_json(path, list[Any], WHENCE)
    try:
        arrays = [np.array(each, np.float64) / SCALE for each in value]
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{path} is not a list of arrays of numbers: {WHENCE}") from None
    limit = np.finfo(np.float32).max
    for number, each in enumerate(arrays):
        if not (np.abs(each) <= limit).all():  # so that NaN fails too
            raise UserError(f"{path}: array {number} has numbers that are not finite: {WHENCE}")
    return arrays


def _write(path: Path, arrays: list[npt.NDArray]) -> None:
    write_text(path, _text([np.rint(each.astype(np.float64) * SCALE).astype(np.int64).tolist() for each in arrays]))


def _text(value: list[Any]) -> str:
    """JSON with each bracket and number on a line of its own, as theirs; ``json`` takes ten times as long for that."""
    return json.dumps(value, separators=(",", ":")).replace("[", "[\n").replace(",", ",\n").replace("]", "\n]")


def _shape_in_vae(name: str, latents: int) -> tuple[int, ...]:
    kernels: dict[str, tuple[int, ...]] = {
        "conv1": (4, 4, 3, 32), "conv2": (4, 4, 32, 64), "conv3": (4, 4, 64, 128), "conv4": (4, 4, 128, 256),
        "mu": (1024, latents), "logvar": (1024, latents), "dense": (latents, 1024), "deconv1": (5, 5, 128, 1024),
        "deconv2": (5, 5, 64, 128), "deconv3": (6, 6, 32, 64), "deconv4": (6, 6, 3, 32)}
    _, layer, part = name.split("/")
    shape = kernels[layer]
    if part == "kernel":
        return shape
    return (shape[2 if layer.startswith("deconv") else -1],)


def _their_controller(game: Game, rnn: Weights, parameters: Floats, name: str) -> Floats:
    """C laid out as theirs.

    Raises:
        UserError: C looks at a unit that theirs has not.
    """
    actions, latents, hidden = actions_of(rnn), latents_of(rnn), hidden_of(rnn)
    split = actions if game.control.bias else 0
    rows = parameters[split:].reshape(actions, -1)
    if has_start(rnn):
        own = [latents + hidden - 1, latents + 2 * hidden - 1]
        if rows[:, own].any():
            raise UserError(f"C of {name} looks at the unit of M that tells the first frame, which the paper's code lacks: "
                            "only a C that was adopted with it, and not trained on, can be written")
        rows = np.delete(rows, own, axis=1)
    return np.concatenate([parameters[:split], rows.T.ravel()])
