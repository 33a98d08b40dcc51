#!/usr/bin/env bash
# Set up an environment and run the whole suite: style, types, tests. About half an hour on two cores.
# Arguments go to pytest:  bash jobs/test.bash -k pool
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
WM_EXTRAS="${WM_EXTRAS:-mpi,gym,test}"
# shellcheck source=jobs/setup.bash
. jobs/setup.bash
setup_environment

ruff check .
mypy
python -m pytest "$@"
