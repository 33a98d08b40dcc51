"""One thread a process, for commands that run as many ranks; import it before NumPy.

BLAS libraries read these variables once, when they are loaded. Sixty-four ranks with sixty-four threads each are slower
than sixty-four threads, and a matrix product split over another number of threads rounds differently, which would make
results depend on the machine. A value that the user has set is left alone.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
