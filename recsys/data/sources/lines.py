"""Bytes of a text file, plain or gzip, in blocks of whole lines and in bounded memory."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from recsys.data.sources.rejected import Rejected
from recsys.errors import DataError

LINE_LIMIT = 1 << 20
_BLOCK_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_FOREIGN = {
    b"PAR1": ("is a Parquet file", "Pass --format parquet or format='parquet'"),
    b"PK\x03\x04": ("is a zip archive or a spreadsheet", "Unpack it, or export it as csv"),
    b"BZh": ("is compressed with bzip2", "Unpack it, or compress it with gzip"),
    b"\xfd7zXZ\0": ("is compressed with xz", "Unpack it, or compress it with gzip"),
    b"\x28\xb5\x2f\xfd": ("is compressed with zstd", "Unpack it, or compress it with gzip"),
    b"\xff\xfe": ("is UTF-16 text", "Save it as UTF-8"),
    b"\xfe\xff": ("is UTF-16 text", "Save it as UTF-8"),
}

StrPath = str | os.PathLike[str]
Progress = Callable[[int], None]


class Block(NamedTuple):
    """Whole lines, each ending in a newline, and the 1-based number of the first."""

    line: int
    data: bytes

    @property
    def text(self) -> str:
        """The lines; bytes that are no UTF-8 become lone surrogates, which no id may hold."""
        return self.data.decode("utf-8", "surrogateescape")


def read_blocks(path: StrPath, rejected: Rejected, progress: Progress | None = None) -> Iterator[Block]:
    """Read blocks of about 1 MiB.

    A line over 1 MiB is rejected; a blank line stands in its place, so that the numbers of the others hold.

    Raises
    ------
    DataError
        If the file is missing, unreadable, empty, binary, or a damaged gzip.
    """
    line, carry, too_long = 1, b"", False
    for piece in _pieces(path, progress):
        first, last = piece.find(b"\n"), piece.rfind(b"\n") + 1
        if not too_long and len(carry) + (first if last else len(piece)) > LINE_LIMIT:
            rejected.add(path, line, None, f"the line has more than {LINE_LIMIT:,} bytes")
            too_long = True
        if not last:
            carry = b"" if too_long else carry + piece
            continue
        data = piece[first:last] if too_long else carry + piece[:last]
        yield Block(line, data)
        line, carry, too_long = line + data.count(b"\n"), piece[last:], False
    if carry:
        yield Block(line, carry + b"\n")


def first_lines(path: StrPath, limit: int = 50) -> list[str]:
    """Return the first lines of a text file, blank ones left out, as far as its first block holds them.

    Raises
    ------
    DataError
        As `read_blocks`, and if there is nothing but blank lines.
    """
    block = next(read_blocks(path, Rejected()), Block(1, b""))
    lines = [line for line in block.text.replace("\r\n", "\n").split("\n") if line.strip()]
    if not lines:
        raise DataError("holds nothing but blank lines", path=path)
    return lines[:limit]


def first_bytes(path: StrPath, count: int = 4) -> bytes:
    """Return the first bytes as they lie on disk; `DataError` unless it is a regular, readable file."""
    with readable(path), Path(path).open("rb") as file:
        return file.read(count)


@contextmanager
def readable(path: StrPath) -> Iterator[None]:
    """Refuse what is no regular file, and turn what the system reports while it is read into `DataError`."""
    try:
        place = Path(path)
        if place.is_dir():
            raise DataError("is a directory", path=path, remedy="Name a file in it")
        if place.exists() and not place.is_file():
            # Reading starts with a look at the first lines, and a pipe cannot be read twice.
            raise DataError("is not a regular file", path=path, remedy="Write its content to a file first")
        yield
    except FileNotFoundError:
        raise DataError("there is no such file", path=path) from None
    except PermissionError:
        raise DataError("may not be read: permission denied", path=path) from None
    except EOFError:
        reason = "the gzip data end too early; the file is truncated"
        raise DataError(reason, path=path, remedy="Copy or download it again") from None
    except (gzip.BadGzipFile, zlib.error):
        raise DataError("the gzip data are damaged", path=path, remedy="Copy or download it again") from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path=path) from None


def _pieces(path: StrPath, progress: Progress | None) -> Iterator[bytes]:
    with readable(path), Path(path).open("rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw) if packed else raw
        piece = _checked(stream.read(_BLOCK_BYTES), path)
        while piece:
            if progress is not None:
                progress(raw.tell())
            yield piece
            piece = stream.read(_BLOCK_BYTES)


def _checked(piece: bytes, path: StrPath) -> bytes:
    for magic, (reason, remedy) in _FOREIGN.items():
        if piece.startswith(magic):
            raise DataError(reason, path=path, remedy=remedy)
    piece = piece.removeprefix(_BOM)
    if not piece:
        raise DataError("is empty", path=path)
    if b"\0" in piece.split(b"\n", 1)[0]:
        raise DataError("holds NUL bytes; it is not a text file", path=path)
    return piece
