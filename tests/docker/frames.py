"""Plays frames in the engine and fails if Numba compiled anything for it. For tests/docker/run.bash, inside the image.

    python frames.py [CPU]      on a processor that LLVM calls CPU, of other features: as in another node of a cluster
"""

import sys
import time

import llvmlite.binding
import numpy as np
from numba.core import event

if len(sys.argv) > 1:
    llvmlite.binding.get_host_cpu_name = lambda: sys.argv[1]
    llvmlite.binding.get_host_cpu_features = lambda: llvmlite.binding.FeatureMap({"sse4.2": True, "avx2": True})

began = time.perf_counter()
with event.install_recorder("numba:compile") as compiled:
    from wm_mpi.envs import EnvSpec, make_env

    env = make_env(EnvSpec("fast", 1000), 16)
    env.reset(seed=list(range(16)))
    frames = [env.step(np.tile([0.1, 0.5, 0.0], (16, 1)))[0] for _ in range(50)]
assert any((one != frames[0]).any() for one in frames), "all frames are alike"
functions = sorted({str(happened.data["dispatcher"].py_func.__qualname__) for _, happened in compiled.buffer})
assert not functions, f"{len(functions)} functions compiled at run time: {', '.join(functions[:5])} ..."
print(f"800 frames in {time.perf_counter() - began:.1f} s from the start, nothing compiled")
