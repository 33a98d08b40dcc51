"""Report a run as one self-contained HTML file, and as one picture."""

from wm_mpi.core.cli import run_command
from wm_mpi.core.config import ReportConfig

if __name__ == "__main__":
    run_command("report", ReportConfig)

from pathlib import Path

from wm_mpi.core.files import check_writable, write_text
from wm_mpi.core.shipped import beside
from wm_mpi.reporting.clips import make_footage
from wm_mpi.reporting.comparison import beside_others
from wm_mpi.reporting.html_page import make_page
from wm_mpi.reporting.png_page import draw_poster
from wm_mpi.reporting.run_data import read_run


def main(config: ReportConfig) -> None:
    """Read the run, draw the picture if it is wanted, and write the page."""
    data = beside_others(read_run(config.run, config.world), [run for runs in config.compare for run in runs])
    out = beside(config.run, "report.html") if config.out is None else Path(config.out)
    check_writable(out)
    if config.png is not None:  # the quicker one first: it also needs a package that may be missing
        draw_poster(data, Path(config.png))
        print(f"finished: {config.png}")
    write_text(out, make_page(data, make_footage(data, config.films)))
    print(f"finished: {out} ({out.stat().st_size / 1e6:.2f} MB), open it in a browser")
