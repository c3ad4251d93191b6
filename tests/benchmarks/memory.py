"""Peak memory of a piece of work, in a process of its own."""

import multiprocessing
import re
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any


def alone(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function of a module in a fresh process and return its result."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_of(work: Callable[[], object]) -> int:
    """Do the work; return the bytes held at its worst moment above those held before it began.

    Linux keeps the peak of a process and resets it on request. `ru_maxrss` would not do: a process starts with the one
    of its parent.
    """
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    work()
    return resident("VmHWM") - before


def of_program(command: list[str]) -> tuple[str, int]:
    """Run a program; return what it printed and its peak, as last seen 20 ms before its end at the latest."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as program:
        with ThreadPoolExecutor(1) as pool:
            printed, peak = pool.submit(program.communicate), 0
            while not printed.done():
                peak = max(peak, resident("VmHWM", program.pid))
                time.sleep(0.02)
        text = printed.result()[0]
    if program.returncode:
        raise subprocess.CalledProcessError(program.returncode, command, text)
    return text, peak


def resident(name: str, process: int | str = "self") -> int:
    """Bytes of a figure of /proc/PID/status, as VmRSS; 0 of a process that has ended."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) * 1024 if found else 0
