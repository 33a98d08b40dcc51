"""A page over HTTP on which visitors watch the champion drive, or drive themselves: see ``server``."""

from wm_mpi.viewer.web.server import serve
from wm_mpi.viewer.web.source import RunSource

__all__ = ["RunSource", "serve"]
