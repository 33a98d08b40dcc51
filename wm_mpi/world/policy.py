"""The policy that ranks run: frames and parameters in, actions out, for ``width`` episodes at once. No Keras here."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from wm_mpi.core.controller import Control
from wm_mpi.core.errors import UserError
from wm_mpi.core.seeding import generator
from wm_mpi.world.manifest import load_manifest


class Policy(Protocol):
    """What ``rollout`` needs to know of a policy."""

    parameters: int
    """Length of the flat parameter vector."""

    def assign(self, slot: int, parameters: npt.NDArray[np.float64], noise: int) -> None:
        """Begin an episode in ``slot`` with these parameters, a fresh state and the noise of seed ``noise``."""

    def act(self, observations: npt.NDArray) -> npt.NDArray[np.float64]:
        """One tick for all slots: actions, shape (width, 3)."""

    def release(self, slot: int) -> None:
        """Nobody plays in ``slot`` any more: until the next ``assign``, its actions may be anything that is valid."""
        return


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """A serialised graph, ready to run on one thread of the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def run_encoder(graph: bytes) -> Callable[[npt.NDArray[np.uint8]], dict[str, npt.NDArray]]:
    """A function of frames [N,64,64,3] that gives all outputs of ``graph.build_encoder`` by name, 16 frames at a time."""
    session = open_session(graph)
    names = [each.name for each in session.get_outputs()]

    def encode(frames: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray]:
        parts = [session.run(names, {"frames": frames[start:start + 16]}) for start in range(0, len(frames), 16)]
        return {name: np.concatenate(values) for name, values in zip(names, zip(*parts, strict=True), strict=True)}

    return encode


class GraphPolicy(Policy):
    """V, M and C as one ONNX graph (see ``graph.py``), run by ONNX Runtime on one thread.

    A tick: encode the frame to z; action = C([z, h]) with h from before this frame; M's state then takes [z, action].

    Slots in which nobody plays are left out of the call, where sums round alike for any number of rows: towards the end of
    a generation most are empty.
    """

    def __init__(self, graph: bytes, width: int, deterministic: bool = False, control: Control | None = None) -> None:
        """Load a serialised graph for ``width`` slots; ``deterministic`` uses mu for z; ``control``
        is what it was built for.
        """
        self._control = control or Control()
        self._session = open_session(graph)
        shapes = {each.name: each.shape for each in self._session.get_inputs()}
        latents, hidden = shapes["noise"][1], shapes["h"][1]
        self.actions = self._control.actions
        self.parameters = self._control.parameters(latents, hidden)
        self._deterministic = deterministic
        self._generators: list[np.random.Generator | None] = [None] * width
        self._noise = np.zeros((width, latents), np.float32)
        self._playing = np.ones(width, np.bool_)
        self._h = np.zeros((width, hidden), np.float32)
        self._c = np.zeros((width, hidden), np.float32)
        self._sizes = {name: shape[1] for name, shape in shapes.items() if name != "frames"}
        self._seen = self._control.seen(latents, hidden)
        self._controller = np.zeros((width, shapes["controller"][1]), np.float32)
        self.push = np.zeros((width, self.actions), np.float32)
        """Added to each slot's sums, before the squashing."""

    def assign(self, slot: int, parameters: npt.NDArray[np.float64], noise: int) -> None:
        """Begin an episode in ``slot``: parameters (P,), state zero, noise from its own generator."""
        self._playing[slot] = True
        self._controller[slot] = self._control.whole(parameters)
        self._h[slot] = 0
        self._c[slot] = 0
        if not self._deterministic:
            self._generators[slot] = np.random.default_rng(noise)

    def release(self, slot: int) -> None:
        """Leave ``slot`` out until the next ``assign``: its actions are zero."""
        self._playing[slot], self._generators[slot] = False, None

    def act(self, observations: npt.NDArray) -> npt.NDArray[np.float64]:
        """One tick: frames uint8 [width, 64, 64, 3] to actions [width, 3] (steer -1..1, gas 0..1, brake 0..1)."""
        rows = np.flatnonzero(self._playing)
        if len(rows) == len(self._playing) or not self.rounds_alike:
            actions, self._h, self._c = self._run(["actions", "h_next", "c_next"], observations)
            return actions.astype(np.float64)
        actions = np.zeros((len(self._playing), self.actions))
        if len(rows):
            actions[rows], self._h[rows], self._c[rows] = self._run(["actions", "h_next", "c_next"], observations, rows)
        return actions

    @functools.cached_property
    def rounds_alike(self) -> bool:
        """Whether a row's numbers, to the last bit, are the same in calls of any number of rows up to ``width``.

        That depends on the kernels that are taken for so many rows, not on what is seen: where they differ, it shows in the
        hundreds of sums of one call.
        """
        rng, width = generator(25), len(self._playing)
        inputs = {name: rng.standard_normal((width, size), np.float32) for name, size in self._sizes.items()}
        inputs["frames"] = rng.integers(0, 256, (width, 64, 64, 3), np.uint8)
        names = ["z", "actions", "h_next", "c_next"]
        whole = self._session.run(names, inputs)
        return all(np.array_equal(one[:rows], many)
                   for rows in range(1, width)
                   for one, many in zip(whole, self._session.run(names, {
                       name: value[:rows] for name, value in inputs.items()}), strict=True))

    def look(self, observations: npt.NDArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        """One tick exactly as ``act`` does it, which gives away the latents z [width, 32] as well."""
        actions, self._h, self._c, z = self._run(["actions", "h_next", "c_next", "z"], observations)
        return actions.astype(np.float64), z

    @property
    def memory(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """M's state h, c [width, 256]; set it where another action was taken than the policy's."""
        return self._h, self._c

    @memory.setter
    def memory(self, state: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]) -> None:
        self._h, self._c = state

    def _run(self, outputs: list[str], observations: npt.NDArray,
             rows: npt.NDArray[np.intp] | None = None) -> list[npt.NDArray]:
        for rng, noise in zip(self._generators, self._noise, strict=True):
            if rng is not None:
                rng.standard_normal(dtype=np.float32, out=noise)
        controller = self._controller
        if self.push.any():
            controller = controller.copy()
            bias, _ = self._control.layers(controller, self._seen)[-1]
            bias += self.push
        inputs = {"frames": observations, "noise": self._noise, "h": self._h, "c": self._c, "controller": controller}
        if rows is not None:
            inputs = {name: value[rows] for name, value in inputs.items()}
        said = self._session.run(outputs, inputs)
        if not np.isfinite(said[0]).all():
            row = int(np.flatnonzero(~np.isfinite(said[0]).all(axis=1))[0])
            raise UserError(f"the world's actions are not finite ({said[0][row].tolist()}): V or M has diverged, or C is "
                            "that of a run that has; look at the losses in history.jsonl of train_vae and train_rnn")
        return said


class WorldPolicy(GraphPolicy):
    """The policy of a world, the directory that freeze wrote."""

    def __init__(self, world: str | Path, width: int, deterministic: bool = False,
                 hidden: int | Sequence[int] | None = None) -> None:
        """Load ``world/policy.onnx``, for a C with these ``hidden`` layers.

        Raises:
            UserError: not a world, or damaged.
        """
        self.manifest = load_manifest(Path(world))
        path = Path(world) / "policy.onnx"
        control = Control.of(self.manifest.get("controller")).with_hidden(hidden)
        try:
            graph = path.read_bytes()
            if control.hidden:
                from wm_mpi.world.graph import with_control  # ranks with a linear C load no onnx

                graph = with_control(graph, control)
            super().__init__(graph, width, deterministic, control)
        except Exception as error:  # ONNX Runtime raises types of its own, one for each status
            raise UserError(f"{path} cannot be loaded ({error}): run python -m wm_mpi.freeze again") from None


def rows_needed(world: str | Path, width: int) -> int:
    """How many rows a call needs for the numbers, to the last bit, of calls of ``width`` rows: 1, or as many."""
    return 1 if WorldPolicy(world, width).rounds_alike else width


class VectorPolicy(Policy):
    """C on vector observations, without V and M."""

    def __init__(self, observations: int, width: int, control: Control) -> None:
        """For observation vectors of length ``observations`` and ``width`` slots."""
        self._control = control
        self.parameters = control.size(observations)
        self._vectors = np.zeros((width, len(control.whole(np.zeros(self.parameters)))))
        self._layers = control.layers(self._vectors, observations)

    def assign(self, slot: int, parameters: npt.NDArray[np.float64], noise: int) -> None:
        """Begin an episode in ``slot``; there is no noise."""
        self._vectors[slot] = self._control.whole(parameters)

    def act(self, observations: npt.NDArray) -> npt.NDArray[np.float64]:
        """Actions, shape (width, A)."""
        values = observations.astype(np.float64)
        for number, (bias, rows) in enumerate(self._layers):
            values = np.tanh(values) if number else values
            values = (rows @ values[..., None])[..., 0] + bias
        return self._control.act(values)
