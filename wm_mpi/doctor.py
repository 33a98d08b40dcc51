"""Tell, under the real launcher, what will go wrong, and how to put it right."""

from wm_mpi.core.cli import run_command
from wm_mpi.core.config import DoctorConfig

if __name__ == "__main__":
    run_command("doctor", DoctorConfig)

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wm_mpi.core.errors import EXIT_BUG, UserError
from wm_mpi.core.files import explained
from wm_mpi.core.launch import STATUS_FILE, TELLING
from wm_mpi.core.launched import launched_rank
from wm_mpi.core.progress import Progress, log
from wm_mpi.envs import EnvSpec, display, settled
from wm_mpi.pool import Pool, launched_size, mpi_library, open_pool, survives
from wm_mpi.rollout.host_checks import PROBE, Examiner, Facts, Finding, check_hosts
from wm_mpi.world.manifest import frame_of, load_manifest, meant_by

DOUBTFUL_BYTES, TOO_FEW_BYTES = 2 * 2**30, 200 * 2**20
"""Free disk below which a run is in doubt, or will fail (bytes; a run of the paper's size journals about 200 MB)."""
NO_LOCKS = "take care that only one run writes to a directory, or use a local disk, or NFS with locks"
PAPER_GENERATION_FRAMES = 64 * 16 * 1000
"""Frames of a generation of the paper's size at its longest."""


def main(config: DoctorConfig) -> None:
    """Examine; worker ranks serve inside ``open_pool``. Exits with 1 if something will fail."""
    findings: list[Finding] = []
    try:
        examine(config, findings)
    except UserError as error:
        if launched_rank() > 0:
            error.status = EXIT_BUG  # as rank 0, which prints the verdict
            raise
        findings.append(Finding("FAIL", "start", str(error)))
    if launched_rank() == 0:
        report(findings)
        if any(finding.status == "FAIL" for finding in findings):
            sys.exit(EXIT_BUG)


def examine(config: DoctorConfig, findings: list[Finding]) -> None:
    """Have all ranks play at once and add what is found.

    Raises:
        UserError: a rank cannot play, the output directory cannot be written, or the launcher's MPI is another one.
    """
    out = Path(config.out)
    config = settled(replace(config, env=meant_by(config.env, config.world)))
    spec = EnvSpec(config.env, frame=frame_of(None if config.world is None else load_manifest(Path(config.world))))
    with open_pool(lambda: Examiner(spec, config.world, config.width, config.seconds, out / PROBE),
                   lambda: display(config.display)) as pool:
        if pool is None:
            return
        with explained(out, "written"):
            out.mkdir(parents=True, exist_ok=True)
            findings += [launcher(), stopping(), locking(out), disk(out)]
            (out / PROBE).touch()
        log.info(f"{pool.workers} playing for {config.seconds:g} s (a first start compiles for a minute) ...")
        try:
            with Progress(None, pool.workers, unit="rank") as progress:
                outcome = pool.run(None, [None] * pool.workers, lambda *_: progress.advance())
        finally:
            (out / PROBE).unlink()
        facts = list({each.rank: each for each in outcome.results}.values())
        findings += [*check_hosts(facts, socket.gethostname()), expectation(facts, spec, config.world)]
        findings += [Finding("FAIL", "ranks", f"lost {who}", "see what it said above") for who in outcome.lost]
        findings.append(survival(pool))


def launcher() -> Finding:
    """The launcher and its MPI."""
    size = launched_size()
    if size == 1:
        return Finding("warning", "launcher", f"none: one process plays alone{refusals()}", "wm-mpi launch -np N doctor")
    library, mpirun = mpi_library(), _version_of("mpirun")
    if mpirun and "Open MPI" in library and _number(mpirun) != _number(library):
        return Finding("FAIL", "launcher", f"mpi4py uses {library}, but mpirun is of {mpirun}",
                       "put the mpirun of mpi4py's MPI first on the PATH, or reinstall mpi4py for the launcher's MPI")
    return Finding("ok", "launcher", f"{library} started {size} processes: rank 0 hands out, {size - 1} play")


def refusals() -> str:
    """What plain mpirun will refuse here, before any rank of ours begins."""
    if not re.search("Open MPI|OpenRTE|prte", _version_of("mpirun")):
        return ""
    rooted = os.geteuid() == 0 and not {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"} <= os.environ.keys()
    return (f"; plain mpirun would start {os.cpu_count()} ranks here at most (without --oversubscribe)"
            + (", and none as root (OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1)" if rooted else ""))


def stopping() -> Finding:
    """What Ctrl-C and SIGTERM will do."""
    if launched_size() > 1 and STATUS_FILE not in os.environ:
        return Finding("warning", "stopping", "plain mpirun: Ctrl-C and SIGTERM kill all ranks within a second or two, most "
                       "often with status 1; more ranks than cores are refused", "wm-mpi launch instead of mpirun")
    return Finding("ok", "stopping", "Ctrl-C, SIGTERM and SIGUSR1 shut a run down cleanly, the same command continues")


def _version_of(program: str) -> str:
    """The first line of what a launcher says about its version, empty if it is not there."""
    if shutil.which(program) is None:
        return ""
    said = subprocess.run([program, "--version"], capture_output=True, encoding="utf-8", errors="replace",
                          check=False).stdout
    return said.split("\n")[0]


def _number(text: str) -> str:
    found = re.search(r"\d+\.\d+\.\d+", text)
    return found.group() if found else text


def locking(out: Path) -> Finding:
    """Whether a lock in the output directory keeps another process out."""
    attempt = ("import fcntl, sys\ntry:\n    fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
               "except BlockingIOError:\n    sys.exit(9)")
    with tempfile.NamedTemporaryFile(dir=out, prefix=PROBE) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            refused = subprocess.run([sys.executable, "-c", attempt, file.name], check=False).returncode == 9
        except OSError as error:
            return Finding("warning", "file locks", f"{out} has none ({error.strerror})", NO_LOCKS)
    if not refused:
        return Finding("warning", "file locks", f"{out} grants a lock twice", NO_LOCKS)
    return Finding("ok", "file locks", f"two runs in one directory below {out} would be noticed")


def disk(out: Path) -> Finding:
    """Room for a run."""
    free = shutil.disk_usage(out).free
    text = f"{free / 2**30:.1f} GB free in {out}"
    if free < TOO_FEW_BYTES:
        return Finding("FAIL", "disk", text, "free some, or give another --out")
    if free < DOUBTFUL_BYTES:
        return Finding("warning", "disk", text, "a run of the paper's size takes 0.3 GB, its collected episodes 20")
    return Finding("ok", "disk", text)


def expectation(facts: Sequence[Facts], spec: EnvSpec, world: str | None) -> Finding:
    """What all ranks together can do."""
    rate = sum(each.frames_per_second for each in facts)
    text = (f"{rate:,.0f} frames per second in all: 64 x 16 episodes of 1,000 frames in "
            f"{PAPER_GENERATION_FRAMES / rate:,.0f} s at most")
    if world is None and spec.pictures:
        return Finding("warning", "rate", f"{text}, without V and M", "give --world to see what es will do")
    return Finding("ok", "rate", text)


def survival(pool: Pool) -> Finding:
    """Whether the job outlives a rank: one is killed to see."""
    if pool.workers == 1:
        return Finding("ok", "survival", "one rank plays: if it dies, run the same command again")
    if not survives():
        return Finding("warning", "survival", "the death of a rank ends the job (and running it again continues)",
                       f"wm-mpi launch instead of mpirun, with Open MPI {'.'.join(map(str, TELLING))} or later "
                       "(pip install 'wm_mpi[mpi]')")
    seconds = pool.drill()
    if seconds is None:
        return Finding("FAIL", "survival", "a killed rank went unnoticed although ULFM is promised",
                       "wm-mpi launch with the Open MPI of pip install 'wm_mpi[mpi]'")
    return Finding("ok", "survival", f"a rank that was killed was noticed after {seconds:.1f} s, the others live (ULFM)")


def report(findings: Sequence[Finding]) -> None:
    """Print the verdict."""
    for status, about, text, fix in findings:
        print(f"{status:<8} {about:<13} {text}")
        if fix and status != "ok":
            print(f"{'':<8} {'':<13} fix: {fix}")
    counts = {status: sum(finding.status == status for finding in findings) for status in ("warning", "FAIL")}
    print(f"\n{counts['FAIL']} will fail, {counts['warning']} warnings, {len(findings) - sum(counts.values())} fine")
