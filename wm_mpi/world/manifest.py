"""A world's manifest, and its files checked against it."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wm_mpi.core.controller import Control
from wm_mpi.core.errors import UserError
from wm_mpi.core.files import explained, read_json
from wm_mpi.core.options import AUTO
from wm_mpi.core.schema import Manifest
from wm_mpi.core.shipped import kind_of, offered
from wm_mpi.data.datasets import shown
from wm_mpi.envs import DREAM, EnvSpec, ours

AGAIN = "run python -m wm_mpi.freeze again to rebuild it"


def load_manifest(world: Path) -> Manifest:
    """Read ``manifest.json`` of a world and check ``policy.onnx`` against its hash.

    Raises:
        UserError: not a world, or damaged.
    """
    path = world / "manifest.json"
    if not path.exists():
        raise UserError(f"{world} is not a world, {kind_of(world)}: give --world the directory that freeze wrote, "
                        f"or {offered()}")
    manifest = read_json(path, Manifest, AGAIN)
    read_part(world, manifest, "policy.onnx")
    return manifest


def frame_of(manifest: Manifest | None) -> str:
    """What a world's V sees; worlds of before there was a choice see the road alone."""
    return "road" if manifest is None else shown(manifest["env"])


def played_in(manifest: Manifest) -> str:
    """The environment whose frames a world was made of, and of which it dreams."""
    return manifest["env"].get("env", "fast")


def meant_by(env: str, world: str | None) -> str:
    """The game that --env names: ``AUTO`` is that of a world, CarRacing without one; in our engine."""
    if env != AUTO:
        return env
    return "fast" if world is None else ours(played_in(load_manifest(Path(world))))


def controller_size(manifest: Manifest, hidden: int | Sequence[int] | None) -> int:
    """Numbers in the vector of a C for this world, with ``hidden`` layers of so many units."""
    control = Control.of(manifest.get("controller"))
    seen = manifest["shapes"]["parameters"] // control.actions - int(control.bias)
    return control.with_hidden(hidden).size(seen)


def real(spec: EnvSpec, manifest: Manifest | None) -> EnvSpec:
    """The real game that a dream is a dream of; what is no dream is real already."""
    if spec.name != DREAM or manifest is None:
        return spec
    return replace(spec, name=played_in(manifest), frame=frame_of(manifest), temperature=None)


def read_part(world: Path, manifest: Manifest, name: str) -> bytes:
    """A file of a world, checked against its hash in the manifest.

    Raises:
        UserError: missing or damaged.
    """
    path = world / name
    if not path.exists():
        raise UserError(f"{path} is missing: {AGAIN}")
    with explained(path, "read"):
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest["files"].get(name):
        raise UserError(f"{path} is damaged, its SHA-256 is not the manifest's: {AGAIN}")
    return content
