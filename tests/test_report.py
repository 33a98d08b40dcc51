"""report: what stands in the page, from real runs; synthetic metrics where a long run is wanted, for size and speed only."""

import base64
import dataclasses
import io
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from browser import browser
from conftest import once, refuse, succeed
from PIL import Image

from wm_mpi.core.config import EsConfig
from wm_mpi.core.shipped import found
from wm_mpi.envs import settled
from wm_mpi.evolution.published import published
from wm_mpi.reporting import clips as footage
from wm_mpi.reporting.charts import Axis, Chart, Colour, Mark, axis, compact
from wm_mpi.reporting.clips import PACE, TEMPERATURES
from wm_mpi.reporting.figures import bins, search
from wm_mpi.reporting.learning import learning, paper_until, smooth
from wm_mpi.reporting.png_page import palette
from wm_mpi.reporting.run_data import read_run
from wm_mpi.reporting.svg import draw

HEAVIEST = 10e6
"""Of any report (bytes)."""
SLOWEST = 2000
"""Until a page is loaded and laid out (ms)."""


class Outline(HTMLParser):
    """What a page is made of."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] and self.tags[-1][0] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def report(run: Path, *flags: object) -> Outline:
    """The report of a run, which must be sound: needs nothing from elsewhere, and says in words what it shows."""
    succeed("report", "--run", run, *(() if "--films" in flags else ("--films", 0)), *flags)
    page = run / "report.html"
    assert page.stat().st_size < HEAVIEST
    outline = Outline(page)
    for _, attributes in outline.tags:
        for name in ("src", "href", "srcset", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:"), attributes
        assert attributes.get("role") != "img" or attributes.get("aria-label")
    assert "url(" not in page.read_text() and "@import" not in page.read_text()
    assert all(attributes.get("alt") for attributes in outline.all("img"))
    assert len(outline.all("h1")) == 1 and len(outline.all("table")) == len(outline.all("caption"))
    return outline


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def fill(folder: Path) -> None:
        succeed("es", "--preset", "smoke", "--env", "toy", "--generations", 3, "--out", folder / "run", ranks=3)
        succeed("evaluate", "--preset", "smoke", "--run", folder / "run")

    return once(tmp_path_factory, "toy", fill) / "run"


@pytest.fixture(scope="session")
def car(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def fill(folder: Path) -> None:
        shutil.copytree(pipeline, folder, dirs_exist_ok=True)
        succeed("es", "--preset", "smoke", "--world", folder / "world", "--out", folder / "es")
        succeed("evaluate", "--preset", "smoke", "--run", folder / "es")

    return once(tmp_path_factory, "car", fill)


@pytest.fixture(scope="module")
def long(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the metrics of 1,800 generations: made up, for the page's size and speed."""
    run = tmp_path_factory.mktemp("long") / "run"
    shutil.copytree(toy, run)
    config = json.loads((toy / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "env": "fast", "generations": 1800, "popsize": 64}))
    row, random = json.loads((toy / "metrics.jsonl").read_text().splitlines()[0]), np.random.default_rng(0)
    with open(run / "metrics.jsonl", "w") as file:
        for generation in range(1, 1801):
            mean = 900 * (1 - np.exp(-generation / 30)) + random.normal(0, 8)
            lost = ["rank 7 on node1"] if 300 < generation < 600 else ["rank 9 on node2"] if generation > 900 else []
            row |= {"generation": generation, "frames_total": 950_000 * generation, "return_mean": mean,
                    "return_best": mean + 40, "return_std": 20.0, "seconds": 3.0, "lost": lost}
            file.write(json.dumps(row | ({"eval_mean": mean, "eval_std": 9.0} if generation % 25 == 0 else {})) + "\n")
    return run


def test_films_drive_as_the_verdict_did_that_they_illustrate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with its width: sums may round differently for another number of rows."""
    made: list[tuple[object, ...]] = []
    data = read_run(found("carracing"))
    judged = data.judged[0] | {"width": 5, "deterministic": False, "env": {
        "env": "fast", "env_id": "x", "max_frames": 70, "lap_complete_percent": 0.5}}
    monkeypatch.setattr(footage, "open_session", lambda part, dream=False: made.append(
        (part.deterministic, part.max_frames, part.lap_complete_percent, part.width, part.env, part.in_latents)))
    for part in ("film", "understanding", "dreams"):
        monkeypatch.setattr(footage, part, lambda *_: "")
    footage.played(dataclasses.replace(data, evaluations=[judged]), 1)
    assert made == [(False, 70, 0.5, 5, "fast", False)] * 2


def test_a_run_counts_what_it_began_with(tmp_path: Path) -> None:
    """Frames, core-hours and generations of the runs before it, and of those before them; told once, at the beginning."""
    line, before = ("es", "--env", "toy", "--popsize", 4, "--episodes", 1, "--eval-every", 1, "--eval-episodes", 2), ()
    for name in ("first", "second", "third"):
        for generations in (1, 2):  # resumed, it stays as it was
            succeed(*line, "--generations", generations, *before, "--out", tmp_path / name)
        before = ("--init", tmp_path / name)
    own = [[json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
           for name in ("first", "second", "third")]
    data = read_run(str(tmp_path / "third"))
    assert [row["generation"] for row in data.lived] == [1, 2, 3, 4, 5, 6]
    assert [row["return_mean"] for row in data.lived] == [row["return_mean"] for rows in own for row in rows]
    frames = np.cumsum([row["frames"] for rows in own for row in rows])
    assert [row["frames_total"] for row in data.lived] == frames.tolist() and data.frames_before == frames[3]
    [figure] = learning(data)
    [rule] = [mark for mark in figure.chart.marks if mark.kind == "rule"]
    assert (rule.x, rule.label) == (frames[3], "this run") and "are of the runs that this one began with" in figure.caption
    assert not (tmp_path / "first" / "earlier.jsonl").exists() and read_run(str(tmp_path / "first")).frames_before == 0


def test_a_run_of_the_toy(toy: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (toy / "metrics.jsonl").read_text().splitlines()]
    [judged] = [json.loads(line) for line in (toy / "evaluations.jsonl").read_text().splitlines()]
    outline = report(toy, "--png", tmp_path / "run.png")
    assert "3 of 3 generations (finished)" in outline.text and "no world" in outline.text
    assert f"{judged['mean']:.1f} ± {judged['std']:.1f} over {len(judged['returns'])} test tracks" in outline.text
    [validation] = [row for row in rows if "eval_mean" in row]
    assert f"{validation['eval_mean']:.1f}" in outline.text and f"{validation['frames_total']:,}" in outline.text
    assert "paper" not in outline.text  # the toy is another task: nothing to compare with
    for option, value in json.loads((toy / "config.json").read_text()).items():
        assert option in outline.words and (value if isinstance(value, str) else json.dumps(value)) in outline.words
    with Image.open(tmp_path / "run.png") as picture:
        assert picture.size == (1800, 1200)
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 50


def test_the_verdict_that_counts(toy: Path) -> None:
    """Not a few tracks judged later in another environment, and not the best candidate."""
    def row(controller: str, mean: float, tracks: int) -> dict:
        return {"controller": controller, "mean": mean, "returns": [mean] * tracks, "env": {"env": "toy"}}

    rows = [row("mean", 1, 100), row("mean", 2, 100), row("best", 3, 200), row("mean", 4, 4)]
    data = dataclasses.replace(read_run(str(toy)), evaluations=rows)
    assert data.verdict is rows[1] and data.judged == [rows[0], rows[1], rows[3]]
    assert dataclasses.replace(data, evaluations=[]).verdict is None


def test_a_run_in_a_world(car: Path) -> None:
    outline = report(car / "es")
    assert "of 32 latents are active" in outline.text
    rows = [json.loads(line) for line in (car / "rnn/history.jsonl").read_text().splitlines()]
    assert f"M: the training loss went from {rows[0]['loss']:.4g} to {rows[-1]['loss']:.4g}" in outline.text
    assert "V: the training loss" in outline.text and "Not shown" not in outline.text
    assert "its first generation alone took 1.0 million frames" in outline.text


def test_films_and_dreams(car: Path) -> None:
    """The worst and the best test track as films that move, strips of what V and M make of them, dreams."""
    [judged] = [json.loads(line) for line in (car / "es/evaluations.jsonl").read_text().splitlines()]
    outline = report(car / "es", "--films", 1)
    for name, value in (("worst", min(judged["returns"])), ("best", max(judged["returns"]))):
        track = judged["tracks"][judged["returns"].index(value)]
        assert (f"{name} of {len(judged['returns'])}: track {track}, {value:.1f} points when evaluated; "
                f"in this drive {value:.1f} points in 100 frames") in outline.text, "the drive is to be the same again"
    films = [each for each in outline.all("img") if (each["src"] or "").startswith("data:image/webp")]
    assert len(films) == 2 and len(outline.all("source")) == 2  # stills for those who do not want motion
    for film in films:
        with Image.open(io.BytesIO(base64.b64decode((film["src"] or "").partition(",")[2]))) as picture:
            assert picture.n_frames >= judged["env"]["max_frames"] * PACE // 50 and picture.size == (368, 200)
    strips = {}
    for each in outline.all("img"):
        if "at temperature" in (each["alt"] or ""):
            strips[(each["alt"] or "").split()[-1]] = each["src"]
    assert list(strips) == [f"{temperature}." for temperature in TEMPERATURES]
    assert len(set(strips.values())) == len(strips), "hotter dreams are other dreams"
    assert "at the wheel" not in report(car / "es").text


def test_what_the_world_was_made_from_is_elsewhere(car: Path, tmp_path: Path) -> None:
    shutil.copytree(car / "world", tmp_path / "alone/world")
    manifest = tmp_path / "alone/world/manifest.json"
    made = json.loads(manifest.read_text())
    made["made_by"]["command"] = []  # a world from another machine: its paths lead nowhere here
    manifest.write_text(json.dumps(made))
    outline = report(car / "es", "--world", tmp_path / "alone/world")
    assert "Not shown: V's losses and M's losses and the latents' activity" in outline.text
    assert "latents are active" not in outline.text and "training loss went" not in outline.text


def test_a_world_that_is_gone_is_said(car: Path, tmp_path: Path) -> None:
    shutil.copytree(car / "es", tmp_path / "run")
    config = json.loads((tmp_path / "run/config.json").read_text())
    (tmp_path / "run/config.json").write_text(json.dumps({**config, "world": str(tmp_path / "gone")}))
    assert f"{tmp_path / 'gone'} is not a world" in report(tmp_path / "run").text


def test_another_world_is_refused(car: Path, tmp_path: Path) -> None:
    shutil.copytree(car / "es", tmp_path / "run")
    config = json.loads((tmp_path / "run/config.json").read_text())
    (tmp_path / "run/config.json").write_text(json.dumps({**config, "world_sha256": "0" * 64}))
    assert "is another world than the run" in report(tmp_path / "run").text
    assert "is another world" in refuse("report", "--run", tmp_path / "run", "--world", car / "world")


def test_no_run_is_refused_in_a_sentence(pipeline: Path, tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing", pipeline / "world", pipeline / "vae"):
        assert f"{directory} is not the directory of an es run" in refuse("report", "--run", directory)
    assert "cannot be written" in refuse("report", "--run", _begun(tmp_path), "--out", "/proc/report.html")


def _begun(tmp_path: Path) -> Path:
    """A run that was killed before its first generation."""
    run = tmp_path / "begun"
    run.mkdir()
    config = settled(EsConfig(env="toy", popsize=4, episodes=1, generations=9, eval_every=2))
    (run / "config.json").write_text(json.dumps(config.values()))
    return run


def test_a_run_without_a_generation(tmp_path: Path) -> None:
    outline = report(_begun(tmp_path), "--png", tmp_path / "begun.png")
    assert "No generation is finished yet" in outline.text and "No evaluation yet" in outline.text
    assert (tmp_path / "begun.png").stat().st_size > 10_000


def test_one_generation_and_a_line_in_the_making(toy: Path, tmp_path: Path) -> None:
    shutil.copytree(toy, tmp_path / "run")
    (tmp_path / "run/evaluations.jsonl").unlink()
    metrics = tmp_path / "run/metrics.jsonl"
    torn = metrics.read_bytes().splitlines(keepends=True)[0] + b'{"generation": 2, "fra'
    metrics.write_bytes(torn)
    outline = report(tmp_path / "run", "--png", tmp_path / "run.png")
    assert "1 of 3 generations (not finished" in outline.text and "No validation so far" in outline.text
    assert metrics.read_bytes() == torn, "the run may be in progress: its files are not to be touched"


def test_ranks_lost_are_counted_across_starts(long: Path) -> None:
    assert read_run(str(long)).lost == [(301, "rank 7 on node1"), (901, "rank 9 on node2")]


def test_the_published_curve_at_equal_frames() -> None:
    paper = published()
    assert len(paper["generation"]) == 1800 and (np.diff(paper["frames"]) > 0).all()
    assert (paper["mean"][0], paper["mean"][-1], np.nanmax(paper["validation"])) == (-54.6, 890.38, 900.46)
    assert np.isfinite(paper["validation"]).sum() == 72
    until = paper_until(10e6)
    assert until["frames"][-1] <= 10e6 < paper["frames"][len(until["frames"])]
    assert len(paper_until(1e6)["mean"]) == 0


def test_a_chart_puts_values_where_they_belong() -> None:
    drawn = draw(Chart([Mark("line", "run", [0, 5, 10], [0, 100, 50], "mean"), Mark("bars", "check", [0], [50], low=[5]),
                        Mark("band", "run", [0, 10], [100, 100], low=[0, 50])], Axis("x", 0, 10, compact),
                       Axis("y", 0, 100, compact), 'a "chart"'))
    assert 'd="M0.0 1000.0L500.0 0.0L1000.0 500.0"' in drawn
    assert 'd="M0.0 1000V500.0H500.0V1000Z"' in drawn
    assert 'd="M0.0 0.0L1000.0 0.0L1000.0 500.0L0.0 1000.0Z"' in drawn
    assert 'aria-label="a &#34;chart&#34;"' in drawn and 'style="top:50.00%">mean</span>' in drawn


def test_ticks_are_round_and_labels_apart() -> None:
    assert axis("", [[3, 97]], compact, 5, floor=0).ticks == [0, 50, 100]
    assert Axis("", -55, 935, compact, 6).ticks == [0, 200, 400, 600, 800]
    assert axis("", [[7.0]], compact).ticks and axis("", [], compact).ticks
    assert [compact(value) for value in (-50, 1500, 2e6, 1.5e9)] == ["−50", "1.5k", "2M", "1,500M"]
    lines = [Mark("line", "run", [0, 1], [0, 1], name) for name in ("a", "b", "c")]
    three = Chart(lines, Axis("", 0, 1, compact), Axis("", 0, 1, compact), "three lines that end together", height=13)
    drawn = draw(three)
    places = [float(drawn.split(f'">{name}<')[0].rsplit("top:", 1)[1].rstrip("%")) for name in ("a", "b", "c")]
    assert np.allclose(np.diff(places), 10) and min(places) == 0


def test_how_the_search_went(toy: Path) -> None:
    """Of a run with condition numbers, and of an older one that has none."""
    data = read_run(toy)
    sigma, condition = search(data)
    assert sigma.chart.said.startswith(f"Step size sigma from {data.rows[0]['sigma']:.3g} to ")
    assert condition.chart.said.startswith("Condition number from ")
    assert condition.chart.y.log and condition.chart.marks[0].y == [row["condition"] for row in data.rows]
    older = dataclasses.replace(data, rows=[{name: value for name, value in row.items() if name != "condition"}
                                            for row in data.rows])
    assert [each.chart.said for each in search(older)] == [sigma.chart.said]


def test_page_and_picture_have_the_same_colours() -> None:
    assert set(get_args(Colour)) | {"ink", "soft", "hair"} <= palette().keys()
    assert palette()["run"] == "#0a64a4", "in the light"


def test_bins_hold_all_returns_and_running_means_are_means() -> None:
    returns = np.random.default_rng(1).normal(880, 40, 100)
    edges = bins(returns)
    assert np.histogram(returns, edges)[0].sum() == 100 and np.allclose(np.diff(edges), np.diff(edges)[0])
    far_off = bins(np.append(returns, 100.0))  # one car that went astray leaves 900 and 930 in bars of their own
    assert np.digitize(900, far_off) < np.digitize(930, far_off) and len(far_off) < 100
    assert np.histogram(np.full(20, 500.0), bins(np.full(20, 500.0)))[0].sum() == 20
    assert np.allclose(smooth(np.array([1.0, 2, 6, 4]), 3), [1.5, 3, 4, 5])


@pytest.mark.alone
def test_a_report_in_a_browser(long: Path, car: Path, axe: str, tmp_path: Path) -> None:
    """Opens in under two seconds, asks for nothing else, fits a phone, and passes axe-core in light and dark."""
    report(long)
    report(car / "es", "--films", 1)
    with browser(tmp_path) as chromium:
        page = chromium.page()
        for run in (long, car / "es"):
            for width, scheme in ((1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")):
                page.size(width, 800)
                page.prefer(color_scheme=scheme)
                page.requests.clear()
                page.open((run / "report.html").as_uri())
                loaded = page.run("(document.body.offsetHeight, performance.getEntriesByType('navigation')[0].loadEventEnd)")
                assert 0 < loaded < SLOWEST
                assert {address.partition(":")[0] for address in page.requests} <= {"file", "data"}
                assert not page.scrolls_sideways(), (run, width)
                assert page.axe(axe) == []
        assert page.complaints == []
