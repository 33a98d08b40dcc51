"""Every example runs as it stands, from an installed wheel, in an empty directory."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ENVIRONMENT, ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
BRIEF = {"lander": ["2"], "stable_baselines": ["256"]}
"""Arguments of those that would train for long."""
SAID = {"drive": "Episode(seed=3, total=", "look_inside": " became 32 numbers each", "lander": "Champion('runs/lander'",
        "own_environment": "Episode(seed=1, total=", "stable_baselines": "points in 300 frames",
        "own_function": "pi is about 3.1"}
LEFT = {"drive": {"drive.png"}, "look_inside": {"look_inside.png"}, "lander": {"runs"}, "own_environment": {"runs"},
        "stable_baselines": set(), "own_function": {"shot"}}
"""What each says and leaves behind."""


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example(example: Path, wheel: Path, tmp_path: Path) -> None:
    if example.stem == "stable_baselines":
        pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed: pip install stable-baselines3")
    ranks = ["-m", "wm_mpi", "launch", "-np", "4", sys.executable] if "-np" in example.read_text() else []
    done = subprocess.run([sys.executable, *ranks, example, *BRIEF.get(example.stem, [])], capture_output=True, text=True,
                          cwd=tmp_path, env={**ENVIRONMENT, "PYTHONPATH": str(wheel / "site")}, check=False)
    assert done.returncode == 0 and SAID[example.stem] in done.stdout, done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir()} == LEFT[example.stem]
    if example.stem == "own_function":
        assert "lost: rank " in done.stdout and "by 2 ranks" in done.stdout


def test_examples_are_short() -> None:
    for example in EXAMPLES:
        assert 10 <= len(example.read_text().splitlines()) <= 30, example.name
    assert {path.stem for path in EXAMPLES} == SAID.keys() == LEFT.keys()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_notebook(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs, and says and shows what is written in it."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install -c constraints.txt nbclient "
                                                      "ipykernel")
    import nbformat
    monkeypatch.setenv("PYTHONPATH", str(wheel / "site"))
    written = nbformat.read(ROOT / "examples" / "tour.ipynb", as_version=4)
    played = nbformat.from_dict(json.loads(json.dumps(written)))
    nbclient.NotebookClient(played, timeout=900, kernel_name="python3",
                            resources={"metadata": {"path": str(tmp_path)}}).execute()
    first, second = (outputs(book) for book in (written, played))
    assert first == second and sum("image/png" in each for each in first) >= 3


def outputs(book: Any) -> list[tuple[str, ...]]:
    """What its cells print, without the digits, which differ with the processor, and the kinds of what they show after that.

    A slow kernel sends what one cell prints in several parts.
    """
    found = []
    for cell in book.cells:
        said, shown = "", []
        for out in cell.get("outputs", []):
            said += "".join(out.get("text", ""))
            if "data" in out:
                shown.append((re.sub(r"[-\d.,]+|\s+", " ", str(out["data"].get("text/plain", ""))), *sorted(out["data"])))
        found += [(re.sub(r"[-\d.,]+|\s+", " ", said),)] * bool(said) + shown
    return found
