"""Reading .npz files nobody vouches for."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_MEMBERS = 16
# What the standard library and numpy raise over files that are not what they say.
_DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
)


def read_npz(path: Path | str) -> dict[str, NDArray[Any]]:
    """Read the arrays of an .npz file as `numpy.savez` writes it, in memory bounded by the size of the file.

    Nothing in it is packed and each member is as long as its header says, so that a small file cannot ask for much.

    Raises
    ------
    OSError, ValueError
        If the file cannot be read, or is anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MOST_MEMBERS or sum(one.file_size for one in members) > Path(path).stat().st_size:
                raise ValueError("the archive claims more than it holds")
            return {one.filename.removesuffix(".npy"): _array(archive, one) for one in members}
    except _DAMAGES as error:
        raise ValueError(f"the archive is damaged: {error}") from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename[:80]} is packed")
    with archive.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{member.filename[:80]} is of another version of the format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if (
            dtype.hasobject
            or min(shape, default=0) < 0
            or file.tell() + math.prod(shape) * dtype.itemsize != member.file_size
        ):
            raise ValueError(f"{member.filename[:80]} is not as long as its header says")
    with archive.open(member) as file:
        found: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return found
