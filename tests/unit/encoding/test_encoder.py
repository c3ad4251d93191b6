"""Raw fields to features: one record or a million, before and after saving, the features are the same."""

import json
import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.features import FeatureMatrix
from recsys.encoding import Encoder, time_context
from recsys.errors import ConfigError, DataError

SPECS = ["sort:category", "tags:tags", "size:number", "age:buckets", "zip:hashed:6"]
TEXTS = st.sampled_from(["a", "b", "c d", "é", "1", "true", ""])
NUMBERS = st.one_of(st.none(), st.integers(-5, 5), st.floats(-1e6, 1e6), st.just(math.nan), st.just("7.5"))
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "sort": st.one_of(st.none(), TEXTS, st.booleans(), st.integers(0, 3), st.just(1.0)),
        "tags": st.one_of(st.none(), st.lists(st.one_of(TEXTS, st.integers(0, 2)), max_size=4), st.just("a | b|")),
        "size": NUMBERS,
        "age": NUMBERS,
        "zip": st.one_of(TEXTS, st.lists(TEXTS, max_size=3), st.integers()),
        "other": TEXTS,
    },
)
FULL = {"sort": "b", "tags": ["b", "x"], "size": 2.0, "age": 30, "zip": "1234"}
TABLES = st.lists(RECORDS, max_size=12).map(lambda records: [FULL, *records])


def rows_of(encoder, records):
    indptr, features, values = encoder.encode(records)
    assert (indptr.dtype, features.dtype, values.dtype) == (np.int64, np.int32, np.float32)
    FeatureMatrix(indptr, features, values, encoder.names, encoder.offsets)  # ascending, distinct, in range
    parts = zip(np.split(features, indptr[1:-1]), np.split(values, indptr[1:-1]), strict=True)
    return [(some.tolist(), what.tolist()) for some, what in parts]


def words(encoder, record):
    features, values = encoder.encode_one(record)
    return {encoder.feature_name(j): x for j, x in zip(features.tolist(), values.tolist(), strict=True)}


@given(TABLES, TABLES)
def test_many_records_at_once_are_encoded_like_one(known, others):
    encoder = Encoder.fit(SPECS, known)

    one_by_one = [tuple(part.tolist() for part in encoder.encode_one(record)) for record in others]

    assert rows_of(encoder, others) == one_by_one


@given(TABLES, TABLES)
def test_an_encoder_comes_back_from_its_parts_to_the_last_bit(known, others):
    encoder = Encoder.fit(SPECS, known)
    settings, arrays = encoder.to_parts()

    again = Encoder.from_parts(json.loads(json.dumps(settings)), {name: one.copy() for name, one in arrays.items()})

    assert rows_of(again, others) == rows_of(encoder, others)
    assert [again.feature_name(j) for j in range(again.n_features)] == [
        encoder.feature_name(j) for j in range(encoder.n_features)
    ]


@given(TABLES, TABLES)
def test_an_extended_encoder_knows_everything_and_renumbers_nothing_within_a_field(known, later):
    encoder = Encoder.fit(SPECS, known)
    extended = encoder.extended(later)

    for before, after in zip(encoder.fields, extended.fields, strict=True):
        assert [before.feature_name(j) for j in range(before.n_features)] == [
            after.feature_name(j) for j in range(before.n_features)
        ]
    for name in ("sort", "tags"):
        field = extended.fields[extended.names.index(name)]
        for record in [*known, *later]:
            texts = field._texts(record.get(name))
            assert len(field.entries(record.get(name))[0]) == len(set(texts))


@given(TABLES)
def test_what_is_missing_or_unknown_gives_no_feature(known):
    encoder = Encoder.fit(SPECS[:4], known)

    assert words(encoder, {}) == {}
    assert words(encoder, {"sort": None, "tags": [], "size": math.nan, "age": ""}) == {}
    assert words(encoder, {"sort": "never seen", "tags": ["never seen"], "unknown field": 1}) == {}


def test_each_kind_in_numbers():
    records = [
        {"sort": "b", "tags": ["x", "y"], "size": 2, "age": 20, "zip": "1012"},
        {"sort": True, "tags": "y|z", "size": 4, "age": 30, "zip": "1012"},
        {"sort": 3.0, "tags": None, "size": 6, "age": 40, "zip": "1013"},
    ]
    encoder = Encoder.fit(["sort", "tags", "size:number", "age", "zip:hashed:4"], records)

    half = np.float32(1 / math.sqrt(2))
    slot = zlib.crc32(b"1012") % 16
    assert words(encoder, records[0]) == {
        "sort=b": 1,
        "tags=x": half,
        "tags=y": half,
        "size": np.float32(-math.sqrt(1.5)),
        "age=(-inf, 30)": 1,
        f"zip=#{slot}": 1,
    }
    assert list(words(encoder, records[1])) == ["sort=true", "tags=y", "tags=z", "size", "age=[30, 40)", f"zip=#{slot}"]
    assert words(encoder, {"sort": "3", "tags": ["z", "new"], "size": 4, "age": 99}) == {
        "sort=3": 1,
        "tags=z": 1,
        "size": 0,
        "age=[40, inf)": 1,
    }


def test_buckets_hold_about_equally_many_numbers_and_a_lump_stays_in_one():
    numbers = np.random.default_rng(3).lognormal(size=10_000)
    encoder = Encoder.fit(["x:buckets:8"], [{"x": float(one)} for one in numbers])
    _, buckets, _ = encoder.encode([{"x": float(one)} for one in numbers])
    assert np.bincount(buckets).tolist() == pytest.approx([1250] * 8, abs=2)

    lump = Encoder.fit(["x:buckets"], [{"x": 0}] * 900 + [{"x": one} for one in range(1, 101)])
    assert lump.feature_name(0) == "x=(-inf, 1)"
    assert lump.n_features == 2


def test_a_number_beyond_ten_deviations_does_not_drown_the_others():
    encoder = Encoder.fit(["x:number"], [{"x": 1}, {"x": 3}])

    assert [words(encoder, {"x": one})["x"] for one in (1, 3, 1e30, -1e30)] == [-1, 1, 10, -10]


def test_a_constant_number_tells_nothing():
    assert words(Encoder.fit(["x:number"], [{"x": 5}, {"x": 5}]), {"x": 5}) == {"x": 0}


def test_a_hash_is_the_same_for_ever():
    encoder = Encoder.fit(["x:hashed"], [{"x": "a"}])

    assert encoder.n_features == 1 << 18
    assert encoder.encode_one({"x": "123456789"})[0].tolist() == [0xCBF43926 & 0x3FFFF]  # the published check value


def test_kinds_are_found_out_from_the_values():
    records = [{"a": "1", "b": ["x"], "c": 2.5, "d": True, "e": None}, {"a": None, "c": None, "e": 1}, {"e": "x"}]

    fields = Encoder.fit(["a", "b", "c", "d", "e"], records).fields

    assert [one.kind for one in fields] == ["category", "tags", "buckets", "category", "category"]


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["agee"], "no user has a field 'agee'; fields are age, country, empty"),
        (["empty"], "no user has a field 'empty'"),
        (["age:numbr"], "'age:numbr' is no field. Write name or name:kind; the kinds are category, tags"),
        (["age", "age:number"], "the field 'age' is asked for twice"),
        (["country:hashed:40"], "takes 1 to 22 there"),
        (["country:category:4"], "takes no number there"),
        ([":number"], "is no field"),
    ],
)
def test_a_field_that_cannot_be_used_is_refused_in_words(specs, message):
    with pytest.raises(ConfigError, match=r".*") as refused:
        Encoder.fit(specs, [{"age": 3, "country": "NL"}, {"age": 4, "empty": ""}], of="user")

    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("spec", "value", "message"),
    [
        ("x:number", "many", "'many' is no number"),
        ("x:number", [1], "[1] is no number"),
        ("x:buckets", math.inf, "inf is no number"),
        ("x:category", ["a"], "['a'] is no value of a field of the kind category"),
        ("x:category", {"a": 1}, "no value of a field"),
        ("x:tags", [["a"]], "['a'] is no value of a field of the kind tags"),
        ("x:category", "a" * 257, "a text of 257 characters is no category"),
        ("x:hashed", "\ud800", "holds a lone surrogate"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_with_its_field(spec, value, message):
    encoder = Encoder.fit([spec], [{"x": "1"}])

    for encode in (encoder.encode_one, lambda record: encoder.encode([record])):
        with pytest.raises(DataError) as refused:
            encode({"x": value})
        assert refused.value.field == "x"
        assert message in str(refused.value)


def test_parts_that_do_not_fit_together_are_refused():
    settings, arrays = Encoder.fit(["a", "b:buckets"], [{"a": "x", "b": 1}, {"a": "y", "b": 2}]).to_parts()
    number = {"name": "b", "kind": "number", "mean": 0.0, "deviation": 1.0, "bits": 0}
    damaged = [
        (settings, {name: one for name, one in arrays.items() if name != "field_0_order"}),
        (settings, {name: one for name, one in arrays.items() if name != "field_1_edges"}),
        (settings, arrays | {"field_0_order": np.array([0, 2], np.int32)}),
        (settings, arrays | {"field_0_offsets": np.array([0, 1, 3], np.int64)}),
        (settings, arrays | {"field_1_edges": np.array([np.nan])}),
        ({"fields": [number | {"deviation": 0.0}]}, {}),
        ({"fields": [number | {"kind": "sorcery"}]}, {}),
        ({"fields": [{"name": "b"}]}, {}),
        ({"fields": [number | {"more": 1}]}, {}),
        ({}, {}),
    ]

    for some_settings, some_arrays in damaged:
        with pytest.raises(DataError):
            Encoder.from_parts(some_settings, some_arrays)


def test_an_encoder_without_fields_gives_rows_without_features():
    encoder = Encoder.fit([], [{"a": 1}, {}])

    assert rows_of(encoder, [{"a": 1}, {}]) == [([], []), ([], [])]
    assert encoder.n_features == 0


def test_a_moment_is_told_in_utc():
    assert time_context(0) == {"hour": "0", "weekday": "4", "month": "1"}
    assert time_context(1_709_251_199.9) == {"hour": "23", "weekday": "4", "month": "2"}  # 29 February 2024
    assert time_context(1_709_251_200) == {"hour": "0", "weekday": "5", "month": "3"}
