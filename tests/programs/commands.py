"""Commands one after another in one process: commands.py '[["train_vae", "--out", "vae"], ["encode", ...]]'."""

import json
import runpy
import sys

for name, *arguments in json.loads(sys.argv[1]):
    sys.argv = [name, *map(str, arguments)]
    try:
        runpy.run_module(f"wm_mpi.{name}", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
