"""Pages over HTTP on which visitors watch champions drive, drive themselves, and see how runs grow: see ``server``."""

from wm_mpi.viewer.web.runs import Runs
from wm_mpi.viewer.web.server import serve
from wm_mpi.viewer.web.source import RunSource, Sources

__all__ = ["RunSource", "Runs", "Sources", "serve"]
