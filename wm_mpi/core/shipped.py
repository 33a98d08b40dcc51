"""Champions and worlds that come with the package, by name, and what a directory is."""

import difflib
import os
from pathlib import Path

KINDS = {"checkpoint": "it is a run of es", "manifest.json": "it is a world of freeze",
         "shards": "it holds frames of collect", "latents.h5": "it holds latents of encode",
         "weights.h5": "it holds a model of train_vae or train_rnn",
         "es": "it holds a whole pipeline, of which es/ is the run and world/ the world"}
"""What a directory is, by what is in it."""
PRETRAINED = Path(__file__).parents[1] / "pretrained"
"""Champions with their worlds that are part of the package, a directory each."""


def kind_of(path: Path) -> str:
    """What a directory is, in words for whoever gave it where another was wanted."""
    if not path.exists():
        return f"it does not exist{_alike(path)}"
    return next((what for name, what in KINDS.items() if (path / name).exists()), "it is something else")


def _alike(path: Path) -> str:
    """A name that may have been meant: of a champion that comes with the package, or of a neighbour."""
    beside = [each.name for each in path.parent.iterdir() if each.is_dir()] if path.parent.is_dir() else []
    names = difflib.get_close_matches(path.name, [*shipped(), *beside], n=1)
    if not names:
        return ""
    ships = names[0] in shipped() and names[0] not in beside
    return f" (did you mean {names[0]}, which comes with the package?)" if ships else (
        f" (did you mean {path.parent / names[0]}?)")


def found(name: str) -> str:
    """The directory of that name, or, where there is none, what comes with the package under it.

    A run records the name; older runs recorded where the package was installed when they began.
    """
    ships = name if Path(name).parent.name != PRETRAINED.name else Path(name).name
    return str(PRETRAINED / ships) if not os.path.exists(name) and ships in shipped() else name


def called(name: str) -> str:
    """The opposite of ``found``: the name of what comes with the package, any other directory as it is."""
    return Path(name).name if Path(name).parent == PRETRAINED else name


def describe_place(directory: str) -> str:
    """A directory in words: by its name, if it comes with the package."""
    name = called(directory)
    return name if name == directory else f"{name}, which comes with the package"


def shipped() -> list[str]:
    """Names of what comes with the package."""
    return sorted(path.parent.name for path in PRETRAINED.glob("*/champion.h5"))


def offered() -> str:
    """All of them in words."""
    return f"{' or '.join(shipped())}, which come{'s' * (len(shipped()) == 1)} with the package"


def beside(run: str | Path, name: str) -> Path:
    """Where a file about a run goes unless told otherwise: into its directory; of a shipped one, into the current one."""
    path = Path(run).resolve()
    return Path(f"{path.name}-{name}") if path.parent == PRETRAINED.resolve() else Path(run) / name
