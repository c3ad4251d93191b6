"""Settings every test shares."""

import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

# implicit warns when OpenBLAS has threads of its own; it must be told before numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

sys.path.append(str(Path(__file__).parent))  # what several folders of tests share

# A suite started in the background of a script is told to ignore Ctrl-C, and so would be every process it starts: the
# tests that send one need it heard.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from clouds import Aws, cloud
from hypothesis import settings

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=200, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=10_000, deadline=None)  # --hypothesis-profile=thorough
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(scope="session")
def clouds():
    """Environment of a stand-in for AWS by its name; each is started once, when somebody first asks for it."""
    with ExitStack() as stack:
        started = {}

        def start(name):
            if name not in started:
                started[name] = stack.enter_context(cloud(name))
            return started[name]

        yield start


@pytest.fixture
def aws(clouds, monkeypatch):
    """`Aws` on a stand-in given by its name; the environment then leads every client there."""

    def enter(name):
        for variable, value in clouds(name).items():
            monkeypatch.setenv(variable, value)
        return Aws()

    return enter
