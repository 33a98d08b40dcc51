"""The pictures and figures of docs/walkthrough.md, from a finished run of jobs/walkthrough.bash: ``walkthrough.py OUT``."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE, PICTURES = ROOT / "docs" / "walkthrough.md", ROOT / "docs" / "pictures"
STAGES = {"collect": "collect", "train V": "train V", "encode": "encode", "train M": "train M", "freeze": "freeze",
          "train C": "train C", "evaluate": "evaluate", "the first 4": "evaluate in Gymnasium", "film": "film and sheet",
          "report": "report", "C in the dream": "train C in Doom's dream, judge it twice", "sheets": "films of Doom"}
"""How a headline in the log begins -> what the page calls the stage."""
FILM_FRAME = 333
"""The frame of the film that the page shows."""

SHORTEST_SECONDS = 60
"""V takes longer than this wherever it is trained (seconds)."""


def main(out: Path) -> None:
    """Take pictures, then write figures."""
    shutil.copy(out / "world" / "samples.png", PICTURES / "samples.png")
    shutil.copy(out / "drive.png", PICTURES / "watch_sheet.png")
    shutil.copy(out / "report.png", PICTURES / "report.png")
    for name in ("dream", "game"):
        shutil.copy(out / f"{name}.png", PICTURES / f"doom_{name}.png")
    film_frame(out / "drive.mp4", PICTURES / "watch_film.png")
    screenshots(out / "es")
    log = (out / "walkthrough.log").read_text(encoding="utf-8").splitlines()
    text = PAGE.read_text(encoding="utf-8")
    for mark, figures in (("stages", stages(log)), ("verdict", verdict(log, "track")), ("dream", verdict(log, "episode"))):
        if not figures:
            continue
        text, found = re.subn(rf"(<!-- {mark}:.*? -->\n).*?(\n<!-- end of {mark} -->)",
                              lambda match, figures=figures: match[1] + figures + match[2], text, flags=re.S)
        assert found == 1, f"{PAGE} has no place for {mark}"
    PAGE.write_text(text, encoding="utf-8")


def film_frame(film: Path, picture: Path) -> None:
    """One frame of a film, as PNG."""
    import av

    with av.open(str(film)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == FILM_FRAME:
                frame.to_image().save(picture)
                return


def screenshots(run: Path) -> None:
    """The page as a desk and as a phone show it."""
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import browser

    command = [sys.executable, "-m", "wm_mpi.watch", "--run", str(run), "--serve", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        address = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
        with tempfile.TemporaryDirectory() as folder, browser(Path(folder)) as chromium:
            page = chromium.page()
            for name, width, height, mobile in (("serve", 1280, 810, False), ("serve_phone", 360, 740, True)):
                page.size(width, height, mobile)
                page.open(address)
                page.until("Number(document.querySelector('#frame').textContent) > 200", seconds=60)
                page.picture(PICTURES / f"{name}.png")
            page.size(1280, 900)
            page.open(f"{address}runs")
            page.until("document.querySelector('#charts .plot')?.ariaLabel?.includes(' at ')")
            page.picture(PICTURES / "runs.png")
        server.send_signal(signal.SIGTERM)
        server.stdout.read()


def stages(log: list[str]) -> str:
    """A table of what each stage took, all starts together; empty if V was trained elsewhere (a copied directory)."""
    took: dict[str, int] = {}
    loads = []
    stage = None
    for line, following in pairwise([*log, log[-1]]):
        began, said = line.split(" ", 1)
        if said.startswith("== "):
            stage = next((STAGES[known] for known in STAGES if said[3:].startswith(known)), None)
            loads += map(float, re.findall(r"load average ([\d.]+)", said))
        if stage is not None and not following.split(" ", 1)[1].startswith("== start"):
            took[stage] = took.get(stage, 0) + int(following.split(" ", 1)[0]) - int(began)
    if took.get("train V", 0) < SHORTEST_SECONDS:
        return ""
    rows = [f"| {stage} | {seconds // 60} min {seconds % 60:02} s |" for stage, seconds in took.items()]
    cores = os.cpu_count() or 1
    beside = "beside other work" if max(loads, default=0) > cores + 1 or loads[0] > 0.5 else "with nothing else running"
    total = sum(took.values())
    return "\n".join(["| stage | took |", "|---|---:|", *rows, f"| all | {total // 60} min {total % 60:02} s |", "",
                      f"Taken on {cores} cores {beside} by `bash jobs/walkthrough.bash`."])


def verdict(log: list[str], episode: str) -> str:
    """The lines that evaluate printed of a game in which an episode is called so."""
    said = [line.split(" ", 1)[1] for line in log]
    found = [line for begin, line in enumerate(said) if f" test {episode}s (" in "\n".join(said[max(0, begin - 2):begin + 1])
             and (f" test {episode}s (" in line or line.startswith(("mean solution", "not solved", "solved")))]
    return "\n".join(f"    {line}" for line in dict.fromkeys(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
