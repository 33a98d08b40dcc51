"""What the pages of ``watch --serve`` cost an es run that plays on the same machine, and what viewers get meanwhile.

python -m benchmarks.dashboard     windows of es alone and with an open page of runs, in turn; then four viewers

es plays on all cores all the time, the server stands beside it. A page of runs is a client that asks what runs.js asks, once
per second; a viewer is one that takes every picture that it is sent.
"""

import argparse
import contextlib
import json
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from websockets.sync.client import connect

from wm_mpi.core.machine import whole_cores

ES = ("--init", "carracing", "--sigma", "1e-6", "--popsize", "64", "--episodes", "4", "--generations", "100000",
      "--eval-every", "100000")
"""Candidates that all drive like the champion: the load is the same in every window."""


def frames_in(journal: Path) -> int:
    """Frames of all episodes that have ended."""
    return sum(json.loads(line)["frames"] for line in journal.read_bytes().splitlines() if line.endswith(b"}"))


def processor_seconds(process: int) -> float:
    """Processor time that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def page_of_runs(address: str) -> Iterator[None]:
    """Somebody looks at the curves of the run."""
    over = threading.Event()

    def look() -> None:
        have = "0.0.es"
        while not over.wait(1.0):
            with urllib.request.urlopen(f"{address}runs.json?have={have}") as answer:
                curve = json.load(answer)["curves"]["es"]
            have = f"{curve['edition']}.{curve['from'] + len(curve['rows'])}.es"

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()


def pictures_each(address: str, viewers: int, seconds: float) -> list[float]:
    """Pictures per second that each of several viewers gets."""
    got = [0] * viewers
    over = threading.Event()

    def view(number: int) -> None:
        with connect(f"{address.replace('http', 'ws')}drive", max_size=None, compression=None) as line:
            while not over.is_set():
                data = line.recv(30)
                assert isinstance(data, bytes)
                size, = struct.unpack_from(">I", data)
                line.send(json.dumps({"drawn": json.loads(data[4:4 + size])["number"]}))
                got[number] += 1

    threads = [threading.Thread(target=view, args=(number,)) for number in range(viewers)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    before, began = list(got), time.perf_counter()
    time.sleep(seconds)
    took, after = time.perf_counter() - began, list(got)
    over.set()
    for thread in threads:
        thread.join()
    return [(now - then) / took for now, then in zip(after, before, strict=True)]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=8, help="windows without and with a page (count)")
    parser.add_argument("--seconds", type=float, default=15, help="length of a window")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ends:
        run = Path(folder) / "es"
        launch = [sys.executable, "-m", "wm_mpi", "launch", "-np", str(whole_cores() + 1), "es", *ES, "--out", str(run)]
        es = ends.enter_context(subprocess.Popen(launch, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        ends.callback(es.terminate)
        while not (run / "champion.h5").exists():
            assert es.poll() is None, "es has ended"
            time.sleep(1)
        server = ends.enter_context(subprocess.Popen(
            [sys.executable, "-m", "wm_mpi.watch", "--run", str(run), "--serve", "0"], stdout=subprocess.PIPE, text=True))
        ends.callback(server.terminate)
        assert server.stdout is not None
        address = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
        threading.Thread(target=server.stdout.read, daemon=True).start()
        rates: dict[bool, list[float]] = {False: [], True: []}
        cores: dict[bool, list[float]] = {False: [], True: []}
        for number in range(2 * options.pairs):
            looked = number % 4 in (1, 2)  # without, with, with, without
            with page_of_runs(address) if looked else contextlib.nullcontext():
                time.sleep(1)
                frames, cpu, began = frames_in(run / "episodes.jsonl"), processor_seconds(server.pid), time.perf_counter()
                time.sleep(options.seconds)
                took = time.perf_counter() - began
                rates[looked].append((frames_in(run / "episodes.jsonl") - frames) / took)
                cores[looked].append((processor_seconds(server.pid) - cpu) / took)
        ratio = statistics.median(rates[True]) / statistics.median(rates[False])
        for looked, what in ((False, "no page open"), (True, "a page of runs open")):
            rate, share = statistics.median(rates[looked]), statistics.median(cores[looked])
            print(f"{what:<22}{rate:>10,.0f} frames/s{share:>8.3f} cores of the server")
        print(f"es with the page: {ratio:.3f} of its rate without; the server takes "
              f"{(statistics.median(cores[True]) - statistics.median(cores[False])) / whole_cores():.2%} of the cores more")
        each = ", ".join(f"{pictures:.0f}" for pictures in pictures_each(address, 4, 10))
        print(f"four viewers while es plays: {each} pictures per second")


if __name__ == "__main__":
    main()
