"""C, the controller: what it looks at, how its parameters lie in one flat vector, and what becomes of its sums.

An action is made of the sums W x + b. The vector is b, then W row by row, a row for each output. Hidden layers, where a run
has them, are x = tanh(W x + b) before that, and come first in the vector. ``world.graph`` builds the same as ONNX from these
figures; ``world.reference`` writes it out once more, on purpose, and is what the others are measured by.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt


class Output(NamedTuple):
    """What becomes of a sum s: max(scale tanh(s) + offset, lowest)."""

    scale: float
    offset: float
    lowest: float


STEER, GAS, BRAKE = Output(1.0, 0.0, -1.0), Output(0.5, 0.5, 0.0), Output(1.0, 0.0, 0.0)
"""tanh; (tanh + 1) / 2; max(tanh, 0)."""
CAR = (STEER, GAS, BRAKE)
"""The outputs of who drives."""
ACTIONS = len(CAR)


def squash(sums: npt.NDArray, outputs: Sequence[Output] = CAR) -> npt.NDArray:
    """Actions [..., A] of the controller's sums [..., A], in their own type."""
    scale, offset, lowest = np.array(outputs, sums.dtype).T
    return np.maximum(scale * np.tanh(sums) + offset, lowest)


def length(features: int, actions: int = ACTIONS) -> int:
    """Numbers in the vector of a controller that looks at so many features."""
    return actions * (features + 1)


def unpack(parameters: npt.NDArray, actions: int = ACTIONS) -> tuple[npt.NDArray, npt.NDArray]:
    """The bias b [..., A] and the rows W [..., A, F] of vectors [..., P], as views."""
    bias, rows = parameters[..., :actions], parameters[..., actions:]
    return bias, rows.reshape(*rows.shape[:-1], actions, -1)


def pack(bias: npt.NDArray, weights: npt.NDArray) -> npt.NDArray:
    """The vector [P] of b [A] and W [A, F]."""
    return np.concatenate([bias, weights.ravel()])


@dataclass(frozen=True)
class Control:
    """What a game's C looks at and how it acts, recorded with every world."""

    outputs: tuple[Output, ...] = CAR
    """One for each number of an action, which M is told as it is."""
    kind: Literal["squash", "choice", "switches", "plain"] = "squash"
    """``squash``: the outputs above; ``choice``: 1 for the largest sum, 0 for the others; ``switches``: 1 for sums above 0;
    ``plain``: the sums."""
    features: tuple[Literal["z", "h", "c"], ...] = ("z", "h")
    """What C sees, in this order: the latents, and M's state before it has seen them."""
    bias: bool = True
    """Whether the outputs have a b; hidden layers do."""
    hidden: tuple[int, ...] = ()
    """Units of the tanh layers between what C sees and its sums: a world's C has none, a run's may."""

    @property
    def actions(self) -> int:
        """Numbers in an action."""
        return len(self.outputs)

    @property
    def bounds(self) -> tuple[list[float], list[float]]:
        """The least and the greatest number that each of an action's may be."""
        if self.kind == "squash":
            return ([max(each.offset - each.scale, each.lowest) for each in self.outputs],
                    [each.offset + each.scale for each in self.outputs])
        low, high = (-np.inf, np.inf) if self.kind == "plain" else (0.0, 1.0)
        return [low] * self.actions, [high] * self.actions

    def seen(self, latents: int, hidden: int) -> int:
        """How many features C sees."""
        return sum(latents if name == "z" else hidden for name in self.features)

    def with_hidden(self, units: int | Sequence[int] | None) -> "Control":
        """The same with hidden layers, as ``--hidden`` has them and runs record them."""
        return replace(self, hidden=(units,) if isinstance(units, int) else tuple(units or ()))

    def shapes(self, seen: int) -> list[tuple[int, int]]:
        """(units, inputs) of each layer in turn, for a C that sees so many features."""
        return [(units, inputs) for inputs, units in itertools.pairwise((seen, *self.hidden, self.actions))]

    def size(self, seen: int) -> int:
        """Numbers in the vector of a C that sees so many features."""
        return sum(length(inputs, units) for units, inputs in self.shapes(seen)) - (0 if self.bias else self.actions)

    def parameters(self, latents: int, hidden: int) -> int:
        """Numbers in C's vector, with so many latents in V and units in M."""
        return self.size(self.seen(latents, hidden))

    def whole(self, parameters: npt.NDArray) -> npt.NDArray:
        """The vector [..., P] with the outputs' b, which is zero where C has none."""
        if self.bias:
            return parameters
        before = parameters.shape[-1] - self.actions * self.hidden[-1] if self.hidden else 0
        bias = np.zeros((*parameters.shape[:-1], self.actions), parameters.dtype)
        return np.concatenate([parameters[..., :before], bias, parameters[..., before:]], axis=-1)

    def layers(self, whole: npt.NDArray, seen: int) -> list[tuple[npt.NDArray, npt.NDArray]]:
        """The bias [..., U] and the rows [..., U, F] of each layer in turn, as views of what ``whole`` gave."""
        sizes = [length(inputs, units) for units, inputs in self.shapes(seen)]
        ends = list(itertools.accumulate(sizes))
        return [unpack(whole[..., end - size:end], units)
                for end, size, (units, _) in zip(ends, sizes, self.shapes(seen), strict=True)]

    def act(self, sums: npt.NDArray) -> npt.NDArray:
        """Actions [..., A] of sums [..., A], in their own type."""
        if self.kind == "squash":
            return squash(sums, self.outputs)
        if self.kind == "plain":
            return sums
        if self.kind == "switches":
            return (sums > 0).astype(sums.dtype)
        return (np.arange(self.actions) == sums.argmax(axis=-1)[..., None]).astype(sums.dtype)

    def describe(self) -> dict[str, Any]:
        """As JSON values, for the manifest: hidden layers are a run's, not a world's."""
        return {"kind": self.kind, "outputs": [list(each) for each in self.outputs], "features": list(self.features),
                "bias": self.bias}

    @classmethod
    def of(cls, described: Mapping[str, Any] | None) -> "Control":
        """What ``describe`` described; worlds of before there were several have the car's."""
        if described is None:
            return cls()
        return cls(tuple(Output(*each) for each in described["outputs"]), described["kind"], tuple(described["features"]),
                   described["bias"])
