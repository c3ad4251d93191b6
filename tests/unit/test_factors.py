from dataclasses import replace

import numpy as np
import pytest

from recsys.encoding import Encoder
from recsys.errors import DataError
from recsys.factors import Factors, FoldIn, HistoryMap
from recsys.query_features import QueryFeatures


def arrays(**changes):
    good = {
        "user_vectors": np.ones((3, 2), np.float32),
        "item_vectors": np.ones((4, 2), np.float32),
        "item_bias": np.zeros(4, np.float32),
    }
    return {**good, **changes}


def query(**changes):
    users = Encoder.fit(["country"], [{"country": "at"}, {"country": "de"}])
    context = Encoder.fit(["hour:category"], [{"hour": "1"}])
    nothing = replace(QueryFeatures.nothing(3, 2), user_encoder=users, context_encoder=context)
    return replace(nothing, **{"weights": np.ones(5, np.float32), "vectors": np.ones((5, 2), np.float32), **changes})


def history_map(**changes):
    good = {"matrix": np.ones((3, 3), np.float32), "intercept": np.ones(3, np.float32), "shrinkage": 1.0}
    return HistoryMap(**{**good, **changes})


def test_shapes_that_fit_are_accepted():
    assert Factors(**arrays()).width == 2
    empty = Factors(np.zeros((3, 0), np.float32), np.zeros((4, 0), np.float32), np.ones(4, np.float32))
    assert empty.width == 0
    empty.check_finite()
    Factors(**arrays(fold_in=history_map(centre=3.5), query=query(lowest=1.0, highest=1.0))).check_finite()


@pytest.mark.parametrize(
    "change",
    [
        {"user_vectors": np.ones((3, 3), np.float32)},
        {"item_vectors": np.ones((5, 2), np.float32)},
        {"item_bias": np.zeros((4, 1), np.float32)},
        {"item_vectors": np.ones((4, 2))},
        {"item_vectors": np.asfortranarray(np.ones((4, 2), np.float32))},
        {"fold_in": FoldIn(np.ones(3, np.float32), 1.0, 1.0, 1.0, 1.0)},
        {"fold_in": history_map(matrix=np.ones((2, 2), np.float32))},
        {"fold_in": history_map(intercept=np.ones((1, 3), np.float32))},
        *(
            {"query": query(**{name: np.ones(shape, np.float32)})}
            for name, shape in {
                "weights": 2,
                "vectors": (3, 3),
                "signs": 3,
                "user_bias": 4,
                "mean_user": (1, 2),
            }.items()
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change):
    with pytest.raises(DataError, match="expected C-contiguous float32"):
        Factors(**arrays(**change))


@pytest.mark.parametrize(
    "change",
    [
        *({"fold_in": history_map(shrinkage=one)} for one in (0.0, -1.0, np.nan, np.inf)),
        {"fold_in": history_map(centre=np.nan)},
        {"query": query(signs=np.array([1, 0.5], np.float32))},
        {"query": query(link="softmax")},
        {"query": query(lowest=2.0, highest=1.0)},
        {"query": query(lowest=np.nan)},
    ],
)
def test_settings_that_mean_nothing_are_refused(change):
    with pytest.raises(DataError, match=r"shrinkage|signs|link"):
        Factors(**arrays(**change))


FOLD_INS = {"eigenvalues": lambda: FoldIn(np.ones(2, np.float32), 1.0, 1.0, 1.0, 1.0)}
FOLD_INS |= {"fold_in_matrix": history_map, "fold_in_intercept": history_map}


@pytest.mark.parametrize(
    "name",
    [
        *("user_vectors", "item_vectors", "item_bias", "eigenvalues", "fold_in_matrix", "fold_in_intercept"),
        *("query_weights", "query_vectors", "query_user_bias", "query_mean_user"),
    ],
)
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_named(name, number):
    factors = Factors(**arrays(fold_in=FOLD_INS.get(name, history_map)(), query=query()))
    factors.check_finite()
    factors.arrays[name].flat[-1] = number
    with pytest.raises(DataError, match=rf"{name}.*diverged"):
        factors.check_finite()


@pytest.mark.parametrize("name", ["bias", "mean_user_bias"])
def test_a_bias_that_is_not_finite_is_named(name):
    with pytest.raises(DataError, match=r"query_bias.*diverged"):
        Factors(**arrays(query=query(**{name: float("nan")}))).check_finite()


def test_features_of_users_come_before_those_of_contexts_and_have_names():
    asked = query()
    features, values = asked.encode({"country": "de", "hour": "1"}, known_user=False)
    assert (features.tolist(), values.tolist()) == ([1, 2], [1.0, 1.0])
    assert [asked.feature_name(one) for one in features] == ["country=de", "hour=1"]
    assert asked.encode({"country": "de", "hour": "1"}, known_user=True)[0].tolist() == [2]
    missing, values = asked.encode({"country": "fr", "hour": None}, known_user=False)
    assert (missing.tolist(), values.tolist()) == ([3, 4], [1.0, 1.0])
    assert [asked.feature_name(one) for one in missing] == ["country not given", "hour not given"]
    assert asked.encode({}, known_user=True)[0].tolist() == [4]


def test_a_field_of_both_sides_counts_on_both():
    one = Encoder.fit(["country"], [{"country": "at"}])
    asked = replace(query(), user_encoder=one, context_encoder=one)
    assert asked.encode({"country": "at"}, known_user=False)[0].tolist() == [0, 1]
    assert asked.encode({"country": "at"}, known_user=True)[0].tolist() == [1]
    assert asked.known_fields == ("country",)
