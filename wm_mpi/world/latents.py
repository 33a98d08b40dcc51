"""What V's latents tell of a frame."""

import numpy as np
import numpy.typing as npt


def latent_kl(mu: npt.NDArray, logvar: npt.NDArray) -> npt.NDArray[np.float64]:
    """Mean divergence from the standard normal of each latent (nats), of mu and logvar [N, L].

    ``models.vae`` has the same in Keras, to train with.
    """
    mu, logvar = mu.astype(np.float64), logvar.astype(np.float64)
    return 0.5 * (mu**2 + np.exp(logvar) - logvar - 1).mean(axis=0)
