#!/usr/bin/env bash
# mpirun with what people forget: one thread a rank, more ranks than cores allowed, root allowed inside containers.
# Use it in the place of mpirun:   bash jobs/mpirun.bash -np 3 python -m wm_mpi.es --world WORLD --out RUN
set -euo pipefail

command -v mpirun >/dev/null || {
    echo "error: no mpirun on the PATH: pip install 'wm_mpi[mpi]', or load your cluster's MPI module" >&2
    exit 1
}
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
flags=()
if mpirun --version 2>&1 | grep -q "Open MPI"; then
    flags+=(--oversubscribe)
    if [ "$(id -u)" = 0 ]; then
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
fi
exec mpirun "${flags[@]}" "$@"
