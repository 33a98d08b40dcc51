"""Whether two es runs agree: metrics apart from timing, champion byte for byte, the set of journalled episodes.

python tests/cluster/compare.py RUN RUN      exits 1 and names the first difference
"""

import json
import sys
from pathlib import Path
from typing import Any

from wm_mpi.evolution.run_state import OPERATION


def lines(path: Path) -> list[dict[str, Any]]:
    """One object a line."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def difference(left: Path, right: Path) -> str:
    """The first difference; empty when there is none."""
    rows = [lines(run / "metrics.jsonl") for run in (left, right)]
    if len(rows[0]) != len(rows[1]):
        return f"metrics.jsonl has {len(rows[0])} and {len(rows[1])} generations"
    for one, other in zip(*rows, strict=True):
        for name in sorted((one.keys() | other.keys()) - OPERATION):
            if one.get(name) != other.get(name):
                return f"{name} of generation {one['generation']} is {one.get(name)} and {other.get(name)}"
    if (left / "champion.h5").read_bytes() != (right / "champion.h5").read_bytes():
        return "champion.h5 differs"
    journals = [{json.dumps(row, sort_keys=True) for row in lines(run / "episodes.jsonl")} for run in (left, right)]
    return "" if journals[0] == journals[1] else f"{len(journals[0] ^ journals[1])} lines of episodes.jsonl differ"


left, right = Path(sys.argv[1]), Path(sys.argv[2])
if found := difference(left, right):
    sys.exit(f"{left} and {right} differ: {found}")
