"""A page over HTTP on which visitors watch the champion drive, or drive themselves: see ``server``."""

from wm_mpi.serving.champion import RunSource
from wm_mpi.serving.server import serve

__all__ = ["RunSource", "serve"]
