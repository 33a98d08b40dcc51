"""V: the convolutional VAE of World Models (Ha and Schmidhuber, 2018, appendix A.1)."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops


class Vae(keras.Model):
    """Encoder, sampling and decoder for uint8 frames [B, 64, 64, 3].

    The loss of a frame is the squared error summed over its pixels (0..1) plus the KL to a standard normal, whose sum over
    latents is floored at ``kl_tolerance`` nats per latent as in the paper's code. (A loss averaged over pixels would let the
    KL win, and the latents would say nothing.)
    """

    def __init__(self, latents: int = 32, kl_tolerance: float = 0.5, seed: int = 0,
                 bar: tuple[int, float] = (64, 1.0)) -> None:
        """New weights.

        Args:
            latents: numbers in z.
            kl_tolerance: free bits of a latent (nats).
            seed: of the weights and the noise.
            bar: the row in which the bar of instruments begins, and how much an error in it counts. It is small, and what it
                alone tells, the speed, is lost otherwise among everything that a frame's grass looks like.
        """
        super().__init__(name="vae", autocast=False)
        first, weight = bar
        self._weights_of_rows = np.where(np.arange(64) < first, 1, weight).astype(np.float32)[:, None, None]
        self.kl_floor = kl_tolerance * latents
        self.seed_generator = keras.random.SeedGenerator(seed)
        initial = [keras.initializers.GlorotUniform(seed=seed * 1000 + number) for number in range(11)]

        def conv(number: int, filters: int) -> layers.Layer:
            return layers.Conv2D(filters, 4, strides=2, activation="relu", kernel_initializer=initial[number],
                                 name=f"conv{number}")

        def deconv(number: int, filters: int, kernel: int, activation: str) -> layers.Layer:
            return layers.Conv2DTranspose(filters, kernel, strides=2, activation=activation,
                                          kernel_initializer=initial[5 + number], name=f"deconv{number}")

        frames = keras.Input((64, 64, 3))
        features = layers.Flatten()(conv(4, 256)(conv(3, 128)(conv(2, 64)(conv(1, 32)(frames)))))
        mu = layers.Dense(latents, kernel_initializer=initial[0], name="mu")(features)
        logvar = layers.Dense(latents, kernel_initializer=initial[5], name="logvar")(features)
        self.encoder = keras.Model(frames, [mu, logvar], name="encoder")
        stored = keras.Input((64, 64, 3), dtype="uint8")  # a quarter of what a GPU would be sent otherwise
        self._from_bytes = keras.Model(stored, self.encoder(ops.cast(stored, "float32") / 255.0))
        latent = keras.Input((latents,))
        small = layers.Reshape((1, 1, 1024))(layers.Dense(1024, kernel_initializer=initial[10], name="dense")(latent))
        large = deconv(3, 32, 6, "relu")(deconv(2, 64, 5, "relu")(deconv(1, 128, 5, "relu")(small)))
        self.decoder = keras.Model(latent, deconv(4, 3, 6, "sigmoid")(large), name="decoder")
        self.reconstruction_tracker = keras.metrics.Mean(name="reconstruction")
        self.kl_tracker = keras.metrics.Mean(name="kl")
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Reconstruct ``inputs["frames"]`` through sampled latents; all outputs are float32."""
        frames = ops.cast(inputs["frames"], "float32") / 255.0
        mu, logvar = (ops.cast(each, "float32") for each in self.encoder(frames))
        noise = keras.random.normal(ops.shape(mu), seed=self.seed_generator)
        reconstruction = ops.cast(self.decoder(mu + ops.exp(logvar / 2) * noise), "float32")
        return {"reconstruction": reconstruction, "mu": mu, "logvar": logvar}

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None,
                     training: bool = True) -> Any:
        """Mean over the batch of summed squared error and floored KL (nats)."""
        frames = ops.cast(x["frames"], "float32") / 255.0
        errors = ops.square(frames - y_pred["reconstruction"])
        squared = ops.sum(errors, axis=(1, 2, 3))
        weighted = ops.sum(ops.multiply(errors, self._weights_of_rows), axis=(1, 2, 3))  # `*` fails under PyTorch
        mu, logvar = y_pred["mu"], y_pred["logvar"]
        kl = -0.5 * ops.sum(1 + logvar - ops.square(mu) - ops.exp(logvar), axis=1)
        self.reconstruction_tracker.update_state(squared)
        self.kl_tracker.update_state(kl)
        return ops.mean(weighted) + ops.mean(ops.maximum(kl, self.kl_floor))

    def encode(self, frames: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Mean and log variance of z, float32 [B, 32] each."""
        mu, logvar = self._from_bytes.predict_on_batch(frames)
        return np.asarray(mu, np.float32), np.asarray(logvar, np.float32)

    def decode(self, latents: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Frames that latents [B, 32] stand for, uint8 [B, 64, 64, 3]."""
        frames = self.decoder.predict_on_batch(latents)
        return np.round(frames.astype(np.float32) * 255).astype(np.uint8)

    def parts(self) -> dict[str, keras.Model]:
        """The named parts whose layers hold weights."""
        return {"encoder": self.encoder, "decoder": self.decoder}
