"""report: what stands in the page, from real runs; synthetic metrics where a long run is wanted, for size and speed only."""

import base64
import dataclasses
import html
import io
import json
import re
import shutil
import sys
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import av
import numpy as np
import pytest
from browser import browser
from conftest import once, refuse, succeed
from PIL import Image

from wm_mpi.core.config import EsConfig
from wm_mpi.core.errors import UserError
from wm_mpi.core.seeding import track_seed
from wm_mpi.core.shipped import found
from wm_mpi.envs import settled
from wm_mpi.evolution.published import published
from wm_mpi.reporting import clips as footage
from wm_mpi.reporting.charts import OTHERS, Axis, Chart, Colour, Mark, axis, compact
from wm_mpi.reporting.clips import PACE, TEMPERATURES
from wm_mpi.reporting.comparison import beside_others, names, table
from wm_mpi.reporting.figures import bins, histogram, search
from wm_mpi.reporting.html_page import make_page
from wm_mpi.reporting.learning import FEWEST, learning, paper_until, smooth
from wm_mpi.reporting.png_page import palette
from wm_mpi.reporting.readout import MOST, readout
from wm_mpi.reporting.run_data import read_run
from wm_mpi.reporting.summary import glance, headline, why_they_differ
from wm_mpi.reporting.svg import draw
from wm_mpi.reporting.tables import evaluations
from wm_mpi.viewer.drive import Drive

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
        self.source = page.read_text()
        self.feed(self.source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] and self.tags[-1][0] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def rows(self) -> list[list[str]]:
        """Cells of all rows of tables."""
        cells = [[" ".join(re.sub("<[^>]*>", "", cell).split()) for cell in re.findall("<t[hd].*?</t[hd]>", row, re.S)]
                 for row in re.findall("<tr>.*?</tr>", self.source, re.S)]
        return [[html.unescape(each) for each in row] for row in cells]

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


def told(chart: Chart) -> dict[str, tuple[list[float], list[float]]]:
    """Places and values of each series that a chart's readout tells."""
    values = json.loads(str(readout(chart)).partition(">")[2].partition("<")[0])
    return {each["name"]: (values["places"][each["places"]], each["y"]) for each in values["series"] if "places" in each}


def changed(run: Path, to: Path, **settings: object) -> Path:
    """A copy of a run with other settings."""
    shutil.copytree(run, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(config | settings))
    return to


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
    films = outline.all("video")
    assert len(films) == 2
    for film in films:
        assert film["preload"] == "none" and "controls" in film and "autoplay" not in film and film["aria-label"]
        with av.open(io.BytesIO(decoded(film["src"], "video/webm"))) as video:
            pictures = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
            assert len(pictures) == 1 + judged["env"]["max_frames"] * PACE // 50 and pictures[0].shape == (200, 368, 3)
            assert video.streams.video[0].average_rate == PACE and np.abs(np.diff(pictures, axis=0)).any()
        with Image.open(io.BytesIO(decoded(film["poster"], "image/webp"))) as poster:
            shown = np.asarray(poster.convert("RGB"), int)
            assert np.abs(shown - pictures[len(pictures) // 3]).mean() < 8 and shown.std() > 10
    stills = [each["src"] for each in outline.all("img") if (each["src"] or "").startswith("data:image/webp")]
    assert stills == [film["poster"] for film in films], "paper has pictures in the place of films"
    strips = {}
    for each in outline.all("img"):
        if "at temperature" in (each["alt"] or ""):
            strips[(each["alt"] or "").split()[-1]] = each["src"]
    assert list(strips) == [f"{temperature}." for temperature in TEMPERATURES]
    assert len(set(strips.values())) == len(strips), "hotter dreams are other dreams"
    assert "at the wheel" not in report(car / "es").text


def decoded(address: str | None, kind: str) -> bytes:
    """What lies in a data URI of this kind."""
    assert address is not None and address.startswith(f"data:{kind};base64,")
    return base64.b64decode(address.partition(",")[2])


def test_without_pyav_films_are_pictures(car: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "wm_mpi.viewer.films", raising=False)
    assert footage.moving([np.zeros((20, 30, 3), np.uint8)], Fraction(25)) == ""
    data = read_run(str(car / "es"))
    still = footage.Film("", footage.webp(np.zeros((20, 30, 3), np.uint8)), "words", "caption", 30, 20)
    page = make_page(data, footage.Footage(films=[still]))
    assert "<video" not in page and f'src="{still.still}" alt="words"' in page
    assert "films need the package av (pip install 'wm_mpi[watch]')" in page


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


@pytest.mark.parametrize("points", [0, 1, FEWEST - 1, FEWEST])
def test_a_short_run_has_no_published_curve_beside_it(points: int) -> None:
    """From ten of its generations on, it has; before, a sentence stands in its place."""
    data = read_run(found("carracing"))
    until = published()["frames"][points - 1] if points else 1e5
    rows = [{**row, "frames_total": until * (number + 1) / 20} for number, row in enumerate(data.lived[:20])]
    figure, = learning(dataclasses.replace(data, lived=rows, own_rows=20, rows=rows))
    drawn = [mark for mark in figure.chart.marks if mark.label == "paper" and np.size(mark.y)]
    assert len(drawn) == (points == FEWEST) and ("is left out" in figure.caption) == (points < FEWEST)
    assert ("Grey: the run that" in figure.caption) == (points == FEWEST)
    assert points != 1 or "only 1 of its generations lies within these" in figure.caption
    assert points or "none of its generations lie within these" in figure.caption


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


def test_labels_of_rules_stand_above_the_plot_and_apart() -> None:
    """Those that are close in lines of their own; titles and the scale above make room."""
    def rules(*places: float) -> Chart:
        marks = [Mark("rule", "check", [place], label=f"mean {place:g}") for place in places]
        return Chart([Mark("line", "run", [0, 100], [0, 1]), *marks], Axis("", 0, 100, compact), Axis("", 0, 1, compact), "")

    assert [(line, left) for line, _, left, _ in rules(10, 60.5).heads()] == [(0, False), (0, True)]
    assert [line for line, *_ in rules(40, 45, 50).heads()] == [0, 1, 2] and rules(40, 45, 50).lines_above == 3
    assert rules().lines_above == 0 and "--lines" not in draw(rules()) and "--lines:2" in draw(rules(88, 90))
    row = {"returns": [890.0, 899.0, 905.0, 906.0], "mean": 900.5, "std": 6.0, "env": {
        "env": "fast", "env_id": "x", "lap_complete_percent": 0.95}}
    heads = histogram(row, "x").chart.heads()
    assert {mark.label for *_, mark in heads} == {"mean 900", "solved 900"} and len({line for line, *_ in heads}) == 2


def test_a_logarithmic_axis_has_round_ticks() -> None:
    def ticks(low: float, high: float) -> list[float]:
        return axis("", [[low, high]], compact, 4, log=True).ticks

    assert ticks(1, 1e4) == [1, 10, 100, 1000, 10000] and ticks(1, 52) == [1, 3, 10, 30]
    assert ticks(1, 1e12) == [1, 1e3, 1e6, 1e9, 1e12] and ticks(1.02, 1.3) == pytest.approx([1, 1.1, 1.2, 1.3])
    np.testing.assert_allclose(Axis("", 1, 1000, compact, log=True).place([1, 10, 1000]), [0, 1 / 3, 1])


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
    others = [changed(car / "es", tmp_path / name) for name in ("second", "a_name_that_is_rather_long", "third")]
    report(car / "es", "--films", 1, "--compare", "carracing", *others)
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


def test_every_figure_tells_its_values(car: Path) -> None:
    """Those that are drawn: of curves, with the run's generations, of bands, bars and lines to compare with."""
    data = read_run(str(car / "es"))
    [figure] = learning(data)
    values, frames = told(figure.chart), [row["frames_total"] for row in data.rows]
    assert values["mean"] == (frames, pytest.approx([row["return_mean"] for row in data.rows], rel=1e-3))
    assert values["validation"][0] == [row["frames_total"] for row in data.validated]
    shown = json.loads(str(readout(figure.chart)).partition(">")[2].partition("<")[0])
    assert shown["counted"][0] == "generation" and shown["counted"][2] == [row["generation"] for row in data.rows]
    band, = (each for each in shown["series"] if each["name"] == "mean ± std")
    assert [high - low for high, low in zip(band["y"], band["low"], strict=True)] == pytest.approx(
        [2 * row["return_std"] for row in data.rows], abs=0.3)
    sources = re.findall('<script type="application/json" class="points">(.*?)</script>', make_page(data), re.S)
    assert len(sources) == make_page(data).count('class="chart') and all(json.loads(each)["series"] for each in sources)
    bars = histogram(data.judged[-1], "x").chart
    series, = json.loads(str(readout(bars)).partition(">")[2].partition("<")[0])["series"]
    assert sum(series["y"]) == len(data.judged[-1]["returns"]) and re.fullmatch("-?[0-9.]+ to -?[0-9.]+", series["at"][0])


def test_long_curves_are_told_thinned_and_markup_is_no_markup() -> None:
    many = np.arange(5000)
    chart = Chart([Mark("line", "run", many, many**2 / 7, "</script>")], Axis("x", 0, 5000, compact),
                  Axis("y", 0, 4e6, compact), "")
    assert str(readout(chart)).count("</script>") == 1
    places, values = told(chart)["</script>"]
    assert len(places) == MOST and (places[0], places[-1]) == (0, 4999) and values[-1] == round(4999**2 / 7, 1)
    flat = Chart([Mark("dashed", "paper", [0, 9], [5, 5], "solved")], Axis("x", 0, 9, compact), Axis("y", 0, 9, compact), "")
    assert '"series":[{"name":"solved","colour":"paper","y":[5]}]' in readout(flat), "the same everywhere"


def test_runs_beside_a_run(car: Path, tmp_path: Path) -> None:
    """Curves in colours of their own, in the picture too, and a table with the paired difference on the same tracks."""
    other = changed(car / "es", tmp_path / "other", world_sha256="0" * 64)
    rows = [json.loads(line) for line in (other / "metrics.jsonl").read_text().splitlines()]
    (other / "metrics.jsonl").write_text("".join(json.dumps(row | {"return_mean": 5.0}) + "\n" for row in rows))
    [judged] = [json.loads(line) for line in (other / "evaluations.jsonl").read_text().splitlines()]
    more = judged | {"returns": [each - 3 for each in judged["returns"]], "mean": judged["mean"] - 3}
    (other / "evaluations.jsonl").write_text(json.dumps(more) + "\n")
    third = changed(car / "es", tmp_path / "third")
    (third / "evaluations.jsonl").write_text(json.dumps(judged | {"env": judged["env"] | {"max_frames": 7}}) + "\n")
    outline = report(car / "es", "--compare", other, "--compare", third, "carracing", "--png", tmp_path / "three.png")
    of = {row[0]: row for row in outline.rows if len(row) == 8}
    assert list(of) == ["run", "car/es", f"{tmp_path.name}/other", f"{tmp_path.name}/third", "carracing"]
    assert of[f"{tmp_path.name}/other"][-1] == "+3.0 (not given below 10 tracks); better on 4 of 4 tracks"
    assert of[f"{tmp_path.name}/other"][1].endswith("(another)") and of[f"{tmp_path.name}/third"][1] == "the same"
    assert "judged on other tracks or by other rules" in of[f"{tmp_path.name}/third"][-1]
    assert of["carracing"][5] == "931.2 (929.1 to 933.0)"
    assert "They do not all see through the same V and M" in outline.text
    assert f"violet {tmp_path.name}/other; red {tmp_path.name}/third; olive carracing." in outline.text
    for colour in OTHERS[:3]:
        assert f'class="thin {colour}"' in outline.source and f'class="dots {colour}"' in outline.source
    assert f"--run {car / 'es'} --compare {other} {third} carracing" in outline.text
    data = beside_others(read_run(str(car / "es")), [str(other)])
    assert told(learning(data)[0].chart)["other"][1] == [5.0] * len(rows)
    assert names(data) == ["other"] and table(read_run(str(car / "es"))).rows == []
    with Image.open(tmp_path / "three.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or []}
    assert {tuple(bytes.fromhex(palette()[colour][1:])) for colour in OTHERS[:3]} <= colours


def test_what_cannot_stand_beside_a_run_is_refused(toy: Path, car: Path, tmp_path: Path) -> None:
    assert (f"--compare {car / 'es'} was trained in --env fast, but {toy} in --env toy: returns of two games do not "
            "compare") in refuse("report", "--run", toy, "--films", 0, "--compare", car / "es")
    data = read_run(str(toy))
    for wanted, runs in (
            ("is there already: give each run once", [toy]), ("5 runs, but the colours of more than 4", [toy] * 5),
            ("is not the directory of an es run", [tmp_path]), ("has no generation yet", [_begun(tmp_path)])):
        with pytest.raises(UserError, match=wanted):
            beside_others(data, [str(run) for run in runs])
    alone = changed(car / "es", tmp_path / "alone", env="dream", validate_in="dream")
    with pytest.raises(UserError, match="was trained and validated in M's dream alone"):
        beside_others(read_run(str(car / "es")), [str(alone)])


def test_verdicts_never_read_the_same(car: Path) -> None:
    """What differs has a column; what does not is one row."""
    data = read_run(str(car / "es"))
    one = data.evaluations[0]
    rules = one["env"]

    def rows(*more: dict) -> list[tuple[str, ...]]:
        told = evaluations(dataclasses.replace(data, evaluations=[one, *({**one, **each} for each in more)]))
        assert len(set(told.rows)) == len(told.rows) and all(len(row) == len(told.head) for row in told.rows)
        return list(told.rows)

    assert len(rows({})) == 1 and "1 more came to the same" in evaluations(
        dataclasses.replace(data, evaluations=[one, one])).caption
    for change in ({"env": {**rules, "lap_complete_percent": 0.996}}, {"env": {**rules, "max_frames": 1}},
                   {"deterministic": not one["deterministic"]}, {"width": 99}, {"tracks": [1, 2]}, {"controller": "best"},
                   {"env": {**rules, "env_id": "another"}}, {"generation": 77}):
        assert len(rows(change)) == 2, change
    assert len(rows({"env": {**rules, "lap_complete_percent": 0.996}}, {"env": {**rules, "lap_complete_percent": 1.0}})) == 3


def test_why_validation_and_test_are_two_numbers(car: Path) -> None:
    data = read_run(found("carracing"))
    said = why_they_differ(data)
    for words in ("Validation (927.2) and test (", "over 64 tracks and chose this champion as the best of 12 generations",
                  "100 other tracks, which chose nothing", "both end after 1,000 frames", "after 100 frames without a gain"):
        assert words in said, words
    judged = data.judged[0] | {"env": data.judged[0]["env"] | {"max_frames": 500, "lap_complete_percent": 1.0,
                                                              "env": "gymnasium", "env_id": "CarRacing-v3"}}
    said = why_they_differ(dataclasses.replace(data, evaluations=[judged])).replace("\N{NO-BREAK SPACE}", " ")
    for words in ("a validation episode ends after 1,000 frames at the latest, one of the test after 500",
                  "a lap took 95 % of the tiles in validation, 100 % in the test", "the test was in CarRacing-v3"):
        assert words in said, words
    assert why_they_differ(dataclasses.replace(data, evaluations=[])) == ""
    assert "Validation (" in report(car / "es").text


def test_an_export_is_not_called_unfinished(car: Path, tmp_path: Path) -> None:
    """It has no checkpoint that could go on; a run that has one is what it is."""
    started = changed(car / "es", tmp_path / "started", generations=9)
    assert "2 of 9 generations (not finished" in headline(read_run(str(started)))
    succeed("export", "--run", started, "--out", tmp_path / "exported")
    assert headline(read_run(str(tmp_path / "exported"))).endswith("2 of 9 generations (exported)")


def test_nouns_follow_their_numbers(car: Path) -> None:
    """One epoch, one worker rank, one generation, one episode."""
    run = read_run(str(car / "es"))
    world = dataclasses.replace(run.world, losses={name: rows[:1] for name, rows in run.world.losses.items()})
    one = dataclasses.replace(run, rows=[{**run.rows[0], "workers": 1, "episodes": 1}], world=world, config={
        **run.config, "popsize": 1, "episodes": 1, "generations": 1, "eval_every": 1}, evaluations=[
            {**run.evaluations[0], "returns": [1.0], "tracks": [7]}])
    words = html.unescape(make_page(dataclasses.replace(one, lived=one.rows, own_rows=1)))
    nouns = "epoch|worker rank|generation|episode|test track|track|candidate|frame|latent|return|moment"
    assert re.findall(rf"(?<![\d.,:])1 (?:{nouns})s\b.*", words) == []
    for right in ("in 1 epoch", "1 worker rank at", "1 candidate of 1 episode each", "of 1 generation ("):
        assert right in words, right
    assert ("core-hours", "1 worker rank at the end") in [(name, more) for name, _, more in glance(one)]


@pytest.mark.alone
def test_a_page_in_use(car: Path, long: Path, axe: str, tmp_path: Path) -> None:
    """Values under the pointer and by the arrow keys, films that play, a page for paper, and one without scripts."""
    report(long)
    report(car / "es", "--films", 1)
    row = read_run(str(long)).rows[-1]
    with browser(tmp_path) as chromium:
        page = chromium.page()
        for width in (1280, 360):
            page.size(width, 800)
            page.open((long / "report.html").as_uri())
            x, y = page.middle(".chart svg")
            page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
            first = page.until("[...document.querySelectorAll('.told')].filter((one) => one.offsetWidth)[0]?.innerText")
            assert first.startswith("frames played in training 8") and ", generation 9" in first and "mean ± std" in first
            page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + 60, y=y)
            assert page.run("document.querySelector('.told').innerText") != first
            assert not page.scrolls_sideways() and page.axe(axe) == []
            page.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
            page.until("![...document.querySelectorAll('.told')].some((one) => one.offsetWidth)")
        page.open((long / "report.html").as_uri())
        page.press("Tab")
        said = "document.activeElement.getAttribute('aria-valuetext')"
        assert f"{row['frames_total']:,}, generation 1,800; " in page.run(said), "the first figure's slider, at its end"
        assert page.run("document.querySelector('.told').offsetWidth") > 0
        page.press("ArrowLeft")
        assert "generation 1,795; " in page.run(said)
        page.open((car / "es/report.html").as_uri())
        assert page.run("document.querySelector('video').readyState") == 0, "nothing is decoded before it is wanted"
        page.run("document.querySelector('video').play()")
        page.until("document.querySelector('video').currentTime > 0.5 && document.querySelector('video').readyState >= 2")
        assert page.run("(({videoWidth: w, videoHeight: h, error}) => [w, h, error])(document.querySelector('video'))") == [
            368, 200, None]
        assert page.axe(axe) == []
        page.call("Emulation.setEmulatedMedia", media="print")
        page.open((car / "es/report.html").as_uri())
        avoided = ("[...document.querySelectorAll('{}')].every((one) => getComputedStyle(one).{} === 'avoid')")
        assert page.run(avoided.format("h2, h3, caption, figcaption", "breakAfter"))
        assert page.run(avoided.format("h2 + p, h3 + p", "breakAfter")), "a heading with its first sentence is one, too"
        assert page.run(avoided.format("figure, table, tr", "breakInside"))
        films = "[...document.querySelectorAll('.films figure {}')].map((one) => one.offsetWidth > 100)"
        assert page.run(films.format("video")) == [False] * 2 and page.run(films.format("img")) == [True] * 2
        page.call("Emulation.setEmulatedMedia", media="screen")
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.open((long / "report.html").as_uri())
        assert page.run("document.querySelectorAll('.steps, .told').length") == 0
        curves = page.run("[...document.querySelectorAll('.chart svg path.thin')].map((one) => one.getBBox().width)")
        assert len(curves) > 5 and min(curves) > 0, "curves need no script"
        assert page.complaints == []


def test_an_episode_that_is_shorter_than_its_opening(pipeline: Path) -> None:
    car = Drive(str(pipeline / "world"), np.zeros(867), max_frames=20)
    assert "from frame 0 on" in footage.understanding(car, track_seed(0, 1), 60).caption
    assert "from frame 8 on" in footage.understanding(car, track_seed(0, 1), 8).caption
