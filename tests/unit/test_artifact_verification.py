"""What verification leaves in memory, and what it tells about the numbers it has met."""

import mmap
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from recsys.artifacts import LocalArtifactStore, describe, store
from recsys.errors import DataError
from recsys.factors import Factors

MEGABYTE = 1 << 20


def opened(folder, **arrays):
    manifest = describe("shop", "als", arrays, config={}, data={}, metrics={}, now=datetime(2026, 1, 1, tzinfo=UTC))
    place = LocalArtifactStore(folder)
    place.put(manifest, arrays)
    return place.open("shop", manifest.version)


def resident(name):
    """Bytes of the mappings of an array that are in this process's memory."""
    text = Path("/proc/self/smaps").read_text()
    return 1024 * sum(int(kb) for kb in re.findall(rf"/{name}\.npy\n(?:.*\n)*?Rss:\s+(\d+) kB", text))


def test_verifying_leaves_nothing_of_the_array_in_memory(tmp_path):
    found = opened(tmp_path, big=np.ones(8 * MEGABYTE, np.float32))
    assert resident("big") < MEGABYTE
    found.arrays["big"].sum()
    assert resident("big") >= 32 * MEGABYTE


def test_what_is_given_back_leaves_memory_and_can_be_read_again(tmp_path):
    array = opened(tmp_path, lent=np.ones(2 * MEGABYTE, np.float32)).arrays["lent"]
    own = np.ones(9)
    for one in (array, array.reshape(2, -1)[:, 1:], own):
        assert one.all()
        store.give_back(one)
        assert resident("lent") == 0
    assert array.all()
    assert own.all()


def test_pages_that_are_not_given_back_are_noticed(tmp_path, monkeypatch):
    """Planted: the test above would prove nothing if this passed."""
    monkeypatch.setattr(store.mmap, "MADV_DONTNEED", mmap.MADV_NORMAL)
    found = opened(tmp_path, kept=np.ones(8 * MEGABYTE, np.float32))
    assert resident("kept") >= 32 * MEGABYTE
    assert len(found.arrays["kept"]) == 8 * MEGABYTE


@pytest.mark.parametrize("place", [0, 15, 65_519, 65_520, 65_521, 99_999])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8"])
def test_extremes_are_found_wherever_they_are(tmp_path, dtype, place):
    array = np.arange(100_000).astype(dtype) % 7
    array[place], array[(place + 50_000) % 100_000] = 100, 0 if dtype == "uint8" else -100
    assert opened(tmp_path, one=array).extremes["one"] == (array.min(), array.max())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e16])
@pytest.mark.parametrize("place", [0, 70_000, 99_999])
def test_a_number_that_is_none_is_refused_by_the_extremes_alone(tmp_path, bad, place):
    vectors, none = np.ones((100_000, 1), np.float32), np.zeros((0, 1), np.float32)
    vectors[place] = bad
    extremes = opened(tmp_path, item_vectors=vectors).extremes
    good = Factors(none, np.ones((100_000, 1), np.float32), np.zeros(100_000, np.float32))
    good.check_finite()
    with pytest.raises(DataError, match="item_vectors"):
        good.check_finite(extremes)
