#!/usr/bin/env bash
# Set up an environment and run the tests: style, types, then pytest in two phases. About nine minutes on two cores.
#   bash jobs/test.bash [ARGUMENTS of pytest, such as -k pool]
#   WM_TEST_SLOW=1     the slow tests as well: before a release, and in continuous integration
#   WM_TEST_STRICT=1   a skipped test is a failure, but for reasons that are printed
#   WM_TEST_WORKERS    processes that run tests side by side (default: one more than cores, 8 at most)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
WM_EXTRAS="${WM_EXTRAS:-mpi,train,watch,doom,atari,gym,test}"
# shellcheck source=jobs/setup.bash
. jobs/setup.bash
setup_environment

cores="$(nproc)"
workers="${WM_TEST_WORKERS:-$((cores < 7 ? cores + 1 : 8))}"
slow="and not slow"
[ "${WM_TEST_SLOW:-0}" = 0 ] || slow=""
WM_TEST_SHARED="$(mktemp -d)" # what both phases need is made once
export WM_TEST_SHARED
trap 'rm -rf "$WM_TEST_SHARED"' EXIT
failed=0
ran=no

phase() { # a phase of which the arguments choose no test is none
    local status=0
    python -m pytest --durations 20 --durations-min 5 "$@" || status=$?
    [ "$status" = 5 ] || ran=yes
    [ "$status" = 0 ] || [ "$status" = 5 ] || failed="$status"
}

ruff check .
mypy >"$WM_TEST_SHARED/types" & # beside the first phase: it must not disturb the second
types=$!
phase -m "not alone $slow" --numprocesses "$workers" "$@"
wait "$types" || failed=1
cat "$WM_TEST_SHARED/types"
phase -m "alone $slow" "$@"
[ -z "$slow" ] || echo "not run: the slow tests (WM_TEST_SLOW=1 bash jobs/test.bash)"
[ "$ran" = yes ] || { echo "error: no test matches $*" >&2; exit 5; }
exit "$failed"
