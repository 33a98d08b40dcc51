"""From a gradient to a step of the mean: Adam and ClipUp. Both climb: a step has the gradient's direction."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from wm_mpi.evolution.strategies.base import State

Vector = npt.NDArray[np.float64]


class Optimizer(Protocol):
    """Makes steps of gradients."""

    learning_rate: float
    state: State
    """What it remembers, by names that no strategy uses."""

    def step(self, gradient: Vector) -> Vector:
        """What to add to the mean, shape (P,)."""


class Adam:
    """Adam (Kingma and Ba 2015): moments of the gradient, each parameter at its own pace of about ``learning_rate``."""

    SECOND, EPSILON = 0.999, 1e-8
    """The paper's beta_2 and epsilon."""

    def __init__(self, parameters: int, learning_rate: float, momentum: float = 0.9) -> None:
        """``momentum`` is the paper's beta_1."""
        self.learning_rate, self._first = learning_rate, momentum
        self.state: State = {"adam_steps": np.array(0), "adam_m": np.zeros(parameters), "adam_v": np.zeros(parameters)}

    def step(self, gradient: Vector) -> Vector:
        """See ``Optimizer``."""
        steps = int(self.state["adam_steps"]) + 1
        m = self._first * self.state["adam_m"] + (1 - self._first) * gradient
        v = self.SECOND * self.state["adam_v"] + (1 - self.SECOND) * gradient**2
        self.state = {"adam_steps": np.array(steps), "adam_m": m, "adam_v": v}
        unbiased = m / (1 - self._first**steps), v / (1 - self.SECOND**steps)
        return self.learning_rate * unbiased[0] / (np.sqrt(unbiased[1]) + self.EPSILON)


class ClipUp:
    """ClipUp (Toklu et al. 2020): steps of length ``learning_rate`` with momentum, together at most twice that long."""

    MOST = 2.0
    """The greatest speed, in learning rates, as the paper advises."""

    def __init__(self, parameters: int, learning_rate: float, momentum: float = 0.9) -> None:
        """``momentum`` is the share of the velocity that is kept."""
        self.learning_rate, self._momentum = learning_rate, momentum
        self.state: State = {"velocity": np.zeros(parameters)}

    def step(self, gradient: Vector) -> Vector:
        """See ``Optimizer``."""
        length = float(np.linalg.norm(gradient))
        push = gradient * (self.learning_rate / length) if length > 0 else gradient
        velocity: Vector = self._momentum * self.state["velocity"] + push
        speed, most = float(np.linalg.norm(velocity)), self.MOST * self.learning_rate
        self.state = {"velocity": velocity * (most / speed) if speed > most else velocity}
        return self.state["velocity"]


OPTIMIZERS: dict[str, type[Adam] | type[ClipUp]] = {"adam": Adam, "clipup": ClipUp}


def make_optimizer(name: str, parameters: int, sigma: float, learning_rate: float | None,
                   momentum: float | None) -> Optimizer:
    """An optimizer; what is None is its own default.

    The default learning rates grow with sigma, since what counts is how far the mean goes in units of the distribution: for
    Adam sigma / 10 for each parameter; for ClipUp Toklu's rule, a speed of at most a 15th of the radius sigma sqrt(P).
    """
    rates = {"adam": sigma / 10, "clipup": sigma * parameters**0.5 / 30}
    return OPTIMIZERS[name](parameters, rates[name] if learning_rate is None else learning_rate,
                            **({} if momentum is None else {"momentum": momentum}))
