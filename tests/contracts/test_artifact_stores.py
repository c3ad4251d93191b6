"""What every artefact store and every registry promises. A new one joins by adding its factory."""

import threading
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from clouds import CLOUDS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recsys.artifacts import describe
from recsys.artifacts.store import _draft_of
from recsys.errors import ArtifactError, ConfigError, ConflictError, NoModelError, StorageError
from recsys.stores import artifact_store, model_registry

PLACES = ("local", *CLOUDS)
ARRAYS = {
    "item_vectors": np.arange(12, dtype=np.float32).reshape(4, 3),
    "empty": np.zeros((4, 0), np.float32),
    "ids": np.arange(4, dtype=np.int64),
}


@pytest.fixture(params=PLACES)
def store(request, tmp_path, aws, monkeypatch):
    if request.param == "local":
        return artifact_store(f"file:{tmp_path}/artifacts")
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    return artifact_store(f"s3://{aws(request.param).bucket()}/models")


@pytest.fixture(params=PLACES)
def registry(request, tmp_path, aws):
    if request.param == "local":
        return model_registry(f"file:{tmp_path}/registry")
    return model_registry(f"dynamodb://{aws(request.param).table()}")


def manifest(arrays=ARRAYS, *, namespace="shop", number=0):
    now = datetime(2026, 1, 1, second=number % 60, minute=number // 60, tzinfo=UTC)
    return describe(namespace, "als", arrays, config={"n": number}, data={}, metrics={"ndcg@20": 0.5}, now=now)


def test_what_is_put_is_opened_bit_by_bit_and_cannot_be_written(store):
    described = manifest()
    store.put(described, ARRAYS)
    opened = store.open("shop", described.version, manifest_sha256=described.sha256)
    assert opened.manifest == described
    assert set(opened.arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert opened.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(opened.arrays[name], array)
        assert not opened.arrays[name].flags.writeable


def test_only_the_named_arrays_are_opened(store):
    described = manifest()
    store.put(described, ARRAYS)
    assert set(store.open("shop", described.version, names=["ids", "nothing"]).arrays) == {"ids"}


def test_the_manifest_alone_is_held_against_its_hash(store):
    described, other = manifest(), manifest(number=1)
    store.put(described, ARRAYS)
    opened = store.open("shop", described.version, manifest_sha256=described.sha256, names=())
    assert (opened.manifest, dict(opened.arrays)) == (described, {})
    with pytest.raises(ArtifactError, match="is not the one that was published"):
        store.open("shop", described.version, manifest_sha256=other.sha256, names=())
    with pytest.raises(NoModelError, match=f"'shop' has no version {other.version!r} under "):
        store.open("shop", other.version, names=())


def test_a_sweep_leaves_every_version(store):
    store.sweep("shop")
    store.put(manifest(), ARRAYS)
    store.sweep("shop")
    assert store.versions("shop") == [manifest().version]
    store.open("shop", manifest().version)


def test_a_sweep_removes_what_was_killed_and_nothing_that_is_being_written(tmp_path):
    store = artifact_store(f"file:{tmp_path}")
    store.put(manifest(), ARRAYS)
    with _draft_of(tmp_path / "shop" / "v9") as draft:
        killed = draft.with_name(".v8.0123")
        killed.mkdir()
        (killed / "ids.npy").write_bytes(b"half")
        store.sweep("shop")
        assert not killed.exists()
        assert draft.is_dir()
    assert store.versions("shop") == [manifest().version]


def test_a_version_is_never_overwritten(store):
    described = manifest()
    store.put(described, ARRAYS)
    with pytest.raises(ConflictError, match=described.version):
        store.put(described, ARRAYS)
    store.open("shop", described.version, manifest_sha256=described.sha256)


def test_a_place_that_cannot_be_taken_is_not_said_to_hold_a_version(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / manifest().version).symlink_to("nothing")
    store = artifact_store(f"file:{tmp_path}")
    with pytest.raises(StorageError, match=f"storing version {manifest().version} under .* failed: not a directory"):
        store.put(manifest(), ARRAYS)
    assert [path.name for path in (tmp_path / "shop").iterdir()] == [manifest().version]  # and no draft is left


def test_what_is_removed_is_gone_whole_and_its_name_is_free(store):
    first, second = manifest(number=1), manifest(number=2)
    assert store.versions("shop") == []
    for one in (second, first):
        store.put(one, ARRAYS)
    store.put(manifest(namespace="other"), ARRAYS)
    assert store.versions("shop") == [first.version, second.version]
    mapped = store.open("shop", first.version)
    for _ in range(2):
        store.remove("shop", first.version)
        assert store.versions("shop") == [second.version]
    np.testing.assert_array_equal(mapped.arrays["ids"], ARRAYS["ids"])
    store.open("shop", second.version)
    store.put(first, ARRAYS)
    store.open("shop", first.version)
    for names in (("..", "v"), ("shop", ""), ("shop", "../other")):
        with pytest.raises(ConfigError):
            store.remove(*names)


def test_missing_versions_and_bad_names_are_told_apart(store):
    store.put(manifest(), ARRAYS)
    with pytest.raises(NoModelError, match="no version 'v9'"):
        store.open("shop", "v9")
    for namespace, version in (("..", "v1"), ("shop", "../shop"), ("shop", ""), ("a/b", "v"), ("shop", ".hidden")):
        with pytest.raises(ConfigError):
            store.open(namespace, version)


def test_another_manifest_than_the_pointer_names_is_refused(store):
    described = manifest()
    store.put(described, ARRAYS)
    with pytest.raises(ArtifactError, match="not the one that was published"):
        store.open("shop", described.version, manifest_sha256="0" * 64)


def test_arrays_that_are_not_those_described_are_never_stored(store):
    described = manifest()
    with pytest.raises(ArtifactError):
        store.put(described, {**ARRAYS, "ids": ARRAYS["ids"] + 1})
    with pytest.raises(NoModelError):
        store.open("shop", described.version)


@given(
    array=hnp.arrays(
        st.sampled_from(["float32", "int32", "int64", "uint8"]), hnp.array_shapes(min_dims=1, max_dims=2, min_side=0)
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_array_comes_back(store, array):
    described = manifest({"one": array})
    try:
        store.put(described, {"one": array})
    except ConflictError:
        return  # hypothesis repeated an example
    assert store.open("shop", described.version).arrays["one"].tobytes() == array.tobytes()


def test_nothing_is_in_service_at_first(registry):
    assert registry.current("shop") is None
    assert registry.history("shop") == []
    assert registry.namespaces() == []
    with pytest.raises(NoModelError, match="no earlier model"):
        registry.rollback("shop", expected=0)


def test_the_pointer_moves_by_compare_and_set_and_namespaces_do_not_touch(registry):
    first, second = manifest(number=1), manifest(number=2)
    assert registry.promote(first, expected=0).sequence == 1
    with pytest.raises(ConflictError, match="expected entry 0, found 1"):
        registry.promote(second, expected=0)
    now = registry.promote(second, expected=1)
    assert (now.sequence, now.version, now.manifest_sha256) == (2, second.version, second.sha256)
    assert registry.current("shop") == now
    assert registry.current("other") is None
    assert registry.promote(manifest(namespace="other"), expected=0).sequence == 1
    assert registry.namespaces() == ["other", "shop"]


def test_rollback_goes_back_one_promotion_at_a_time_and_never_reuses_a_number(registry):
    versions = [manifest(number=n) for n in range(1, 4)]
    for expected, one in enumerate(versions):
        registry.promote(one, expected=expected)
    assert registry.rollback("shop", expected=3).version == versions[1].version
    assert registry.rollback("shop", expected=4).version == versions[0].version
    with pytest.raises(NoModelError):
        registry.rollback("shop", expected=5)
    registry.promote(versions[2], expected=5)
    assert registry.rollback("shop", expected=6).version == versions[0].version
    history = registry.history("shop")
    assert [entry.sequence for entry in history] == list(range(1, 8))
    assert history[-1] == registry.current("shop")
    with pytest.raises(ConflictError):
        registry.rollback("shop", expected=3)


def test_racing_promotions_get_one_number_each_and_none_is_lost(registry):
    won = []

    def promote(worker):
        for n in range(10):
            one = manifest(number=worker * 10 + n)
            while True:
                now = registry.current("shop")
                try:
                    won.append(registry.promote(one, expected=now.sequence if now else 0))
                    break
                except ConflictError:
                    continue

    threads = [threading.Thread(target=promote, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(pointer.sequence for pointer in won) == Counter(range(1, 41))
    assert sorted(won, key=lambda pointer: pointer.sequence) == registry.history("shop")


def test_an_experiment_is_stored_per_namespace_and_replaced_whole(registry):
    assert registry.experiment("shop") is None
    registry.promote(manifest(), expected=0)
    assert registry.experiment("shop") is None
    for document in ({"name": "é \0 😀", "variants": [{"share": 0.1}]}, {"name": "b", "ended_at": "now"}):
        registry.put_experiment("shop", document)
        assert registry.experiment("shop") == document
    assert registry.experiment("other") is None
    assert (len(registry.history("shop")), registry.namespaces()) == (1, ["shop"])
