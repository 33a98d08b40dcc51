"""The policy that ranks run: frames and parameters in, actions out, for ``width`` episodes at once. No Keras here."""

import hashlib
import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from wm_mpi.errors import UserError

ACTIONS = 3


class Policy(Protocol):
    """What ``rollout`` needs to know of a policy."""

    parameters: int
    """Length of the flat parameter vector."""

    def assign(self, slot: int, parameters: npt.NDArray[np.float64], noise: int) -> None:
        """Begin an episode in ``slot`` with these parameters, a fresh state and the noise of seed ``noise``."""

    def act(self, observations: npt.NDArray) -> npt.NDArray[np.float64]:
        """One tick for all slots: actions, shape (width, 3)."""


def load_manifest(world: Path) -> dict[str, Any]:
    """Read ``manifest.json`` of a world and check ``policy.onnx`` against its hash.

    Raises:
        UserError: not a world, or damaged.
    """
    path = world / "manifest.json"
    again = "run python -m wm_mpi.freeze again to rebuild it"
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{world} is not a world, it has no manifest.json: give the directory that freeze wrote") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}): {again}") from None
    graph = world / "policy.onnx"
    if not graph.exists():
        raise UserError(f"{graph} is missing: {again}")
    if hashlib.sha256(graph.read_bytes()).hexdigest() != manifest.get("files", {}).get("policy.onnx"):
        raise UserError(f"{graph} is damaged, its SHA-256 is not the manifest's: {again}")
    return manifest


class WorldPolicy:
    """V, M and C as one ONNX graph (see ``graph.py``), run by ONNX Runtime on one thread.

    A tick: encode the frame to z; action = C([z, h]) with h from before this frame; M's state then takes [z, action].
    """

    def __init__(self, world: str | Path, width: int, deterministic: bool = False) -> None:
        """Load ``world/policy.onnx`` for ``width`` slots; ``deterministic`` uses mu for z.

        Raises:
            UserError: not a world, or damaged.
        """
        self.manifest = load_manifest(Path(world))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(Path(world) / "policy.onnx"), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises types of its own, one for each status
            raise UserError(f"{Path(world) / 'policy.onnx'} cannot be loaded ({error}): freeze it again") from None
        shapes = {each.name: each.shape for each in self._session.get_inputs()}
        latents, hidden = shapes["noise"][1], shapes["h"][1]
        self.parameters = int(shapes["controller"][1])
        self._deterministic = deterministic
        self._generators: list[np.random.Generator | None] = [None] * width
        self._noise = np.zeros((width, latents), np.float32)
        self._h = np.zeros((width, hidden), np.float32)
        self._c = np.zeros((width, hidden), np.float32)
        self._controller = np.zeros((width, self.parameters), np.float32)

    def assign(self, slot: int, parameters: npt.NDArray[np.float64], noise: int) -> None:
        """Begin an episode in ``slot``: parameters (867,), state zero, noise from its own generator."""
        self._controller[slot] = parameters
        self._h[slot] = 0
        self._c[slot] = 0
        if not self._deterministic:
            self._generators[slot] = np.random.default_rng(noise)

    def act(self, observations: npt.NDArray) -> npt.NDArray[np.float64]:
        """One tick: frames uint8 [width, 64, 64, 3] to actions [width, 3] (steer -1..1, gas 0..1, brake 0..1)."""
        for slot, generator in enumerate(self._generators):
            if generator is not None:
                generator.standard_normal(dtype=np.float32, out=self._noise[slot])
        actions, self._h, self._c = self._session.run(
            ["actions", "h_next", "c_next"],
            {"frames": observations, "noise": self._noise, "h": self._h, "c": self._c, "controller": self._controller})
        return actions.astype(np.float64)


class LinearPolicy:
    """action = W o + b on vector observations, for the toy environment: parameters are b (3), then W row by row."""

    def __init__(self, observations: int, width: int) -> None:
        """For observation vectors of length ``observations`` and ``width`` slots."""
        self.parameters = ACTIONS * (observations + 1)
        self._bias = np.zeros((width, ACTIONS))
        self._weights = np.zeros((width, ACTIONS, observations))

    def assign(self, slot: int, parameters: npt.NDArray[np.float64], noise: int) -> None:
        """Begin an episode in ``slot``; there is no noise."""
        self._bias[slot] = parameters[:ACTIONS]
        self._weights[slot] = parameters[ACTIONS:].reshape(ACTIONS, -1)

    def act(self, observations: npt.NDArray) -> npt.NDArray[np.float64]:
        """Actions, shape (width, 3)."""
        return (self._weights @ observations[..., None].astype(np.float64))[..., 0] + self._bias
