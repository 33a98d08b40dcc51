"""World Models (Ha and Schmidhuber, 2018) trained over MPI: CarRacing, a VAE, an MDN-RNN and CMA-ES."""

import os
import sys

__version__ = "0.1.0"

# A command (python -m wm_mpi.X, wm-mpi X) first sets its thread count, which NumPy reads when it loads. Whoever imports the
# package finds its engine in Gymnasium, which has no way of its own to look for it.
if os.path.basename((sys.argv or [""])[0]) not in ("-m", "wm-mpi"):
    from wm_mpi.envs import registration as registration
