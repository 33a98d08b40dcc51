"""Put a run and its world into one small directory: to share it, and to ship it with the package."""

from wm_mpi.core.cli import run_command
from wm_mpi.core.config import ExportConfig

if __name__ == "__main__":
    run_command("export", ExportConfig)

import json
import shutil
from pathlib import Path
from typing import Any

from wm_mpi.core import schema
from wm_mpi.core.errors import UserError
from wm_mpi.core.files import read_json, read_text, replaced_directory, whole_lines, write_json, write_text
from wm_mpi.core.progress import log
from wm_mpi.core.provenance import digest
from wm_mpi.data.arrays import load_arrays, save_arrays
from wm_mpi.envs import ours
from wm_mpi.envs.frame import PUBLISHED
from wm_mpi.evolution.champion import Trained, load_trained
from wm_mpi.evolution.run_state import lived
from wm_mpi.reporting.model_card import model_card, unrooted
from wm_mpi.world.latent_dream import BEGINNINGS, beginnings
from wm_mpi.world.manifest import AGAIN, frame_of, load_manifest, played_in, read_part
from wm_mpi.world.published import NAMES, Published, write_published
from wm_mpi.world.weights import halved

CARD = "README.md"
MANIFEST = "manifest.json"


def main(config: ExportConfig) -> None:
    """Write all of it beside the place where it goes, then put it there at once."""
    trained = load_trained(config.run, env=None, world=config.world, max_frames=None, lap_complete_percent=None,
                           deterministic=None)
    world = Path(trained.in_world("no world: there is nothing to share"))
    if config.published is not None:
        publish(trained, world, Path(config.published))
        return
    if load_manifest(world).get("adopted"):
        raise UserError(f"{trained.run.path} was adopted from the paper's authors' files, without a record of its training: "
                        "share it as it is, or give --published DIR for these files")
    out, notes = Path(config.out), "" if config.notes is None else read_text(Path(config.notes))
    if out.exists() and not (out.is_dir() and is_export(out)):
        raise UserError(f"{out} is there already and is not an export: give another --out")
    with replaced_directory(out) as place:
        write_export(trained, world, place, notes)
        size = sum(path.stat().st_size for path in place.iterdir())
    print(f"finished: {out} ({size / 1e6:.1f} MB)")


def publish(trained: Trained, world: Path, out: Path) -> None:
    """Write V, M, first latents and C as the paper's authors published theirs.

    Raises:
        UserError: their code has no such game, or other sizes.
    """
    trained.require_linear("the paper's code has a linear one: export it without --published")
    manifest = load_manifest(world)
    game = ours(played_in(manifest))
    if game not in NAMES:
        raise UserError(f"{trained.run.path} plays {game}, but the paper's authors published CarRacing and Doom only: "
                        "export it without --published")
    for name in ("vae.h5", "rnn.h5"):
        read_part(world, manifest, name)
    vae, rnn = (load_arrays(world / name, AGAIN)[0] for name in ("vae.h5", "rnn.h5"))
    begins = BEGINNINGS in manifest["files"]
    first = dict(zip(("mu", "logvar"), beginnings(world, manifest), strict=True)) if begins else None
    score = load_arrays(trained.run.champion, AGAIN, schema.Champion)[1]["validation_mean"]
    names = write_published(out, Published(game, vae, rnn, first, trained.parameters, score or 0.0), str(world))
    if frame_of(manifest) != PUBLISHED:
        log.warning(f"V sees {frame_of(manifest)} frames, but the paper's code shows it frames of its own making, as "
                    f"collect --frame {PUBLISHED} does: C will not play there as it does here")
    if trained.deterministic:
        log.warning("C was trained on the mean of z, but the paper's code samples it")
    print(f"finished: {', '.join(names)} in {out}")


def is_export(out: Path) -> bool:
    """Whether a directory is what an earlier export left, or empty."""
    return not any(out.iterdir()) or all((out / name).exists() for name in (CARD, MANIFEST, "champion.h5"))


def write_export(trained: Trained, world: Path, out: Path, notes: str) -> None:
    """Champion, metrics and verdicts of the run; policy, V and M of its world; the card."""
    run, manifest = trained.run, load_manifest(world)
    rows = list(whole_lines(run.metrics, schema.Generation))
    evaluations = list(whole_lines(run.evaluations, schema.Evaluation))
    for path in (run.champion, run.metrics, run.earlier, world / "policy.onnx", world / "samples.png"):
        if path != run.earlier or path.exists():
            shutil.copyfile(path, out / path.name)
    write_text(out / run.evaluations.name, "".join(f"{json.dumps(unrooted(row))}\n" for row in evaluations))
    if BEGINNINGS in manifest["files"]:
        (out / BEGINNINGS).write_bytes(read_part(world, manifest, BEGINNINGS))
    for name in ("vae.h5", "rnn.h5"):
        read_part(world, manifest, name)
        halve(world / name, out / name)
    write_json(out / "config.json", unrooted({**trained.settings, "world": out.name, "out": out.name}))
    if run.environment.exists():
        write_json(out / "environment.json", unrooted(read_json(
            run.environment, schema.Environment, "delete it, it only tells the run's versions")))
    manifest = unrooted(manifest)
    manifest["files"] = {name: digest(out / name) for name in manifest["files"]}
    about = load_arrays(run.champion, "let es go on with the run", schema.Champion)[1]
    write_text(out / CARD, model_card(out.name, trained.settings, lived(run), len(rows), evaluations, manifest, about,
                                           notes))
    write_json(out / MANIFEST, manifest)


def halve(source: Path, target: Path) -> None:
    """Weights in half precision; refuses what would overflow.

    Raises:
        UserError: a weight is too large for float16.
    """
    about: dict[str, Any]
    arrays, about = load_arrays(source, "run python -m wm_mpi.freeze again")
    seen = {name: value for name, value in about.items() if name == "trained_on"}  # base64: its slashes begin no paths
    save_arrays(target, halved(arrays, str(source)), unrooted({**about, "stored_as": "float16"}) | seen, compress=True)
