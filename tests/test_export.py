"""What is shared: small, whole, taken as run, as world and as a start; and what is shipped under a name."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import here, refuse, succeed, wm

from wm_mpi.core.errors import UserError
from wm_mpi.core.shipped import PRETRAINED, beside, found, shipped
from wm_mpi.data.arrays import load_arrays, save_arrays
from wm_mpi.export import halve
from wm_mpi.reporting.model_card import model_card, unrooted
from wm_mpi.world.inference import Inference

JUDGED = ("evaluate", "--episodes", 2, "--max-frames", 30)


@pytest.fixture(scope="module")
def run(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "es"
    succeed("es", "--preset", "smoke", "--max-frames", 30, "--world", pipeline / "world", "--out", out)
    succeed(*JUDGED, "--run", out)
    return out


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    (run.parent / "notes.md").write_text("Trained on *almost nothing*.")
    succeed("export", "--run", run, "--out", run.parent / "tiny", "--notes", run.parent / "notes.md")
    return run.parent / "tiny"


def test_an_export_is_a_run_and_a_world(pipeline: Path, run: Path, exported: Path, tmp_path: Path) -> None:
    size = {path.name: path.stat().st_size for path in exported.iterdir()}
    assert sum(size.values()) < 0.65 * sum(path.stat().st_size for path in (pipeline / "world").iterdir())
    for place, name in ((run, "a.json"), (exported, "b.json")):
        succeed(*JUDGED, "--run", place, "--json", tmp_path / name)
    verdicts = [json.loads((tmp_path / name).read_text())["returns"] for name in ("a.json", "b.json")]
    assert verdicts[0] == verdicts[1]
    succeed("watch", "--run", exported, "--max-frames", 3, "--sheet", tmp_path / "sheet.png")
    succeed("report", "--run", exported, "--films", 0, "--out", tmp_path / "report.html")
    succeed("es", "--preset", "smoke", "--max-frames", 10, "--generations", 1, "--world", exported, "--init", exported,
            "--out", tmp_path / "on")
    here("train_vae", "--preset", "smoke", "--data", pipeline / "frames", "--init", exported, "--out", tmp_path / "vae")
    moved = exported.rename(tmp_path / "moved")
    succeed(*JUDGED, "--run", moved)
    moved.rename(exported)


def test_half_precision_is_near_and_what_overflows_is_refused(pipeline: Path, run: Path, exported: Path, copied: Path,
                                                              tmp_path: Path) -> None:
    z = np.random.default_rng(1).standard_normal((4, 32)).astype(np.float32)
    full, half = (Inference.of(place).decode(z).astype(int) for place in (pipeline / "world", exported))
    assert np.abs(full - half).max() <= 1
    save_arrays(tmp_path / "large.h5", {"kernel": np.array([1e6, 1.0])}, {"kind": "vae"})
    with pytest.raises(UserError, match="kernel does not fit into half precision, its largest weight is 1e"):
        halve(tmp_path / "large.h5", tmp_path / "half.h5")


def test_what_weights_have_seen_survives_an_export(tmp_path: Path) -> None:
    """Base64 that looks like a path, beside a path, of which only the end is kept."""
    seen = "AAA+/AAA/AAAAAAA"
    assert unrooted(seen) != seen
    save_arrays(tmp_path / "full.h5", {"kernel": np.ones(2)}, {"trained_on": seen, "policy": "/home/me/runs/es"})
    halve(tmp_path / "full.h5", tmp_path / "half.h5")
    about: dict[str, str] = load_arrays(tmp_path / "half.h5", "")[1]
    assert about["trained_on"] == seen and about["policy"] == "runs/es"


def test_the_card_says_what_was_found_and_not_where(run: Path, tmp_path: Path) -> None:
    exported = tmp_path / "fresh"
    (tmp_path / "notes.md").write_text("Trained on *almost nothing*.")
    succeed("export", "--run", run, "--out", exported, "--notes", tmp_path / "notes.md")
    card = (exported / "README.md").read_text()
    row = json.loads((run / "evaluations.jsonl").read_text().splitlines()[0])
    assert f"**{row['mean']:.1f}**" in card and "Trained on *almost nothing*." in card
    for path in exported.iterdir():
        assert str(run.parent.parent).encode() not in path.read_bytes(), path
    assert unrooted({"what": ["generation 2 of /home/me/runs/es, 3/4", "/x", "a/b/c/d"]}) == {
        "what": ["generation 2 of runs/es, 3/4", "/x", "a/b/c/d"]}
    assert "z sampled" in card and "--init fresh --out runs/on" in card
    manifest = json.loads((exported / "manifest.json").read_text())
    assert all(f"{name}: SHA-256 {digest}" in card for name, digest in manifest["files"].items())


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_card_says_how_z_was_used(exported: Path, deterministic: bool) -> None:
    settings, manifest = (json.loads((exported / name).read_text()) for name in ("config.json", "manifest.json"))
    rows = [json.loads(line) for line in (exported / "metrics.jsonl").read_text().splitlines()]
    card = model_card("tiny", {**settings, "deterministic": deterministic}, rows, len(rows), [], manifest,
                      load_arrays(exported / "champion.h5", "")[1], "")
    assert ("z = mu" in card) == ("--init tiny --deterministic --out runs/on" in card) == deterministic
    assert ("z sampled" in card) != deterministic and "None yet." in card and "it began with" not in card


def test_exports_replace_one_another_and_nothing_else(run: Path, exported: Path, tmp_path: Path) -> None:
    before = (exported / "policy.onnx").read_bytes()
    succeed("export", "--run", run, "--out", exported)
    assert (exported / "policy.onnx").read_bytes() == before and "almost nothing" not in (exported / "README.md").read_text()
    (tmp_path / "thesis.txt").write_text("mine")
    assert "is there already and is not an export" in refuse("export", "--run", run, "--out", tmp_path)
    assert not list(exported.parent.glob(".wm_mpi-*"))
    succeed("es", "--env", "toy", "--preset", "smoke", "--out", tmp_path / "toy")
    assert "there is nothing to share" in refuse("export", "--run", tmp_path / "toy", "--out", tmp_path / "no")


def test_names_of_what_is_shipped(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wm_mpi.core.shipped.PRETRAINED", exported.parent)
    assert found("tiny") == str(exported) and found("random") == "random" and found("es/") == "es/"
    assert beside(exported, "report.html") == Path("tiny-report.html")
    assert beside(tmp_path, "report.html") == tmp_path / "report.html"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert found("tiny") == "tiny", "what lies in the current directory comes first"


@pytest.mark.parametrize("name", shipped())
def test_what_is_shipped_drives_as_its_card_says(name: str, tmp_path: Path) -> None:
    """Eight tracks of the card's first verdict. Other processors round otherwise: other drives, but as good ones."""
    place = PRETRAINED / name
    assert sum(path.stat().st_size for path in place.iterdir()) < 16e6
    row = json.loads((place / "evaluations.jsonl").read_text().splitlines()[0])
    done = wm("evaluate", "--run", name, "--episodes", 8, "--json", tmp_path / "verdict.json", ranks=3,
              cwd=tmp_path)
    assert done.returncode == 0 and "is not finished" not in done.stdout + done.stderr, done.stderr
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["tracks"] == row["tracks"][:8]
    assert abs(np.mean(verdict["returns"]) - np.mean(row["returns"][:8])) < 4 * row["std"] / 8**0.5
    assert load_arrays(place / "champion.h5", "")[0]["parameters"].shape == ({"carracing": 867, "doom": 1088}[name],)
