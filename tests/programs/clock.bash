#!/usr/bin/env bash
# Stand-ins for `date` and `sleep`, by the name of the link to this file: a clock that only sleeping moves on, $WM_HURRY times
# as fast. So hours take no time.
set -euo pipefail
clock="$WM_CLOUD/clock"
[ -f "$clock" ] || echo 1700000000 >"$clock"
now="$(<"$clock")"
case "${0##*/} ${1:-}" in
    "date +%s") echo "${now:-1700000000}" ;;
    date*) echo 12:00:00 ;;
    sleep*)
        echo $((${now:-1700000000} + ${1%.*} * ${WM_HURRY:-1})) >"$clock"
        ;;
esac
