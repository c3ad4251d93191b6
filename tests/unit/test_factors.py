import numpy as np
import pytest

from recsys.errors import DataError
from recsys.factors import Factors, FoldIn


def arrays(**changes):
    good = {
        "user_vectors": np.ones((3, 2), np.float32),
        "item_vectors": np.ones((4, 2), np.float32),
        "item_bias": np.zeros(4, np.float32),
    }
    return {**good, **changes}


def test_shapes_that_fit_are_accepted():
    assert Factors(**arrays()).width == 2
    empty = Factors(np.zeros((3, 0), np.float32), np.zeros((4, 0), np.float32), np.ones(4, np.float32))
    assert empty.width == 0
    empty.check_finite()


@pytest.mark.parametrize(
    "change",
    [
        {"user_vectors": np.ones((3, 3), np.float32)},
        {"item_vectors": np.ones((5, 2), np.float32)},
        {"item_bias": np.zeros((4, 1), np.float32)},
        {"item_vectors": np.ones((4, 2))},
        {"item_vectors": np.asfortranarray(np.ones((4, 2), np.float32))},
        {"fold_in": FoldIn(np.ones(3, np.float32), 1.0, 1.0, 1.0, 1.0)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(change):
    with pytest.raises(DataError, match="expected C-contiguous float32"):
        Factors(**arrays(**change))


@pytest.mark.parametrize("name", ["user_vectors", "item_vectors", "item_bias", "eigenvalues"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_named(name, number):
    eigenvalues = np.ones(2, np.float32)
    good = arrays(fold_in=FoldIn(eigenvalues, 1.0, 1.0, 1.0, 1.0))
    array = eigenvalues if name == "eigenvalues" else good[name]
    array.flat[-1] = number
    with pytest.raises(DataError, match=rf"{name}.*diverged"):
        Factors(**good).check_finite()
