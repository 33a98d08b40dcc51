#!/usr/bin/env bash
# mpirun with what people forget; use it in the place of mpirun:
#   bash jobs/mpirun.bash -np 3 python -m wm_mpi.es --world WORLD --out RUN
# It adds for
#   Open MPI 5    ULFM, so that a rank or a host may be lost; more ranks than cores; no binding; PATH and settings to all hosts
#   Open MPI 4    the same without ULFM: a lost rank ends the job, running the same command again goes on
#   MPICH, Intel  no binding; the rest is their default
# and one thread a rank everywhere. Your own flags come last and win. SIGTERM, SIGUSR1 and Ctrl-C stop the command in order.
# Exit status: rank 0's (0 done, 2 bad input, 69 no worker left, 75 stopped: run again), whatever mpirun makes of it.
#   WM_MPIRUN     the launcher (default: mpirun)
#   WM_MPI_FLAGS  more flags for it, split at blanks
set -euo pipefail

case "${1:-}" in
"" | -h | --help)
    sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac
launcher="${WM_MPIRUN:-mpirun}"
command -v "$launcher" >/dev/null || {
    echo "error: no $launcher on the PATH: pip install 'wm_mpi[mpi]', or load your cluster's MPI module" >&2
    exit 2
}
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
WM_MPI_STATUS_FILE="$(mktemp)"
export WM_MPI_STATUS_FILE
trap 'rm -f "$WM_MPI_STATUS_FILE"' EXIT

version="$("$launcher" --version 2>&1 || true)"
flags=()
case "$version" in
*"Open MPI"* | *OpenRTE* | *PRRTE* | *prte*)
    # Oversubscription alone maps by core and fills the first host: without binding, the hostfile's slots are filled in order.
    flags+=(--oversubscribe --bind-to none)
    while IFS='=' read -r name _; do
        case "$name" in
        PATH | PYTHONPATH | VIRTUAL_ENV | LD_LIBRARY_PATH | *_NUM_THREADS | WM_* | KERAS_BACKEND) flags+=(-x "$name") ;;
        esac
    done < <(env)
    case "$version" in
    *"Open MPI) 4."* | *"OpenRTE) 4."*) ;;
    *) # A host that falls silent must not end the job after PRRTE's eight minutes.
        flags+=(--with-ft ulfm --prtemca oob_tcp_keepalive_time 0) ;;
    esac
    if [ "$(id -u)" = 0 ]; then
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    ;;
*HYDRA* | *MPICH*) flags+=(-bind-to none) ;;
*Intel*) export I_MPI_PIN="${I_MPI_PIN:-off}" ;;
esac
read -ra more <<<"${WM_MPI_FLAGS:-}"

"$launcher" "${flags[@]}" "${more[@]}" "$@" <&0 &
job=$!
stopped=""
# shellcheck disable=SC2317  # the traps call it
stop() { # the launcher passes SIGUSR1 on to rank 0, which leaves in order; SIGTERM it would answer by killing all ranks
    stopped="${stopped:-$1}"
    kill -USR1 "$job" 2>/dev/null || true
}
trap 'stop 75' TERM USR1
trap 'stop 130' INT
status=0
while true; do
    wait "$job" && status=0 || status=$?
    kill -0 "$job" 2>/dev/null || break
done
wait "$job" && status=0 || status=$? # a signal may have cut the last wait short
said="$(cat "$WM_MPI_STATUS_FILE")"
case "$said" in
"") # the command ended before it began to play: the launcher's status is its
    if [ "$status" = 142 ]; then
        echo "the ranks did not come together in MPI within 5 minutes: one has ended or hangs before, see above" >&2
    fi
    ;;
playing)
    echo "rank 0 ended before its work did (mpirun: $status): run the same command again to go on" >&2
    status=75
    ;;
*) status="$said" ;;
esac
if [ "$stopped" = 130 ] && [ "$status" = 75 ]; then
    status=130
fi
exit "$status"
