"""M: the MDN-RNN of World Models (Ha and Schmidhuber, 2018, appendix A.2), with reward and termination heads."""

import math
from typing import Any

import keras
from keras import layers, ops

from wm_mpi.core.controller import ACTIONS
from wm_mpi.data.batches import LARGE_ERROR
from wm_mpi.models.lstm import Lstm

MIXTURES = 5
LOGSTD_BOUND = 7.0
"""log standard deviations are clipped to +-7: beyond, exp() of a squared, scaled error leaves float32."""


class MdnRnn(keras.Model):
    """LSTM over [z, action] that predicts the next z as a mixture, the reward and the termination.

    The density head has 3 x 5 numbers per latent in the order (logmix, mean, logstd), as in the published weights.
    """

    def __init__(self, latents: int = 32, seed: int = 0, hidden: int = 256, actions: int = ACTIONS,
                 ending_weight: float = 1.0) -> None:
        """New weights.

        Args:
            latents: numbers in z.
            seed: of the weights and the sampled latents.
            hidden: units of the LSTM.
            actions: numbers in an action.
            ending_weight: how much an error on the end of an episode counts.
        """
        super().__init__(name="rnn", autocast=False)  # latents and rewards stay float32 in mixed precision
        self.latents, self.ending_weight = latents, ending_weight
        self.seed_generator = keras.random.SeedGenerator(seed)
        initial = [keras.initializers.GlorotUniform(seed=seed * 1000 + number) for number in range(4)]
        inputs = keras.Input((None, latents + actions))
        states = Lstm(hidden, return_sequences=True, unit_forget_bias=True, kernel_initializer=initial[0],
                      recurrent_initializer=keras.initializers.Orthogonal(seed=seed), name="lstm")(inputs)
        heads = [layers.Dense(size, kernel_initializer=initial[1 + number], name=name)(states)
                 for number, (name, size) in enumerate(
                     (("mdn", latents * MIXTURES * 3), ("reward", 1), ("termination", 1)))]
        self.network = keras.Model(inputs, heads, name="network")
        self.trackers = {name: keras.metrics.Mean(name=name) for name in ("nll", "reward", "termination")}
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Sample z from mu and logvar [B, T+1, 32] anew, run T steps; all outputs are float32."""
        noise = keras.random.normal(ops.shape(inputs["mu"]), seed=self.seed_generator)
        z = inputs["mu"] + ops.exp(inputs["logvar"] / 2) * noise
        outputs = self.network(ops.concatenate([z[:, :-1], inputs["actions"]], axis=-1))
        density, reward, termination = (ops.cast(each, "float32") for each in outputs)
        return {"density": density, "reward": reward[..., 0], "termination": termination[..., 0], "target": z[:, 1:]}

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None,
                     training: bool = True) -> Any:
        """Mean over real steps of the mixture's negative log likelihood a latent, Huber (reward), cross-entropy (end)."""
        x = {name: ops.convert_to_tensor(value) for name, value in x.items()}  # PyTorch does not mix with arrays
        shape = ops.shape(y_pred["target"])
        nll = ops.mean(mixture_nll(ops.reshape(y_pred["density"], (shape[0], shape[1], self.latents, 3 * MIXTURES)),
                                   y_pred["target"]), axis=-1)
        error = ops.abs(y_pred["reward"] - x["rewards"])
        # Huber: leaving the field pays -100 at once and would rule a squared error
        huber = ops.where(error < LARGE_ERROR, error * error / (2 * LARGE_ERROR), error - LARGE_ERROR / 2)
        logit = y_pred["termination"]
        entropy = ops.softplus(logit) - logit * x["terminated"]
        losses = {"nll": _masked_mean(nll, x["z_mask"]), "reward": _masked_mean(huber, x["mask"]),
                  "termination": _masked_mean(entropy, x["mask"])}
        for name, value in losses.items():
            self.trackers[name].update_state(value)
        return losses["nll"] + losses["reward"] + self.ending_weight * losses["termination"]

    def parts(self) -> dict[str, keras.Model]:
        """The named parts whose layers hold weights; the network's own name is left out of theirs."""
        return {"": self.network}


def mixture_nll(density: Any, target: Any) -> Any:
    """Negative log likelihood of target [..., L] under mixtures density [..., L, 15], by logsumexp; nats, [..., L].

    ``world.gates.metrics`` has the same in NumPy, for M as ranks run it.
    """
    logmix, mean, logstd = ops.split(density, 3, axis=-1)
    logmix = logmix - ops.logsumexp(logmix, axis=-1, keepdims=True)
    logstd = ops.clip(logstd, -LOGSTD_BOUND, LOGSTD_BOUND)
    scaled = (ops.expand_dims(target, -1) - mean) * ops.exp(-logstd)
    return -ops.logsumexp(logmix - 0.5 * scaled * scaled - logstd - 0.5 * math.log(2 * math.pi), axis=-1)


def _masked_mean(values: Any, mask: Any) -> Any:
    return ops.sum(values * mask) / ops.maximum(ops.sum(mask), 1.0)
