"""Report a run as one self-contained HTML file, and as one picture."""

from wm_mpi.cli import run_command
from wm_mpi.config import ReportConfig

if __name__ == "__main__":
    run_command("report", ReportConfig)

from pathlib import Path

from wm_mpi.findings import investigate
from wm_mpi.footage import make_footage
from wm_mpi.page import make_page
from wm_mpi.poster import draw_poster
from wm_mpi.rundir import beside, write_text


def main(config: ReportConfig) -> None:
    """Read the run, write the page, and the picture if it is wanted."""
    findings = investigate(config.run, config.world)
    out = beside(config.run, "report.html") if config.out is None else Path(config.out)
    page = make_page(findings, make_footage(findings, config.films))
    write_text(out, page)
    print(f"finished: {out} ({len(page.encode()) / 1e6:.2f} MB), open it in a browser")
    if config.png is not None:
        draw_poster(findings, Path(config.png))
        print(f"finished: {config.png}")
