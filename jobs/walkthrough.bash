#!/usr/bin/env bash
# Make docs/walkthrough.md anew: run the commands that it shows, from nothing, take its pictures into docs/pictures/, and
# write the figures between its marks. Running it again continues where it stopped; it takes about twelve minutes of two
# cores, and up to a quarter of an hour more for Doom.
#
#   bash jobs/walkthrough.bash
#   OUT=runs/elsewhere bash jobs/walkthrough.bash
#
#   OUT    directory of the run (default: runs/from_nothing, as on the page); its log, with the time of every line, is
#          OUT/walkthrough.log, and stage times are sums over all starts
# Needs Chromium for the pictures of the page (apt-get install chromium).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
WM_EXTRAS="${WM_EXTRAS-mpi,train,watch,doom,test}"
export WM_EXTRAS
# shellcheck source=jobs/setup.bash
. jobs/setup.bash
setup_environment

out="${OUT:-runs/from_nothing}"
mkdir -p "$out"

# stamped: standard input, shown, and kept with the time of every line.
stamped() {
    local line
    while IFS= read -r line; do
        printf '%s\n' "$line"
        printf '%(%s)T %s\n' -1 "$line" >>"$out/walkthrough.log"
    done
}

# The paper's second half, in the world that comes with the package: train in the dream, judge there and in the game.
dream() {
    bash jobs/mpirun.bash -np 3 python -m wm_mpi.es --env dream --world doom --temperature 1.3 --components 64 --popsize 64 \
        --episodes 8 --generations 25 --eval-every 5 --eval-episodes 64 --out "$out/dream" || return
    bash jobs/mpirun.bash -np 3 python -m wm_mpi.evaluate --run "$out/dream" --env dream --episodes 100 || return
    bash jobs/mpirun.bash -np 3 python -m wm_mpi.evaluate --run "$out/dream" --episodes 100
}

# sheet NAME FLAGS...: film the champion that comes with the package, once.
sheet() {
    local name="$1"
    shift
    [ -f "$out/$name.png" ] || python -m wm_mpi.watch --run doom "$@" --video "$out/$name.mp4" --sheet "$out/$name.png"
}

{
    echo "== start, load average $(cut -d ' ' -f 1 /proc/loadavg) on $(nproc) cores"
    [ -f "$out/done" ] || { FROM_NOTHING=1 OUT="$out" bash jobs/quickstart.bash && touch "$out/done"; }
    echo "== film and sheet"
    [ -f "$out/drive.png" ] || python -m wm_mpi.watch --run "$out/es" --video "$out/drive.mp4" --sheet "$out/drive.png" --episodes 2
    echo "== report"
    [ -f "$out/report.png" ] || python -m wm_mpi.report --run "$out/es" --png "$out/report.png"
    echo "== C in the dream of Doom"
    [ -f "$out/dreamt" ] || { dream && touch "$out/dreamt"; }
    echo "== sheets of the dream and the game"
    sheet dream --dream --temperature 1.3
    sheet game
    echo "== pictures"
    python jobs/walkthrough.py "$out"
    echo "== end, load average $(cut -d ' ' -f 1 /proc/loadavg)"
} 2>&1 | stamped
