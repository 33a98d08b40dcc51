"""The names of environments, and what the command line has to know of them before any is loaded."""

from typing import Literal

Environment = Literal["fast", "gymnasium", "gym", "toy"]


def has_pictures(name: str) -> bool:
    """Whether an environment shows pictures, so that C drives through V and M; the toy shows four numbers."""
    return name != "toy"
