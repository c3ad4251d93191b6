"""Settings every test shares."""

import os
import signal
import sys
from pathlib import Path

# implicit warns when OpenBLAS has threads of its own; it must be told before numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

sys.path.append(str(Path(__file__).parent))  # what several folders of tests share

# A suite started in the background of a script is told to ignore Ctrl-C, and so would be every process it starts: the
# tests that send one need it heard.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from hypothesis import settings

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=200, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=10_000, deadline=None)  # --hypothesis-profile=thorough
settings.load_profile("ci" if os.environ.get("CI") else "dev")
