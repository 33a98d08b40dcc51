"""Make a world with its champion of the files that the paper's authors published; docs/games.md has the steps."""

from wm_mpi.core.cli import run_command
from wm_mpi.core.config import AdoptConfig

if __name__ == "__main__":
    run_command("adopt", AdoptConfig)

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wm_mpi.core.config import EsConfig
from wm_mpi.core.errors import UserError
from wm_mpi.core.files import read_json, replaced_directory, write_json
from wm_mpi.core.provenance import digest, environment
from wm_mpi.core.rundir import RunDir
from wm_mpi.core.terminal import quoted
from wm_mpi.data.arrays import identity, save_arrays
from wm_mpi.envs import DREAM, family, game_of
from wm_mpi.envs.frame import PUBLISHED
from wm_mpi.world.graph import build_policy
from wm_mpi.world.latent_dream import BEGINNINGS
from wm_mpi.world.published import Published, read_published
from wm_mpi.world.weights import hidden_of, latents_of

MANIFEST = "manifest.json"
ORIGINS: dict[str, dict[str, Any]] = {
    "fast": {"env_id": "CarRacing-v0 (OpenAI gym, 2018)", "lap_complete_percent": 1.0},
    "doom": {"env_id": "DoomTakeCover-v0 (OpenAI gym, 2018)", "lap_complete_percent": 0.95}}
"""What the authors' V, M and C were trained in, by game; Doom has no laps."""
SEARCHES: dict[str, dict[str, Any]] = {
    "fast": {"env": "fast"}, "doom": {"env": DREAM, "temperature": 1.25, "validate_in": "real"}}
"""How their C was searched for, beside the paper's sizes."""
GENERATIONS = 1800
"""As many as their records of both games have."""


def main(config: AdoptConfig) -> None:
    """Read everything, then write the world and, if there is a C, the run beside it."""
    out = Path(config.out)
    if out.exists() and not (out.is_dir() and is_adopted(out)):
        raise UserError(f"{out} is there already and was not made by adopt: give another --out")
    found = read_published(Path(config.published))
    with replaced_directory(out) as place:
        write_world(found, place)
        if found.parameters is not None:
            write_run(found, found.parameters, place, out.name)
    what = family(found.game)
    if found.beginnings is None:
        print("there is no initial_z.json, so nobody can dream in this world: --env dream will refuse it")
    if found.parameters is None:
        print(f"finished: {out}, a world of {what} without a champion, for there is no *.best.json\n"
              f"next: python -m wm_mpi.es --world {quoted(out)} --env {what}")
    else:
        print(f"finished: {out}, a world of {what} and its champion ({found.score:.1f} by its authors' count)\n"
              f"next: python -m wm_mpi.evaluate --run {quoted(out)}")


def is_adopted(out: Path) -> bool:
    """Whether a directory is what an earlier adopt left, or empty."""
    if not any(out.iterdir()):
        return True
    path = out / MANIFEST
    return path.exists() and "adopted" in read_json(path, dict[str, Any], "give another --out")


def write_world(found: Published, place: Path) -> None:
    """Policy, V, M, beginnings and manifest, as freeze writes them."""
    game, rnn, vae = game_of(found.game), found.rnn, identity(found.vae)
    latents, hidden = latents_of(rnn), hidden_of(rnn)
    env = {"env": found.game, "max_frames": game.max_frames, "frame": PUBLISHED} | ORIGINS[found.game]
    (place / "policy.onnx").write_bytes(build_policy(found.vae, rnn, control=game.control).SerializeToString())
    save_arrays(place / "vae.h5", found.vae, {"kind": "vae", "env": env, "sha256": vae})
    save_arrays(place / "rnn.h5", rnn, {"kind": "rnn", "env": env, "sha256": identity(rnn), "vae": vae})
    if found.beginnings is not None:
        save_arrays(place / BEGINNINGS, found.beginnings, {"kind": "beginnings"}, compress=True)
    write_json(place / MANIFEST, {
        "format": 1, "precision": "fp32", "checks": {}, "env": env, "adopted": True,
        "shapes": {"frames": [64, 64, 3], "latents": latents, "hidden": hidden, "actions": game.control.actions,
                   "parameters": game.control.parameters(latents, hidden)},
        "controller": game.control.describe(), "vae": vae, "made_by": environment(),
        "files": {path.name: digest(path) for path in sorted(place.iterdir())}})


def write_run(found: Published, parameters: npt.NDArray[np.float64], place: Path, name: str) -> None:
    """C's parameters, and the options of a search like its authors', so that the directory is a run in its own world."""
    run, world = RunDir(place), {"world_sha256": digest(place / "policy.onnx")}
    rules = {"max_frames": game_of(found.game).max_frames,
             "lap_complete_percent": ORIGINS[found.game]["lap_complete_percent"]}
    options = EsConfig.presets["paper"] | {"generations": GENERATIONS, "eval_episodes": 1024} | SEARCHES[found.game] | rules
    settings = EsConfig(preset="paper", out=name, world=None, **options)
    write_json(run.config, {**settings.values(), **world, "world": name})
    save_arrays(run.champion, dict.fromkeys(("parameters", "latest_mean", "best_candidate"), parameters),
                {"env": found.game, **ORIGINS[found.game], **rules, **world, "kind": "champion", "generation": GENERATIONS,
                 "validation_mean": found.score, "best_return": found.score})
