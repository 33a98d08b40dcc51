"""Returns as ranks: what a strategy learns then does not depend on the scale of returns, nor on how bad the worst one is."""

import numpy as np
import numpy.typing as npt


def best_first(returns: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """The numbers of candidates from the highest return to the lowest; equals stay in their order."""
    return np.argsort(-returns, kind="stable")


def centred_ranks(returns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks from -0.5 (the lowest return) to 0.5 (Salimans et al. 2017), shape (N,); equals share their mean rank."""
    _, place, count = np.unique(returns, return_inverse=True, return_counts=True)
    ranks: npt.NDArray[np.float64] = (np.cumsum(count) - (count + 1) / 2)[place]
    return ranks / (len(returns) - 1) - 0.5
