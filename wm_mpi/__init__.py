"""World Models (Ha and Schmidhuber, 2018) trained over MPI: CarRacing, a VAE, an MDN-RNN and CMA-ES."""

import sys

__version__ = "0.1.0"

if sys.argv[:1] != ["-m"]:  # a command (python -m wm_mpi.X) first sets its thread count, which NumPy reads when it loads
    from wm_mpi import registration as registration
