"""Arrays and settings that are whole and do not fit each other: refused, or harmless."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from machine import Machine

from recsys.artifacts import (
    Histories,
    describe,
    pack,
    unpack,
)
from recsys.artifacts.artifact import ITEM_SIDE, USER_IDS, user_ids
from recsys.artifacts.store import StoredArrays
from recsys.errors import ArtifactError

MODEL = {
    "user_vectors": np.ones((2, 1), np.float32),
    "item_vectors": np.ones((3, 1), np.float32),
    "item_bias": np.zeros(3, np.float32),
    "item_counts": np.ones(3, np.float32),
    "eigenvalues": np.ones(1, np.float32),
    "history_indptr": np.array([0, 1, 3]),
    "history_items": np.array([2, 0, 1], np.int32),
    "history_weights": np.ones(3, np.float32),
    "user_ids_text": np.frombuffer(b"ab", np.uint8),
    "user_ids_offsets": np.array([0, 1, 2]),
    "user_ids_order": np.array([0, 1], np.int32),
    "item_ids_text": np.frombuffer(b"xyz", np.uint8),
    "item_ids_offsets": np.array([0, 1, 2, 3]),
    "item_ids_order": np.array([0, 1, 2], np.int32),
}
MISFITS = {
    "rows beyond the catalogue": {"history_items": np.array([3, 0, 1], np.int32)},
    "negative rows": {"history_items": np.array([-1, 0, 1], np.int32)},
    "histories out of order": {"history_indptr": np.array([0, 3, 1])},
    "histories beyond the end": {"history_indptr": np.array([0, 1, 9])},
    "weights missing": {"history_weights": np.ones(2, np.float32)},
    "a user without a vector": {"user_vectors": np.ones((1, 1), np.float32)},
    "vectors of one dimension": {"item_vectors": np.ones(3, np.float32)},
    "vectors of integers": {"item_vectors": np.ones((3, 1), np.int32)},
    "an item without a count": {"item_counts": np.ones(2, np.float32)},
    "a count that is no number": {"item_counts": np.array([1, np.nan, 1], np.float32)},
    "an item without a vector": {"item_vectors": np.ones((2, 1), np.float32), "item_bias": np.zeros(2, np.float32)},
    "offsets that cut characters": {
        "user_ids_text": np.frombuffer("éa".encode(), np.uint8),
        "user_ids_offsets": np.array([0, 1, 3]),
    },
    "order beyond the ids": {"item_ids_order": np.array([0, 1, 7], np.int32)},
    "order too short": {"item_ids_order": np.array([0, 1], np.int32)},
    "no offsets": {"user_ids_offsets": np.zeros(0, np.int64)},
    "offsets beyond the text": {"user_ids_offsets": np.array([0, 1, 99])},
    "eigenvalues of another width": {"eigenvalues": np.ones(2, np.float32)},
}


def stored(arrays, config):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return StoredArrays(describe("shop", "als", arrays, config=config, data={}, metrics={}, now=now), arrays)


def unpacked(arrays, config):
    return unpack(stored(arrays, config))


def fitting(arrays, fold_in):
    return unpacked(arrays, {"fold_in": fold_in})


def test_verified_arrays_that_do_not_fit_each_other_are_refused(subtests):
    good = {"alpha": 2.0, "regularization": 1.0, "unobserved_weight": 0.1, "frequency_exponent": 1.0}
    assert fitting(MODEL, good).users.ids() == ["a", "b"]
    for name, changes in MISFITS.items():
        with subtests.test(name), pytest.raises(ArtifactError):
            fitting(MODEL | changes, good)
    for name in MODEL:
        with subtests.test(f"without {name}"), pytest.raises(ArtifactError):
            fitting({k: v for k, v in MODEL.items() if k != name}, good)
    for bad in ("yes", [], {}, {**good, "alpha": "much"}, {**good, "alpha": None}, {**good, "beta": 1.0}):
        with subtests.test(f"fold_in {bad}"), pytest.raises(ArtifactError):
            fitting(MODEL, bad)


def test_who_a_version_knows_is_told_by_its_ids_alone_or_refused(subtests):
    ids = {name: MODEL[name] for name in USER_IDS}
    assert user_ids(stored(ids, {})).ids() == ["a", "b"]
    misfits = {name: changes for name, changes in MISFITS.items() if changes.keys() <= ids.keys()}
    assert len(misfits) == 3
    for name, changes in misfits.items():
        with subtests.test(name), pytest.raises(ArtifactError, match=r"version .* is incomplete"):
            user_ids(stored(ids | changes, {}))
    for name in ids:
        with subtests.test(f"without {name}"), pytest.raises(ArtifactError, match=f"is incomplete: '{name}'"):
            user_ids(stored({k: v for k, v in ids.items() if k != name}, {}))


@pytest.fixture(scope="module")
def machine():
    """Arrays and settings of a published factorization machine, one of each kind of field."""
    made = Machine(lowest=-1.0)
    csr = made.dataset.user_items
    histories = Histories(csr.indptr.astype(np.int64), csr.indices.astype(np.int32), csr.data)
    factors = made.export()
    arrays = pack(factors, made.dataset.users, made.dataset.items, histories, made.dataset.item_counts)
    return factors, arrays, json.loads(json.dumps(factors.settings, allow_nan=False))


def test_a_machine_comes_back_to_the_bit(machine):
    factors, arrays, config = machine
    left_to_the_online_store = {name for name in arrays if name not in ITEM_SIDE}
    assert {name.partition("_")[0] for name in left_to_the_online_store} == {"user", "history", "query"}
    assert len(left_to_the_online_store) == 8
    again = unpacked(arrays, config).factors
    assert again.settings == factors.settings
    assert {name: one.tobytes() for name, one in again.arrays.items()} == {
        name: one.tobytes() for name, one in factors.arrays.items()
    }
    for record in ({}, {"device": "phone", "country": "it", "age": 33.3}):
        for left, right in zip(
            again.query.encode(record, known_user=False), factors.query.encode(record, known_user=False), strict=True
        ):
            assert left.tobytes() == right.tobytes()


NEW = ("query_", "fold_in_", "user_encoder_", "context_encoder_")


def test_parts_of_a_machine_that_do_not_fit_each_other_are_refused(machine, subtests):
    _, arrays, config = machine
    for name, array in arrays.items():
        for damage, changed in {
            "missing": None,
            "one short": array[:-1],
            "one longer": np.concatenate([array, array[-1:]]),
            "of another type": array.astype(np.int64 if array.dtype != np.int64 else np.int32),
        }.items():
            if damage == "of another type" and not name.startswith(NEW):
                continue
            others = {one: other for one, other in arrays.items() if one != name}
            with subtests.test(f"{name} {damage}"), pytest.raises(ArtifactError):
                unpacked(others if changed is None else {**others, name: changed}, config)


HOSTILE = (None, "much", "", [], {}, [None], {"fields": None}, {"fields": [None]}, True, -1, 0, 1e999, -1e999, 2**70)


def test_settings_of_a_machine_that_make_no_sense_are_refused_or_harmless(machine, subtests):
    """Whatever takes the place of a setting: an `ArtifactError`, or a machine whose scores are numbers."""
    _, arrays, config = machine
    refused = 0
    for path in paths(config):
        for hostile in HOSTILE:
            changed = json.loads(json.dumps(config))
            *way, last = path
            place = changed
            for key in way:
                place = place[key]
            place[last] = hostile
            with subtests.test(f"{path} = {hostile!r:.30}"):
                refused += accepted_scores(arrays, changed) is None
        with subtests.test(f"without {path}"):
            changed = json.loads(json.dumps(config))
            place = changed
            for key in path[:-1]:
                place = place[key]
            del place[path[-1]]
            accepted_scores(arrays, changed)
    assert refused > 100


def paths(settings, before=()):
    """Ways to every value of nested settings."""
    keys = settings if isinstance(settings, dict) else range(len(settings)) if isinstance(settings, list) else ()
    for key in keys:
        yield (*before, key)
        yield from paths(settings[key], (*before, key))


def accepted_scores(arrays, config):
    """Scores of a query of every kind; None if the artefact is refused."""
    try:
        query = unpacked(arrays, config).factors.query
    except ArtifactError:
        return None
    if query is None:
        return np.zeros(1)
    record = {
        name: one for name, one in {"device": "phone", "country": "it", "age": 3}.items() if name in query.known_fields
    }
    features, values = query.encode(record, known_user=False)
    assert all(isinstance(query.feature_name(int(one)), str) for one in features)
    found = query.predictions(query.points(query.mean_user, features, values)[:, -1])
    assert np.isfinite(found).all()
    return found
