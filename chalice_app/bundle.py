"""What must be true of the zip Lambda gets: ``python -m chalice_app.bundle deployment.zip --arch x86_64``."""

import argparse
import re
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

from recsys.errors import DataError, RecsysError

MACHINES = {"x86_64": 62, "arm64": 183}  # e_machine in the header of an ELF file
GLIBC = 34  # 2.34, of Amazon Linux 2023, on which all runtimes from Python 3.12 on stand
UNPACKED_BYTES = 64_000_000  # Lambda takes 250 MB; what is unpacked is also what a cold start reads
TOKENS_BYTES = 18_000_000  # more, where PyJWT is in it
FORBIDDEN = {"scipy", "pyarrow", "implicit", "boto3", "botocore", "pip", "batch_jobs", "chalice_app"}
REQUIRED = ("app.py", "chalice/app.py", "chalicelib/wiring.py", "recsys/stores.py", "recsys/kernels/_kernels.abi3.so")
REQUIRED += ("chalicelib/console/page.html",)
UNCHECKED = struct.pack("<I", 1)  # flags of bytecode that is used without a look at its source

IMPORT = """
import os
import sys
sys.path.insert(0, sys.argv[1])
import app
import chalicelib.bodies, chalicelib.console, recsys.aws.client
from recsys.kernels import instruction_sets
outside = [name for name, module in sys.modules.items() if name.partition('.')[0] not in sys.stdlib_module_names
           and name != '__main__' and not str(getattr(module, '__file__', None)).startswith((sys.argv[1], 'None'))]
assert not outside, outside
assert instruction_sets()
assert chalicelib.console.page().status_code == 200
if os.path.exists(sys.argv[1] + "/jwt"):
    import jwt
    assert {"RS256", "ES256"} <= set(jwt.algorithms.get_default_algorithms())
"""


def faults(path: Path, arch: str, python: str) -> list[str]:
    """Return what is wrong with a zip for an architecture and an interpreter such as ``python3.13``."""
    with ZipFile(path) as bundle:
        names = bundle.namelist()
        found = [f"{name} is there twice" for name, times in Counter(names).items() if times > 1]
        found += [f"{name} is missing" for name in REQUIRED if name not in names]
        found += [f"{name} must not be in it" for name in names if _is_forbidden(name)]
        found += [fault for name in names if ".so" in name for fault in _machine_faults(name, bundle.read(name), arch)]
        found += _bytecode_faults(bundle, set(names), f"cpython-{python.removeprefix('python').replace('.', '')}")
        size = sum(one.file_size for one in bundle.infolist())
    if not any(name.startswith("numpy/_core/_multiarray_umath.") for name in names):
        found.append("numpy's compiled part is missing")
    most = UNPACKED_BYTES + (TOKENS_BYTES if "jwt/__init__.py" in names else 0)
    if size > most:
        found.append(f"{size:,} bytes unpacked, of at most {most:,}")
    return found


def _is_forbidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return parts[0] in FORBIDDEN or "tests" in parts or name.endswith((".cpp", ".hpp", ".pyi"))


def _machine_faults(name: str, data: bytes, arch: str) -> list[str]:
    """Look for another architecture, and for any mention of a newer glibc: all needs are mentioned."""
    found = []
    if data[:4] != b"\x7fELF" or struct.unpack_from("<H", data, 18)[0] != MACHINES[arch]:
        found.append(f"{name} is not for {arch}")
    newest = max((int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", data)), default=0)
    if newest > GLIBC:
        found.append(f"{name} needs glibc 2.{newest}, Lambda has 2.{GLIBC}")
    return found


def _bytecode_faults(bundle: ZipFile, names: set[str], tag: str) -> list[str]:
    """Every module has bytecode of the one interpreter: Lambda could not keep what it compiled."""
    found = []
    for name in (one for one in names if one.endswith(".py")):
        path = PurePosixPath(name)
        compiled = str(path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc")
        if compiled not in names:
            found.append(f"{name} is not compiled for {tag}")
        elif bundle.read(compiled)[4:8] != UNCHECKED:
            found.append(f"{compiled} would be compared with its source")
    others = (one for one in names if one.endswith(".pyc") and f".{tag}." not in one)
    return sorted(found) + [f"{name} is for another interpreter" for name in sorted(others)]


def import_faults(path: Path, interpreter: str) -> list[str]:
    """Import the app from the unpacked zip alone; nothing may be compiled while it is, or come from elsewhere."""
    with tempfile.TemporaryDirectory() as folder, ZipFile(path) as bundle:
        bundle.extractall(folder)
        run = [interpreter, "-I", "-S", "-W", "error", "-c", IMPORT, folder]
        done = subprocess.run(run, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            return [f"the app cannot be imported: {done.stderr.strip()[-2000:]}"]
        written = {str(one.relative_to(folder)) for one in Path(folder).rglob("*.pyc")} - set(bundle.namelist())
    return [f"{name} was compiled at the first import" for name in sorted(written)]


def main() -> int:
    """Print what the zip holds, or what is wrong with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("zip", type=Path)
    parser.add_argument("--arch", choices=MACHINES, default="x86_64")
    parser.add_argument("--runtime", default="python3.13")
    options = parser.parse_args()
    try:
        check(options.zip, options.arch, options.runtime)
    except RecsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0


def check(path: Path, arch: str, python: str) -> None:
    """Raise `DataError` with everything that is wrong; otherwise print the sizes."""
    found = faults(path, arch, python)
    if found:
        raise DataError(f"{path} cannot be deployed:\n  " + "\n  ".join(found[:20]))
    with ZipFile(path) as bundle:
        sizes = [one.file_size for one in bundle.infolist()]
    print(
        f"{path}: {path.stat().st_size:,} bytes, {sum(sizes):,} unpacked, {len(sizes):,} files, for {python} on {arch}"
    )


if __name__ == "__main__":
    sys.exit(main())
