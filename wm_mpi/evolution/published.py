"""What others have published: the learning curve of the paper's authors, and scores."""

import csv
import functools
from importlib import resources
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Score(NamedTuple):
    """A result that others have published."""

    label: str
    what: str
    mean: float
    std: float
    episodes: int
    source: str


def scores_of(game: str) -> list[Score]:
    """What others have published of a game: the rows of ``published_scores.csv``."""
    return [Score(row["label"], row["what"], float(row["mean"]), float(row["std"]), int(row["episodes"]), row["source"])
            for row in _table("published_scores.csv") if row["game"] == game]


@functools.cache
def published() -> dict[str, npt.NDArray[np.float64]]:
    """Columns of ``published.csv``, the learning curve of the paper's authors; NaN where there was no validation."""
    rows = _table("published.csv")
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


def _table(name: str) -> list[dict[str, str]]:
    lines = resources.files(__package__).joinpath(name).read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))
