"""The first requests of a process come at once: their bodies are read in a type that no thread has met before."""

import signal
import subprocess
import sys
from pathlib import Path

import chalicelib

APP = Path(chalicelib.__file__).parents[1]
CROWD = """
import sys
import threading
import msgspec
from chalicelib import bodies
from chalicelib.openapi.operations import OPERATIONS
if {planted}:
    bodies.converted = msgspec.convert
sys.setswitchinterval(1e-6)

def read(told, body_type, gate, outcomes):
    gate.wait()
    try:
        outcomes.append(repr(bodies.converted(told, body_type)))
    except Exception as error:
        outcomes.append(repr(error))

for one in OPERATIONS:
    if one.body and one.examples:
        outcomes = []
        arguments = one.examples[0].body, one.body, threading.Barrier(8), outcomes
        threads = [threading.Thread(target=read, args=arguments) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(outcomes) == 8 and len(set(outcomes)) == 1, outcomes
"""


def crowd(planted=False):
    command = [sys.executable, "-c", CROWD.format(planted=planted)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=APP)


def test_a_type_that_threads_meet_at_once_is_read_by_all():
    for _ in range(10):
        done = crowd()
        assert done.returncode == 0, done.stderr


def test_a_planted_race_is_found():
    """Nine of ten such processes crash."""
    assert any(crowd(planted=True).returncode == -signal.SIGSEGV for _ in range(20))
