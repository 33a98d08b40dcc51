# Sourced by the other jobs: a virtual environment with the package and its tested versions.
#   WM_VENV    where it lies (default: .venv in the clone)
#   WM_EXTRAS  extras to install (default: mpi; empty for the cluster's own MPI)
#   PYTHON     interpreter to build it with (default: the first of python3.11 to 3.13, or python3)
# shellcheck shell=bash

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root" || exit 1
WM_VENV="${WM_VENV:-$root/.venv}"
WM_EXTRAS="${WM_EXTRAS-mpi}"

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.12 python3.13 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "error: no Python 3.11 to 3.13 found: install one, or name it with PYTHON=/path/to/python3.11" >&2
    return 1
}

setup_environment() {
    local python stamp
    stamp="$(cat setup.py constraints.txt; echo "$WM_EXTRAS")"
    if [ "$(cat "$WM_VENV/.wm_mpi" 2>/dev/null)" != "$stamp" ]; then
        python="$(find_python)" || exit 1
        echo "installing wm_mpi[$WM_EXTRAS] into $WM_VENV (about a minute)"
        "$python" -m venv "$WM_VENV" || exit 1
        "$WM_VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
            --constraint constraints.txt --editable ".${WM_EXTRAS:+[$WM_EXTRAS]}" || exit 1
        echo "$stamp" >"$WM_VENV/.wm_mpi"
    fi
    PATH="$WM_VENV/bin:$PATH"
    export PATH
}
