"""watch --serve: how runs grow, as a table and as curves, and champions of earlier generations."""

import contextlib
import hashlib
import itertools
import json
import math
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import NPM, Browser, Page, answering
from conftest import ENVIRONMENT, ROOT, succeed
from test_serve import ToySource, visit

from wm_mpi.core.cli import parse
from wm_mpi.core.config import WatchConfig
from wm_mpi.core.errors import UserError
from wm_mpi.core.rundir import RunDir, in_use
from wm_mpi.core.shipped import found
from wm_mpi.evolution.champion import load_trained
from wm_mpi.evolution.means import FEW, LARGE, PER_DOUBLING, keeps, kept_generations, load_mean
from wm_mpi.evolution.run_list import newest_run, run_directories
from wm_mpi.viewer.web import server as serving
from wm_mpi.viewer.web.runs import COLUMNS, Lines, Runs
from wm_mpi.viewer.web.source import Sources
from wm_mpi.watch import default_run, root_of

SETTINGS = {"env": "fast", "world": "worlds/mine", "popsize": 4, "episodes": 2, "generations": 20, "sigma": 0.1,
            "max_frames": 100, "lap_complete_percent": 0.95, "width": 2, "eval_every": 5, "eval_episodes": 3,
            "deterministic": True, "seed": 7}


def row(generation: int, **more: Any) -> dict[str, Any]:
    """A line of metrics.jsonl."""
    validation = {"eval_mean": 800.0 + generation, "eval_std": 5.0} if generation % 5 == 0 else {}
    return {"generation": generation, "frames": 800, "episodes": 8, "frames_total": 800 * generation,
            "return_mean": 900 - 900 / generation, "return_best": 910.0, "return_min": 0.0, "return_std": 1.0,
            "sigma": 0.1 * 0.99**generation, "condition": 1.0 + generation, "seconds": 36.0, "frames_per_second": 1000.0,
            "busy_share": 0.9, "workers": 2, "core_hours": 0.02 * generation, **validation, **more}


def make_run(path: Path, rows: int = 0, **settings: Any) -> Path:
    """A run of so many generations, as far as its files tell."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(SETTINGS | settings))
    (path / "metrics.jsonl").write_text("".join(f"{json.dumps(row(each))}\n" for each in range(1, rows + 1)))
    return path


def add(path: Path, *rows: dict[str, Any], name: str = "metrics.jsonl") -> None:
    with open(path / name, "a") as file:
        file.write("".join(f"{json.dumps(each)}\n" for each in rows))


class Clock:
    """A time that stands still within a question, which asks twice, and leaps from one to the next."""

    asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return (self.asked + 1) // 2 * 1000.0


def followed(root: Path | None, watched: Path) -> Runs:
    """Runs that look anew each time they are asked."""
    return Runs(root, RunDir(watched), Clock())


def summary(runs: Runs, name: str) -> dict[str, Any]:
    return next(each for each in runs.told({})["runs"] if each["name"] == name)


def test_lines_come_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    lines = Lines(path)
    assert lines.read() == (False, [])
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert lines.read() == (False, [{"a": 1}, {"a": 2}])
    assert lines.read() == (False, [])
    with open(path, "a") as file:
        file.write(': 3}\nnonsense\n[1]\n{"a": 4}\n')
    assert lines.read() == (False, [{"a": 3}, {"a": 4}])
    (tmp_path / "new").write_text('{"a": 5}\n')
    (tmp_path / "new").replace(path)
    assert lines.read() == (True, [{"a": 5}])
    path.unlink()
    assert lines.read() == (True, [])


def test_a_run_as_it_grows(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "mine", 3)
    runs = followed(tmp_path / "runs", run)
    told = runs.told({"mine": (0, 0), "other": (0, 0)})
    assert told["watched"] == "mine" and told["columns"] == COLUMNS and set(told["curves"]) == {"mine"}
    curve = told["curves"]["mine"]
    assert [each[0] for each in curve["rows"]] == [1, 2, 3] and curve["from"] == 0 and curve["compared"]
    assert dict(zip(COLUMNS, curve["rows"][2], strict=True)) == {
        "generation": 3, "frames_total": 2400, "hours": 0.03, "return_mean": 600, "return_best": 910, "eval_mean": None,
        "sigma": pytest.approx(0.1 * 0.99**3), "condition": 4, "frames_per_second": 1000, "busy_share": 0.9}
    add(run, row(4), row(5, return_mean=math.nan))
    curve = runs.told({"mine": (curve["edition"], 3)})["curves"]["mine"]
    assert curve["from"] == 3 and [each[0] for each in curve["rows"]] == [4, 5]
    assert curve["rows"][1][COLUMNS.index("return_mean")] is None  # JSON has no NaN
    assert curve["rows"][1][COLUMNS.index("eval_mean")] == 805
    stands = summary(runs, "mine")
    assert (stands["state"], stands["generation"], stands["generations"], stands["validation"]) == ("stopped", 5, 20, 805)
    assert stands["core_hours"] == pytest.approx(0.1) and stands["left"] is None and stands["world"] == "mine"
    (run / "new").write_text("".join(f"{json.dumps(row(each))}\n" for each in (1, 2)))
    (run / "new").replace(run / "metrics.jsonl")  # as a resume from an older checkpoint does
    again = runs.told({"mine": (curve["edition"], 2)})["curves"]["mine"]
    assert again["edition"] != curve["edition"] and again["from"] == 0 and len(again["rows"]) == 2
    add(run, *(row(each) for each in range(3, 21)))
    assert summary(runs, "mine")["state"] == "finished"


def test_what_came_before_counts_on(tmp_path: Path) -> None:
    run = make_run(tmp_path / "es", 2)
    add(run, *(row(each) for each in range(1, 11)), name="earlier.jsonl")
    runs = followed(tmp_path, run)
    rows = runs.told({"es": (0, 0)})["curves"]["es"]["rows"]
    assert [each[0] for each in rows] == list(range(1, 13)) and rows[-1][1] == 9600
    stands = summary(runs, "es")
    assert (stands["generation"], stands["validation"], stands["frames"]) == (2, None, 9600)
    assert stands["core_hours"] == pytest.approx(0.24)


def test_who_trains_is_told_by_the_lock(tmp_path: Path) -> None:
    """And how far a generation is by the journal."""
    run = make_run(tmp_path / "es", 3)
    add(run, *({"generation": 4, "stream": "training", "task": task, "return": 1.0, "frames": 9, "lap": False}
               for task in range(5)), name="episodes.jsonl")
    runs = followed(tmp_path, run)
    assert not in_use(run) and summary(runs, "es")["state"] == "stopped" and summary(runs, "es")["playing"] is None
    script = "import sys, pathlib, wm_mpi.core.rundir as it; it.lock_directory(pathlib.Path(sys.argv[1])); print('held', " \
             "flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env=ENVIRONMENT) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        stands = summary(runs, "es")
        assert in_use(run) and stands["state"] == "training" and stands["playing"] == {"episodes": 5, "of": 8}
        assert stands["left"] == 17 * 36
        holder.communicate("\n")
    assert not in_use(run) and summary(runs, "es")["state"] == "stopped"


def test_runs_are_found_where_they_lie(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for name in ("a", "b/turn2/es", ".hidden/x", "deep/1/2/3/4", "a/inside", "frames/shards/y"):
        make_run(root / name, 1)
    (root / "frames" / "shards").joinpath("0.h5").touch()
    (root / "link").symlink_to(make_run(tmp_path / "elsewhere" / "es", 1).parent)
    assert {str(path.relative_to(root)) for path in run_directories(root)} == {"a", "b/turn2/es"}
    assert newest_run(root) is None
    (root / "a" / "champion.h5").touch()
    assert newest_run(root) == root / "a"
    runs = followed(root, tmp_path / "elsewhere" / "es")
    assert {each["name"] for each in runs.told({})["runs"]} == {"a", "b/turn2/es", "elsewhere/es"}
    assert runs.path("b/turn2/es") == (root / "b/turn2/es").resolve()
    for name in ("../elsewhere/es", str(root / "a"), "", "a/", "frames/shards/y"):
        assert runs.path(name) is None, name
    make_run(root / "new", 0)
    assert summary(runs, "new")["generation"] == 0


def test_a_run_that_is_damaged_is_no_ones_trouble(tmp_path: Path) -> None:
    good = make_run(tmp_path / "good", 2)
    bad = make_run(tmp_path / "bad", 2)
    (bad / "config.json").write_text("{}")
    odd = make_run(tmp_path / "odd", 1)
    add(odd, {"generation": "x", "lost": "\x1b[31m"}, row(2, lost=["rank 1 on a"], slowest="rank 2 on b (1.6x)"))
    runs = followed(tmp_path, good)
    assert {each["name"] for each in runs.told({})["runs"]} == {"good", "odd"}
    assert summary(runs, "odd")["lost"] == ["rank 1 on a"]


@pytest.mark.alone
def test_fifty_runs_are_listed_in_two_seconds(tmp_path: Path) -> None:
    lines = "".join(f"{json.dumps(row(each))}\n" for each in range(1, 1801))
    for number in range(50):
        (make_run(tmp_path / f"run{number}") / "metrics.jsonl").write_text(lines)
    runs = Runs(tmp_path, RunDir(tmp_path / "run0"))
    began = time.process_time()
    told = runs.told({"run7": (0, 0)})
    assert time.process_time() - began < 2
    assert len(told["runs"]) == 50 and len(told["curves"]["run7"]["rows"]) == 1800
    began = time.process_time()
    runs.told({"run7": (0, 1800)})
    assert time.process_time() - began < 0.2


def test_means_are_kept_ever_more_sparsely() -> None:
    def kept(generations: int, parameters: int = 867) -> list[int]:
        return [each for each in range(1, generations + 1) if keeps(each, parameters)]

    assert kept(20) == [*range(1, 17), 18, 20]
    assert {5, 20, 120} <= set(kept(125)) and len(kept(1800)) == 70
    assert len(kept(3600)) - len(kept(1800)) == PER_DOUBLING and len(kept(1024, LARGE)) - len(kept(512, LARGE)) == FEW
    assert kept(1800, LARGE)[:4] == [1, 2, 3, 4]


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a run of the toy in it."""
    root = tmp_path_factory.mktemp("toys")
    succeed("es", "--env", "toy", "--out", root / "es", "--popsize", 4, "--episodes", 2, "--generations", 6,
            "--eval-every", 3, "--eval-episodes", 2, "--max-frames", 20)
    return root


def test_es_keeps_means(toys: Path, tmp_path: Path) -> None:
    run = RunDir(toys / "es")
    assert kept_generations(run) == [1, 2, 3, 4, 5, 6]
    champion = load_trained(str(run.path), env=None, world=None, max_frames=None, lap_complete_percent=None,
                            deterministic=None)
    parameters, about = load_mean(run, champion.generation)
    np.testing.assert_array_equal(parameters, champion.parameters)
    assert about["validation_mean"] is not None and load_mean(run, 1)[1]["validation_mean"] is None
    assert not np.array_equal(load_mean(run, 1)[0], parameters)
    with pytest.raises(UserError, match="does not exist: take a generation that is kept"):
        load_mean(run, 7)


def test_a_visitor_chooses_a_generation() -> None:
    with listening(ToySource(), None) as port, visit(port) as visitor:
        first = visitor.until(lambda about: about["frame"] > 3)
        assert first["generation"] == 1
        visitor.tell(generation=4)
        assert visitor.until(lambda about: about["generation"] == 4)["frame"] == 0
        visitor.tell(generation=0)
        visitor.until(lambda about: about["generation"] == 1)


@contextlib.contextmanager
def listening(source: Any, runs: Runs | None, prefix: str = "/") -> Iterator[int]:
    """The port of a server."""
    server = serving.open_server(Sources(source, runs, lambda path: ToySource()), 0, "127.0.0.1", prefix=prefix)
    with answering(server) as port:
        yield port


def get(port: int, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode().strip()


def test_what_a_visitor_may_ask(tmp_path: Path) -> None:
    run, other = make_run(tmp_path / "runs" / "a b&c", 3), make_run(tmp_path / "runs" / "other", 1)
    with listening(ToySource(), followed(tmp_path / "runs", run)) as port:
        name = urllib.parse.quote("a b&c")
        status, told = get(port, f"/runs.json?have=0.2.{name}&have=0.0.other&published=1")
        assert status == 200 and told["published"]["validation"][24] == 822.88
        assert len(told["curves"]["a b&c"]["rows"]) == 1 and len(told["curves"]["other"]["rows"]) == 1
        for query in ("have=x", "have=1.2", "have=-1.-1.other", "have=0.99999999999999999999.other", f"have={'9' * 5000}",
                      "&".join(f"have=0.0.{each}" for each in range(100)), "have=0.0.%2e%2e%2fother", "%ff=%00"):
            status, told = get(port, f"/runs.json?{query}")
            assert status == 200 and all(each["from"] == 0 for each in told["curves"].values()), query
        for wanted, expected in (("other", 426), (name, 426), ("..%2fother", 404), (str(other), 404), ("", 426)):
            assert get(port, f"/drive?run={wanted}")[0] == expected, wanted
        with visit(port, path="/drive?run=other") as visitor:
            visitor.picture()
    with listening(ToySource(), None) as port:
        assert get(port, "/runs.json")[0] == 404


def test_a_flag_may_go_without_its_value() -> None:
    for arguments, port in ((["--serve"], 8000), (["--serve", "--host", "::1"], 8000), (["--serve", "81"], 81), ([], None)):
        assert parse(WatchConfig, "watch", arguments).serve == port
    with pytest.raises(UserError, match="--serve is -3"):
        parse(WatchConfig, "watch", ["--serve", "-3"])


def test_the_newest_run_is_watched(toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_run(growing=True) == default_run(growing=False) == found("carracing")
    shutil.copytree(toys, "runs")
    make_run(tmp_path / "runs" / "begun")  # no champion yet
    assert default_run(growing=True) == "runs/es" and default_run(growing=False) == found("carracing")
    assert root_of(Path("runs/es")) == tmp_path / "runs" and root_of(Path(found("carracing"))) == Path("runs")


@pytest.mark.skipif(NPM is None, reason="there is no npm")
def test_uplot_is_as_it_was_published(tmp_path: Path) -> None:
    """What lies in the package is npm's, unchanged."""
    here = ROOT / "wm_mpi" / "viewer" / "web" / "uplot"
    version = (here / "uPlot.iife.min.js").read_text().split("(v")[1].split(")")[0]
    got = subprocess.run([str(NPM), "pack", f"uplot@{version}", "--silent"], cwd=tmp_path, capture_output=True, text=True,
                         timeout=120, check=True)
    with tarfile.open(tmp_path / got.stdout.split()[-1]) as archive:
        for name in ("LICENSE", "dist/uPlot.iife.min.js", "dist/uPlot.min.css"):
            published = archive.extractfile(f"package/{name}")
            assert published is not None
            ours = (here / Path(name).name).read_bytes()
            assert hashlib.sha256(published.read()).digest() == hashlib.sha256(ours).digest(), name


def text(page: Page, selector: str) -> str:
    return page.run(f"[...document.querySelectorAll({selector!r})].map((each) => each.innerText).join('|')")


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Three runs, one of them long."""
    root = tmp_path / "runs"
    make_run(root / "first", 12)
    make_run(root / "second", 1800, generations=1800)
    make_run(root / "vectors", 5, env="LunarLander-v3", world=None)
    return root


@pytest.mark.alone
def test_the_page_of_runs(chromium: Browser, three: Path, tmp_path: Path) -> None:
    """Every control of it."""
    page = chromium.page()
    page.size(1280, 900)
    page.prefer(color_scheme="light")
    with listening(ToySource(), Runs(three, RunDir(three / "first"))) as port:
        page.open(f"http://127.0.0.1:{port}/runs")
        page.until("document.querySelectorAll('#charts canvas').length === 5")
        assert "3 runs under" in page.text("#status")
        assert page.run("document.querySelectorAll('#runs tbody tr').length") == 3
        assert page.run("document.querySelector('[data-name=first] input').checked")
        assert not page.run("document.querySelector('[data-name=second] input').checked")
        legend = ("[...document.querySelectorAll('#charts figure:first-child .u-series th')]"
                  ".map((each) => each.innerText.trim())")
        assert page.run(legend) == ["generation", "first", "validation", "published", "validation"]
        add(three / "first", row(13, frames_per_second=4321))
        began = time.monotonic()
        page.until("document.querySelector('[data-name=first]').innerText.includes('13/20')")
        assert time.monotonic() - began < 2
        assert "4.32K" in text(page, "[data-name=first]")
        page.until("document.querySelector('#charts .plot').ariaLabel.includes('first at 830.77')")
        page.click("[data-name=second] label")
        page.until("document.querySelector('#charts .plot').ariaLabel.includes('second at 899.50')")
        assert page.run("location.search") == "?run=first&run=second"
        page.click("[data-axis=frames_total]")
        assert page.run(legend)[0] == "frames" and page.run("location.search").endswith("&axis=frames_total")
        page.click("[data-axis=hours]")
        assert page.run(legend) == ["hours", "first", "validation", "second", "validation"]
        assert page.run("document.querySelector('#paper').disabled")
        page.click("[data-axis=generation]")
        page.click("#paper")
        assert "published" not in page.run(legend)
        page.click("#paper")
        x, y = page.middle("#charts .u-over")
        for kind, aside in (("mousePressed", -200), ("mouseMoved", -50), ("mouseMoved", 100), ("mouseReleased", 100)):
            page.call("Input.dispatchMouseEvent", type=kind, x=x + aside, y=y, button="left", clickCount=1)
        page.until("!document.querySelector('#whole').disabled")
        value = page.run("document.querySelectorAll('#charts figure:first-child .u-value')[0].innerText")
        assert value not in ("", "–", "--")  # what the cursor points at
        page.picture(tmp_path / "closer.png")
        page.click("#whole")
        assert page.run("document.querySelector('#whole').disabled")
        assert page.run("document.querySelector('[data-name=second] a').getAttribute('href')") == "./?run=second"
        page.click("[data-name=first] label")
        page.click("[data-name=second] label")
        assert "nothing chosen" in page.run("document.querySelector('#charts .plot').ariaLabel")
        page.click("[data-name=vectors] label")
        page.until("document.querySelector('#charts .plot').ariaLabel.includes('vectors')")
        assert page.run("document.querySelector('#paper').disabled")  # nothing is published of it
        page.click("[data-name=vectors] a")
        page.until("document.querySelector('#status')?.textContent.includes('Generation 1')")
        assert page.run("location.search").startswith("?run=vectors&track=0")
        page.click("nav a[href=runs]")
        page.until("document.querySelectorAll('#charts canvas').length === 5")
        ours = f"http://127.0.0.1:{port}/", f"ws://127.0.0.1:{port}/", "data:"
        assert all(each.startswith(ours) for each in page.requests), page.requests
        assert not page.complaints
    page.until("document.querySelector('#status').textContent.startsWith('The server is gone')")
    page.call("Page.close")


@pytest.mark.alone
def test_a_long_run_opens_in_a_second(chromium: Browser, three: Path) -> None:
    page = chromium.page()
    with listening(ToySource(), Runs(three, RunDir(three / "second"))) as port:
        page.call("Page.navigate", url=f"http://127.0.0.1:{port}/runs")
        page.until("document.querySelector('#charts .plot')?.ariaLabel?.includes('second at 899.50')")
        took = page.run("performance.now()")
    assert took < 1000, f"{took:.0f} ms from the click to the curves"
    page.call("Page.close")


def test_the_slider_over_generations(chromium: Browser) -> None:
    page = chromium.page()
    page.prefer(reduced_motion="no-preference")
    with listening(ToySource(), None) as port:
        page.open(f"http://127.0.0.1:{port}/")
        page.until("!document.querySelector('#growth').hidden")
        assert page.text("#chosen") == "champion"
        page.run("document.querySelector('#generation').focus()")
        page.press("ArrowLeft")
        page.until("document.querySelector('#status').textContent.startsWith('Generation 4 drives')")
        assert page.text("#chosen") == "4"
        page.click("#next")
        page.until("document.querySelector('#status').textContent.startsWith('Generation 4 drives track 1')")
        page.call("Page.close")


def test_the_page_of_runs_is_accessible(chromium: Browser, three: Path, axe: str, tmp_path: Path) -> None:
    page = chromium.page()
    with listening(ToySource(), Runs(three, RunDir(three / "first"))) as port:
        for scheme, (width, height) in itertools.product(("light", "dark"), ((1280, 800), (390, 844), (844, 390))):
            page.prefer(color_scheme=scheme)
            page.size(width, height, mobile=width < 1000)
            page.open(f"http://127.0.0.1:{port}/runs?run=first&run=second")
            page.until("document.querySelector('#charts .plot')?.ariaLabel?.includes('second at')")
            time.sleep(0.2)
            page.picture(tmp_path / f"{scheme}-{width}.png")
            assert page.axe(axe) == []
            assert page.run("document.scrollingElement.scrollWidth <= innerWidth"), (scheme, width)
    page.call("Page.close")
