# Sourced by gce_train.bash, gpu_jobs.bash, iterate.bash, reproduce.bash, doom.bash, atari.bash and slurm/, in the root of the
# clone: an environment, a headline per stage, and commands that can be stopped. What the caller offers its users:
#   WM_VENV  a virtual environment to use, or to make. Without it: the environment that is active, if it has the packages
#            (a container, a venv, conda, modules), or else .venv in the clone, made if missing.
# shellcheck shell=bash

# use_environment PACKAGE...: the packages that an active environment must have to be taken.
use_environment() {
    local find='import importlib.util as find, sys; sys.exit(None in map(find.find_spec, sys.argv[1:]))'
    case " $* " in *" keras "*) needs=train ;; esac # extras, see setup.bash
    case " $* " in *" vizdoom "*) needs="$needs,doom" ;; esac
    case " $* " in *" ale_py "*) needs="$needs,atari" ;; esac
    if [ -n "${WM_VENV:-}" ] || ! python -c "$find" "$@" 2>/dev/null; then
        # shellcheck source=jobs/setup.bash
        . jobs/setup.bash
        setup_environment
    fi
}

usage() { # the head of the script that was started
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[-1]}"
}

# usage_if_asked ARGUMENTS...: print the caller's head and leave, if the first one asks for it.
usage_if_asked() {
    case "${1:-}" in
        -h | --help)
            usage
            exit 0
            ;;
    esac
}

stage() {
    echo
    echo "== $1 ($SECONDS s)"
}

# --- commands that can be stopped -------------------------------------------------------------------------------------
# A SIGTERM kills mpirun with all its ranks, but it hands SIGUSR1 on to them, and every command of wm_mpi takes that as
# "checkpoint and exit with 75". So whichever of the two arrives here goes on as SIGUSR1. bash runs a trap only when no
# command is in the foreground: hence the background and the wait.
child="" stopped=""

stop() {
    stopped=yes
    echo "== stopping: checkpoint"
    [ -z "$child" ] || kill -s USR1 "$child" 2>/dev/null || true
}
trap stop TERM USR1

# run COMMAND...: run it to its end and give its status; once a stop was asked for, end this script with 75.
run() {
    local status=0
    [ -z "$stopped" ] || exit 75
    (trap - INT && exec "$@") & # bash lets background commands ignore Ctrl-C, unless told otherwise
    child=$!
    [ -z "$stopped" ] || kill -s USR1 "$child" 2>/dev/null || true # it came between the last lines
    while kill -0 "$child" 2>/dev/null; do
        wait "$child" || true # a trap cuts this short
    done
    wait "$child" || status=$?
    child=""
    # Above 128 it died of the signal before it could answer; what was finished is on disk all the same.
    if [ -n "$stopped" ] && { [ "$status" = 0 ] || [ "$status" = 75 ] || [ "$status" -gt 128 ]; }; then
        echo "== stopped: run the same command again to continue"
        exit 75
    fi
    return "$status"
}

# timed NAME COMMAND...: a stage, whose seconds go to $out/times.tsv, a line each time it is run.
timed() {
    local name="$1" began=$SECONDS
    shift
    stage "$name"
    run "$@"
    # shellcheck disable=SC2154 # the caller's directory
    mkdir -p "$out"
    printf '%s\t%s\n' "$name" "$((SECONDS - began))" >>"$out/times.tsv"
}

# play NAME MODULE...: the same on $ranks ranks.
play() {
    local name="$1"
    shift
    # shellcheck disable=SC2154 # the caller's number
    timed "$name" bash jobs/mpirun.bash -np "$ranks" python -m "$@"
}
