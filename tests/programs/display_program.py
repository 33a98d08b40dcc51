"""Enter ``display('xvfb')``, print $DISPLAY, and leave (or wait to be killed)."""

import os
import sys
import time

from wm_mpi.envs import display

with display("xvfb"):
    print(os.environ["DISPLAY"], flush=True)
    time.sleep(60 if "wait" in sys.argv else 1)
