"""M between the paper's authors' arrays and ours.

``rnn.json`` has an output kernel and bias, and an LSTM's kernel (inputs, then h) and bias; gates i, j, f, o, and 1 was added
to f's bias as it ran. Doom's M has one input more, the restart flag, 1 on an episode's first frame and 0 afterwards, and one
output more, its first: the logit of a restart, which is what we call the termination. CarRacing's has neither, so that its
dreams end with the time; and no M of theirs expects rewards.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from wm_mpi.world.weights import Weights, hidden_of

Arrays = dict[str, npt.NDArray[np.float32]]
Floats = npt.NDArray[np.float64]

NEVER = -20.0
"""The logit of an end that does not come."""
OPEN, ALWAYS = 20.0, float(np.tanh(1.0))
"""A gate that is open for good; and what the unit of ``with_start`` says from the second frame on."""


def our_rnn(arrays: Sequence[Floats], inputs: int, restart: bool) -> Arrays:
    """M by the names of ``models.rnn``; of its ``inputs`` and its outputs one is the restart's, where there is that.

    Args:
        arrays: the four of rnn.json, as they were before they were multiplied.
        inputs: numbers in z, the action and the flag.
        restart: whether there is a flag.
    """
    kernel, bias, cell, cell_bias = arrays
    let_in, j, forget, out = np.split(np.concatenate([cell, cell_bias[None]]), 4, axis=1)
    forget[-1] += 1
    ours = np.concatenate([let_in, forget, j, out], axis=1)
    hidden = len(kernel)
    end = (kernel[:, :1], bias[:1]) if restart else (np.zeros((hidden, 1)), np.full(1, NEVER))
    rnn: dict[str, Floats] = {
        "lstm/kernel": ours[:inputs - int(restart)], "lstm/recurrent_kernel": ours[inputs:-1], "lstm/bias": ours[-1],
        "mdn/kernel": kernel[:, int(restart):], "mdn/bias": bias[int(restart):], "reward/kernel": np.zeros((hidden, 1)),
        "reward/bias": np.zeros(1), "termination/kernel": end[0], "termination/bias": end[1]}
    if restart:
        rnn = with_start(rnn, ours[inputs - 1])
    return {name: value.astype(np.float32) for name, value in rnn.items()}


def their_rnn(rnn: Weights, restart: Floats | None) -> list[npt.NDArray]:
    """The four arrays of rnn.json; ``restart``, if there is that input and output, is what it adds to our gates."""
    inputs = [rnn["lstm/kernel"], *([] if restart is None else [restart[None]])]
    let_in, forget, j, out = np.split(np.concatenate([*inputs, rnn["lstm/recurrent_kernel"], rnn["lstm/bias"][None]]).astype(
        np.float64), 4, axis=1)
    forget[-1] -= 1
    cell = np.concatenate([let_in, j, forget, out], axis=1)
    heads = ["mdn"] if restart is None else ["termination", "mdn"]
    return [*(np.concatenate([rnn[f"{head}/{part}"] for head in heads], axis=-1) for part in ("kernel", "bias")),
            cell[:-1], cell[-1]]


def with_start(rnn: Mapping[str, Floats], restart: Floats) -> dict[str, Floats]:
    """M with one unit more, in the place of an input that is 1 on an episode's first frame and 0 afterwards.

    What that input adds to the gates, ``restart`` [4H], goes to their bias, and from the second frame on the new unit takes
    it away again: its cell is 0 before the first frame and 1 afterwards, whatever comes. Nobody else looks at it.
    """
    hidden = hidden_of(rnn)
    gates = [slice(number * hidden, (number + 1) * hidden) for number in range(4)]

    def widened(columns: Floats, of_new: tuple[float, float, float, float]) -> Floats:
        """The columns of four gates [..., 4H], with the new unit's as the last of each [..., 4 (H + 1)]."""
        return np.concatenate([part for gate, value in zip(gates, of_new, strict=True)
                               for part in (columns[..., gate], np.full((*columns.shape[:-1], 1), value))], axis=-1)

    nothing = (0.0,) * 4
    more = dict(rnn)
    more["lstm/kernel"] = widened(rnn["lstm/kernel"], nothing)  # type: ignore[arg-type]
    recurrent = np.concatenate([rnn["lstm/recurrent_kernel"], -restart[None] / ALWAYS])
    more["lstm/recurrent_kernel"] = widened(recurrent, nothing)  # type: ignore[arg-type]
    more["lstm/bias"] = widened(rnn["lstm/bias"] + restart, (OPEN, -OPEN, OPEN, OPEN))  # let in, forget, 1, let out
    for head in ("mdn", "reward", "termination"):
        more[f"{head}/kernel"] = np.concatenate([rnn[f"{head}/kernel"], np.zeros((1, rnn[f"{head}/kernel"].shape[1]))])
    return more


def without_start(rnn: Weights) -> tuple[dict[str, npt.NDArray], Floats]:
    """The opposite of ``with_start``: M, and what its restart input adds; without such a unit M as it is, and zeros."""
    hidden = hidden_of(rnn)
    if not has_start(rnn):
        return dict(rnn), np.zeros(4 * hidden)
    others = np.delete(np.arange(4 * hidden), np.arange(1, 5) * hidden - 1)
    less = dict(rnn)
    restart = -rnn["lstm/recurrent_kernel"][-1, others].astype(np.float64) * ALWAYS
    less["lstm/kernel"] = rnn["lstm/kernel"][:, others]
    less["lstm/recurrent_kernel"] = rnn["lstm/recurrent_kernel"][:-1, others]
    less["lstm/bias"] = rnn["lstm/bias"][others] - restart
    for head in ("mdn", "reward", "termination"):
        less[f"{head}/kernel"] = rnn[f"{head}/kernel"][:-1]
    return less, restart


def has_start(rnn: Weights) -> bool:
    """Whether the last unit is that of ``with_start``."""
    own = np.arange(1, 5) * hidden_of(rnn) - 1
    return bool((rnn["lstm/bias"][own] == [OPEN, -OPEN, OPEN, OPEN]).all()
                and not rnn["lstm/kernel"][:, own].any() and not rnn["lstm/recurrent_kernel"][:, own].any())
