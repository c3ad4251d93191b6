"""Cursors: the place in a list as text that nobody else can make, or change a bit of."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
import struct
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from itertools import accumulate, pairwise
from typing import Any
from urllib.parse import unquote

from chalice.app import Request

from recsys.errors import DataError
from recsys.serving.paging import Page

LONGEST = 8000
_MAC_BYTES = 16
_HEAD = struct.Struct("<dq8s16sBH")
_encode = json.JSONEncoder(sort_keys=True).encode  # made once: that takes as long as to use it


def cursor_of(page: Page, key: bytes) -> str:
    """Return a page as text: a MAC, then the page, packed."""
    deflate = zlib.compressobj(wbits=10, memLevel=1)  # next to no memory to make ready, which is most of the time
    packed = deflate.compress(_packed(page)) + deflate.flush()
    return urlsafe_b64encode(_mac(packed, key) + packed).decode().rstrip("=")


def page_of(cursor: str, request: bytes, key: bytes) -> Page:
    """Return the page of a cursor that was made with this key for this request; else `DataError`."""
    data = _decoded(cursor)
    mac, packed = data[:_MAC_BYTES], data[_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(packed, key)):
        raise DataError("this is no cursor that this service gave", field="cursor")
    page = _unpacked(zlib.decompress(packed))
    if page.request != request:
        raise DataError("is of another request: only k, include and explain may differ", field="cursor")
    return page


def digest(request: Request, asked: Any) -> bytes:
    """Return 16 bytes of a request: route, namespace, ids, and what it asks for."""
    ids = {name: unquote(text) for name, text in (request.uri_params or {}).items()}
    return hashlib.sha256(_encode([request.path, ids, asked]).encode()).digest()[:16]


def _mac(packed: bytes, key: bytes) -> bytes:
    return hmac.digest(key, packed, hashlib.sha256)[:_MAC_BYTES]


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
    """Rows as the steps between them: the first bytes of all steps, then the second ones, as these are nearly all 0."""
    version, steps = page.version.encode(), [after - before for before, after in pairwise((0, *page.rows))]
    head = _HEAD.pack(page.now_s, page.through, page.known, page.request, len(version), len(steps))
    planes = struct.pack(f"<{len(steps)}I", *steps)
    return (
        head + version + b"".join(planes[n::4] for n in range(4)) + json.dumps(page.items, ensure_ascii=False).encode()
    )


def _unpacked(data: bytes) -> Page:
    now_s, through, known, request, n_version, n_rows = _HEAD.unpack_from(data)
    start = _HEAD.size + n_version
    version, planes = data[_HEAD.size : start].decode(), bytearray(4 * n_rows)
    for n in range(4):
        planes[n::4] = data[start + n * n_rows : start + (n + 1) * n_rows]
    steps = struct.unpack(f"<{n_rows}I", planes)
    items = json.loads(data[start + 4 * n_rows :])
    return Page(version, now_s, through, known, request, tuple(accumulate(steps)), tuple(items))
