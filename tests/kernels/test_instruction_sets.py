"""The instruction sets the module offers are those the kernel of the system sees."""

import platform
from pathlib import Path

import pytest

from recsys.kernels import instruction_sets

V3 = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}
V4 = V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
CPUINFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(platform.machine() != "x86_64" or not CPUINFO.exists(), reason="x86-64 on Linux only")
def test_they_are_what_the_machine_has():
    lines = CPUINFO.read_text().splitlines()
    flags = set(next(line for line in lines if line.startswith("flags")).split())
    expected = [name for name, needed in (("x86-64-v4", V4), ("x86-64-v3", V3)) if needed <= flags]
    assert instruction_sets() == [*expected, "base"]
