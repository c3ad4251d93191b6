"""The zip Lambda gets: the whole where `make package` left a wheel, and small ones with something planted."""

import os
import platform
import struct
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from chalice_app import package as packaging
from chalice_app.bundle import REQUIRED, TOKENS_BYTES, UNPACKED_BYTES, faults, import_faults
from recsys.errors import ConfigError

ARCH = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine())
HEADER = b"\x7fELF" + bytes(14) + struct.pack("<H", 62)
CODE = bytes(4) + struct.pack("<I", 1) + bytes(8)


def small():
    """The least that passes."""
    files = {name: b"" for name in REQUIRED if not name.endswith(".so")}
    files |= {
        f"{Path(name).parent}/__pycache__/{Path(name).stem}.cpython-313.pyc".removeprefix("./"): CODE
        for name in files
        if name.endswith(".py")
    }
    machine = HEADER + b"GLIBC_2.28\0"
    return files | {
        "recsys/kernels/_kernels.abi3.so": machine,
        "numpy/_core/_multiarray_umath.cpython-313-x86_64-linux-gnu.so": machine,
    }


def zipped(folder, files):
    with ZipFile(folder / "planted.zip", "w") as out:
        for name, data in files.items():
            out.writestr(name, data)
    return folder / "planted.zip"


def test_a_small_zip_passes(tmp_path):
    assert faults(zipped(tmp_path, small()), "x86_64", "python3.13") == []


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("recsys/kernels/_kernels.abi3.so", HEADER[:-2] + struct.pack("<H", 183)),
        ("recsys/kernels/_kernels.abi3.so", HEADER + b"GLIBC_2.35\0"),
        ("recsys/kernels/_kernels.abi3.so", b"#!/bin/sh"),
        ("recsys/kernels/_kernels.abi3.so", None),
        ("numpy/_core/_multiarray_umath.cpython-313-x86_64-linux-gnu.so", None),
        ("numpy.libs/libopenblas64_-ff.so", HEADER + b"GLIBC_2.38\0"),
        ("chalicelib/console/page.html", None),
        ("scipy/LICENSE", b""),
        ("boto3/data/s3.json", b""),
        ("numpy/tests/data.npy", b""),
        ("batch_jobs/settings.toml", b""),
        ("recsys/late.py", b""),
        ("__pycache__/app.cpython-313.pyc", None),
        ("__pycache__/app.cpython-313.pyc", bytes(16)),
        ("__pycache__/app.cpython-312.pyc", CODE),
        ("recsys/large", bytes(UNPACKED_BYTES)),
    ],
)
def test_what_is_planted_is_found(tmp_path, name, data):
    files = small() | {name: data}
    planted = zipped(tmp_path, {name: data for name, data in files.items() if data is not None})
    found = faults(planted, "x86_64", "python3.13")
    assert len(found) == 1, found


def test_what_reads_tokens_may_be_larger_by_so_much(tmp_path):
    files = small() | {"jwt/__init__.py": b"", "jwt/__pycache__/__init__.cpython-313.pyc": CODE}
    sizes = (UNPACKED_BYTES, UNPACKED_BYTES + TOKENS_BYTES)
    found = [faults(zipped(tmp_path, files | {"recsys/large": bytes(n)}), "x86_64", "python3.13") for n in sizes]
    assert [len(one) for one in found] == [0, 1]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_is_found(tmp_path):
    path = zipped(tmp_path, small())
    with ZipFile(path, "a") as out:
        out.writestr("recsys/stores.py", b"")
    assert faults(path, "x86_64", "python3.13") == ["recsys/stores.py is there twice"]


def test_an_interpreter_that_is_not_there_is_named_with_the_remedy():
    with pytest.raises(ConfigError, match=r"python2\.2 .*RUNTIME="):
        packaging.interpreter("python2.2")


def test_a_name_the_path_refuses_is_found_where_version_managers_keep_it(tmp_path, monkeypatch):
    for place, says in (("shims", "exit 127"), ("versions/9.1/bin", "echo $0 python3.13")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "python9").write_text(f"#!/bin/sh\n{says}\n")
        (tmp_path / place / "python9").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "shims"), prepend=os.pathsep)
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "versions" / "3.11"))
    assert packaging.interpreter("python9") == (str(tmp_path / "versions/9.1/bin/python9"), "python3.13")


def test_requirements_come_with_the_hashes_of_the_lock():
    lines = packaging.locked(("numpy",)).splitlines()
    assert {line.partition("==")[0] for line in lines if not line.startswith(" ")} == {"numpy"}
    assert sum("--hash=sha256:" in line for line in lines) > 20


def test_the_whole_zip_is_right_and_imports_alone(packaged, tmp_path):
    compiled = f"__pycache__/app.cpython-{packaged.runtime.removeprefix('python').replace('.', '')}.pyc"
    assert faults(packaged.zip, ARCH, packaged.runtime) == []
    assert import_faults(packaged.zip, packaged.python) == []
    with ZipFile(packaged.zip) as whole, ZipFile(tmp_path / "planted.zip", "w") as planted:
        for name in whole.namelist():
            if name != compiled:
                planted.writestr(name, whole.read(name))
    assert len(import_faults(tmp_path / "planted.zip", packaged.python)) == 1  # what is compiled at the first import
