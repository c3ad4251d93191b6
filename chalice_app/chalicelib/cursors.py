"""Cursors: the place in a list as text that nobody else can make, or change a bit of."""

from __future__ import annotations

import binascii
import hashlib
import json
import struct
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from itertools import accumulate
from operator import sub
from typing import Any
from urllib.parse import unquote

from chalice.app import Request

from recsys.errors import DataError
from recsys.serving.paging import Page

LONGEST = 8000
_MAC_BYTES = 16
_FEW = 50
"""Rows that are not worth compressing: that would take longer than all else that a cursor takes."""
_HEAD = struct.Struct("<dq8s16sBH")
_encode = json.JSONEncoder(sort_keys=True).encode  # made once: that takes as long as to use it
_encode_names = json.JSONEncoder(ensure_ascii=False).encode


def cursor_of(page: Page, key: bytes) -> str:
    """Return a page as text: a MAC, then the page, packed."""
    packed = _packed(page)
    return urlsafe_b64encode(_mac(packed, key) + packed).decode().rstrip("=")


def page_of(cursor: str, request: bytes, key: bytes) -> Page:
    """Return the page of a cursor that was made with this key for this request; else `DataError`."""
    from hmac import compare_digest

    data = _decoded(cursor)
    mac, packed = data[:_MAC_BYTES], data[_MAC_BYTES:]
    if not compare_digest(mac, _mac(packed, key)):
        raise DataError("this is no cursor that this service gave", field="cursor")
    page = _unpacked(packed)
    if page.request != request:
        raise DataError("is of another request: only k, include and explain may differ", field="cursor")
    return page


def digest(request: Request, asked: Any) -> bytes:
    """Return 16 bytes of a request: route, namespace, ids, and what it asks for."""
    ids = {name: unquote(text) for name, text in (request.uri_params or {}).items()}
    return hashlib.blake2b(_encode([request.path, ids, asked]).encode(), digest_size=16).digest()


def _mac(packed: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(packed, key=key, digest_size=_MAC_BYTES).digest()


def _decoded(cursor: str) -> bytes:
    """Return the bytes of a cursor; nothing where it is not the one text that stands for them."""
    if len(cursor) > LONGEST or not cursor.isascii():
        return b""
    try:
        data = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except binascii.Error:
        return b""
    return data if urlsafe_b64encode(data).decode().rstrip("=") == cursor else b""


def _packed(page: Page) -> bytes:
    """Rows as the steps between them, many of them compressed, as a first byte says."""
    version, steps = page.version.encode(), struct.pack(f"<{len(page.rows)}I", *map(sub, page.rows, (0, *page.rows)))
    head = _HEAD.pack(page.now_s, page.through, page.known, page.request, len(version), len(page.rows)) + version
    names = _encode_names(page.items).encode()
    if len(page.rows) <= _FEW:
        return b"\0" + head + steps + names
    planes = [steps[n::4] for n in range(4)]  # the first bytes of all steps and so on: the last ones are nearly all 0
    deflate = zlib.compressobj(wbits=10, memLevel=1)  # next to no memory to make ready, which is most of the time
    return b"\1" + deflate.compress(b"".join([head, *planes, names])) + deflate.flush()


def _unpacked(packed: bytes) -> Page:
    is_compressed, data = packed[0], packed[1:]
    if is_compressed:
        data = zlib.decompress(data)
    now_s, through, known, request, n_version, n_rows = _HEAD.unpack_from(data)
    start = _HEAD.size + n_version
    end = start + 4 * n_rows
    version, steps = data[_HEAD.size : start].decode(), bytearray(data[start:end])
    if is_compressed:
        for n in range(4):
            steps[n::4] = data[start + n * n_rows : start + (n + 1) * n_rows]
    rows = accumulate(struct.unpack(f"<{n_rows}I", steps))
    return Page(version, now_s, through, known, request, tuple(rows), tuple(json.loads(data[end:])))
