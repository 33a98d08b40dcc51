#!/usr/bin/env bash
# wm-mpi launch, from a clone that need not be installed; --help tells what it does:
#   bash jobs/mpirun.bash -np 3 python -m wm_mpi.es --world WORLD --out RUN
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$root"
exec python -m wm_mpi launch "$@"
