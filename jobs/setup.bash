# Sourced by the other jobs: a virtual environment with the package and its tested versions.
#   WM_VENV    where it lies (default: .venv in the clone)
#   WM_EXTRAS  extras to install (default: mpi, and train for whoever sets needs=train; leave mpi out on a cluster with its own)
#   PYTHON     interpreter to build it with (default: the first of python3.11 to 3.13, or python3)
# shellcheck shell=bash

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root" || exit 1
WM_VENV="${WM_VENV:-$root/.venv}"
WM_EXTRAS="${WM_EXTRAS-mpi${needs:+,$needs}}"

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

# The environment remembers in .wm_mpi what it was made from, and on the last line which extras it has: more may come to it.
setup_environment() {
    local python sources extras extra missing=""
    sources="$(cat setup.py constraints.txt)"
    extras="$(tail -n 1 "$WM_VENV/.wm_mpi" 2>/dev/null || true)"
    for extra in ${WM_EXTRAS//,/ }; do
        case ",$extras," in *",$extra,"*) ;; *) missing=yes extras="${extras:+$extras,}$extra" ;; esac
    done
    if [ -n "$missing" ] || [ "$(head -n -1 "$WM_VENV/.wm_mpi" 2>/dev/null)" != "$sources" ]; then
        python="$(find_python)" || exit 1
        echo "installing wm_mpi${extras:+[$extras]} into $WM_VENV (about a minute)"
        [ -x "$WM_VENV/bin/python" ] || "$python" -m venv "$WM_VENV" || exit 1
        "$WM_VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
            --constraint constraints.txt --editable ".${extras:+[$extras]}" || exit 1
        printf '%s\n%s\n' "$sources" "$extras" >"$WM_VENV/.wm_mpi"
    fi
    PATH="$WM_VENV/bin:$PATH"
    export PATH
}
