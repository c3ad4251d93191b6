"""Artefacts of a few numbers, and every way to damage a file of them."""

import os
from datetime import UTC, datetime

import numpy as np

from recsys.artifacts import (
    describe,
)
from recsys.errors import ArtifactError, StorageError

ARRAYS = {
    "user_vectors": np.arange(10, dtype=np.float32).reshape(5, 2),
    "item_vectors": np.arange(8, dtype=np.float32).reshape(4, 2) / 3,
    "item_bias": np.linspace(-1, 1, 4, dtype=np.float32),
    "item_counts": np.ones(4, np.float32),  # as long as item_bias, so that the two can change places
    "empty": np.zeros((4, 0), np.float32),
    "ids": np.arange(4, dtype=np.int64),
}
REFUSALS = (ArtifactError, StorageError)


def manifest(number=0):
    now = datetime(2026, 1, 1, hour=number // 3600 % 24, minute=number // 60 % 60, second=number % 60, tzinfo=UTC)
    config = {"n": number, "weights": {}}
    return describe("shop", "als", ARRAYS, config=config, data={"window": None}, metrics={"ndcg@20": 0.5}, now=now)


def flip(path, at, bit):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(bytes(data))


def replace_by(make):
    def damage(path):
        path.unlink()
        make(path)

    return damage


DAMAGES = {
    "one byte short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one byte longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "twice": lambda path: path.write_bytes(path.read_bytes() * 2),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "deleted": lambda path: path.unlink(),
    "a folder": replace_by(lambda path: path.mkdir()),
    "a loop of links": replace_by(lambda path: path.symlink_to(path.name)),
    "a link to nothing": replace_by(lambda path: path.symlink_to("nothing")),
    "a pipe": replace_by(os.mkfifo),
    "/dev/zero": replace_by(lambda path: path.symlink_to("/dev/zero")),
    "first bit flipped": lambda path: flip(path, 0, 0),
    "last bit flipped": lambda path: flip(path, -1, 7),
    "bit 1 of byte 9 flipped": lambda path: flip(path, 9, 1),
    "bit in the middle flipped": lambda path: flip(path, path.stat().st_size // 2, 3),
    "bit in the first quarter flipped": lambda path: flip(path, path.stat().st_size // 4, 5),
    "bit in the last quarter flipped": lambda path: flip(path, path.stat().st_size * 3 // 4, 6),
}
