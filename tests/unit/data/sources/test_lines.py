import gzip
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.sources import Rejected, lines
from recsys.data.sources.lines import first_lines, read_blocks
from recsys.errors import DataError


@settings(deadline=None)
@given(
    st.text("ab\né\r", min_size=1, max_size=200),
    st.integers(1, 30),
    st.booleans(),
)
def test_blocks_are_the_file_cut_at_newlines(text, size, packed):
    data = text.encode()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_BLOCK_BYTES", size)
        path = Path(folder, "x")
        path.write_bytes(gzip.compress(data) if packed else data)
        blocks = list(read_blocks(path, Rejected()))
    assert b"".join(block.data for block in blocks) == data + (b"" if data.endswith(b"\n") else b"\n")
    line = 1
    for block in blocks:
        assert (block.line, block.data[-1:]) == (line, b"\n")
        line += block.data.count(b"\n")


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.integers(1, 10), st.booleans())
def test_only_lines_over_the_limit_are_rejected(lengths, size, last_newline):
    data = b"\n".join(b"x" * length for length in lengths) + (b"\n" if last_newline else b"")
    if not data:
        return
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_BLOCK_BYTES", size)
        patch.setattr(lines, "LINE_LIMIT", 10)
        path = Path(folder, "x")
        path.write_bytes(data)
        rejected = Rejected("skip")
        found = b"".join(block.data for block in read_blocks(path, rejected)).split(b"\n")
    assert rejected.rows == sum(length > 10 for length in lengths)
    expected = [b"x" * length if length <= 10 else b"" for length in lengths]
    while expected and not expected[-1]:
        expected.pop()
    assert found[: len(expected)] == expected
    assert not any(found[len(expected) :])


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"\xef\xbb\xbfuser,item\n")
    assert first_lines(path) == ["user,item"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"PAR1....", "is a Parquet file. Pass --format parquet or format='parquet'"),
        (b"PK\x03\x04....", "is a zip archive or a spreadsheet. Unpack it, or export it as csv"),
        (b"BZh91AY", "is compressed with bzip2. Unpack it"),
        (b"\xfd7zXZ\0", "is compressed with xz"),
        (b"\x28\xb5\x2f\xfd", "is compressed with zstd"),
        ("user,item\n".encode("utf-16"), "is UTF-16 text. Save it as UTF-8"),
        (b"\x7fELF\x02\x01\x01\0\0\0", "holds NUL bytes; it is not a text file"),
    ],
)
def test_files_that_are_no_text_are_named_as_what_they_are(tmp_path, content, message):
    path = tmp_path / "events.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read_blocks(path, Rejected("skip")))
    assert str(caught.value).startswith(f"{path}: {message}")


def packed(count=200_000):
    return gzip.compress(b"".join(b"user%d,item\n" % k for k in range(count)), 1)


@pytest.mark.parametrize("keep", [3, 12, 1000, -1, -8])
def test_a_truncated_gzip(tmp_path, keep):
    path = tmp_path / "events.csv.gz"
    path.write_bytes(packed()[:keep])
    with pytest.raises(DataError, match="the gzip data end too early; the file is truncated"):
        list(read_blocks(path, Rejected("skip")))


@pytest.mark.parametrize("place", [2, 5000, -6])
def test_a_corrupt_gzip(tmp_path, place):
    data = bytearray(packed())
    data[place] ^= 0xFF
    path = tmp_path / "events.csv.gz"
    path.write_bytes(data)
    with pytest.raises(DataError, match="the gzip data are damaged"):
        list(read_blocks(path, Rejected("skip")))


def test_what_is_no_readable_file(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"is a directory. Name a file in it"):
        list(read_blocks(tmp_path, Rejected()))
    with pytest.raises(DataError, match=r"nothing.csv: there is no such file"):
        list(read_blocks(tmp_path / "nothing.csv", Rejected()))
    file = tmp_path / "file"
    file.write_text("a,b\n")
    with pytest.raises(DataError, match=r"cannot be read: Not a directory|there is no such file"):
        list(read_blocks(file / "below", Rejected()))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"is not a regular file. Write its content to a file first"):
        list(read_blocks(tmp_path / "pipe", Rejected()))

    def deny(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(DataError, match="file: may not be read: permission denied"):
        list(read_blocks(file, Rejected()))
