"""What this installation signs with: from the environment, or from a file that is made once."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from recsys.errors import ConfigError, storing

MIN_BYTES = 32
_MAKE = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"


def key_of(purpose: str, *, beside: Path | None) -> bytes:
    """Return the key for a purpose: those of different purposes tell nothing of each other.

    Parameters
    ----------
    purpose : str
    beside : Path, optional
        Where RECSYS_SECRET is not set, the secret is in a file of this name and ``.secret``, made by the first process.

    Raises
    ------
    ConfigError
        If the secret has less than 32 bytes, or there is neither a setting nor a place for a file.
    StorageError
        If the file can be neither read nor made.
    """
    given = os.environ.get("RECSYS_SECRET")
    if given:
        secret = given.encode("utf-8", "surrogateescape")
        if len(secret) < MIN_BYTES:
            raise ConfigError(f"RECSYS_SECRET has {len(secret)} bytes, {MIN_BYTES} are the least. Make one: {_MAKE}")
    elif beside is not None:
        secret = _kept(beside.with_name(f"{beside.name}.secret"))
    else:
        raise ConfigError(f"RECSYS_SECRET is not set, and every server must have the same. Make one: {_MAKE}")
    return hashlib.blake2b(purpose.encode(), key=hashlib.blake2b(secret).digest(), digest_size=MIN_BYTES).digest()


def _kept(path: Path) -> bytes:
    """Return what a file holds; of processes that make it at once, one does."""
    with storing(f"keeping a secret in {path}"):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _make(path)
        secret = path.read_bytes()
    if len(secret) < MIN_BYTES:
        raise ConfigError(f"{path} has {len(secret)} bytes, {MIN_BYTES} are the least. Remove it: it is made again")
    return secret


def _make(path: Path) -> None:
    """Write a file under another name, and give it its own unless somebody did: nobody sees it half written."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(MIN_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
