"""Plain rows: learned, saved and read back to the same bits."""

import numpy as np
import pytest

from recsys.data import FeatureMatrix, read_libsvm
from recsys.errors import DataError
from recsys.models import FactorizationMachine
from recsys.models.fm.rows import RowPredictor


def clicks(times=17):
    """Whether somebody clicks depends on site and advertisement together, not on either alone."""
    site, advertisement = (np.tile(one, times) for one in np.divmod(np.arange(36), 6))
    sides = [
        FeatureMatrix.of_ids(one.astype(np.int32), 6, name) for one, name in ((site, "site"), (advertisement, "ad"))
    ]
    return FeatureMatrix.side_by_side(sides), ((site + advertisement) % 2).astype(np.float32)


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "logistic"},
        {"loss": "logistic", "field_weights": True},
        {"loss": "hinge", "solver": "momentum"},
        {"loss": "probit"},
        {"loss": "squared"},
        {"loss": "squared", "solver": "als", "regularization": 0.1},
    ],
)
def test_what_only_pairs_tell_is_learned_and_survives_saving(settings, tmp_path):
    rows, clicked = clicks()
    predictor = FactorizationMachine(factors=4, iterations=60, **settings).fit_rows(rows, clicked)
    predicted = predictor.predict(rows)
    apart = predicted[clicked > 0].mean() - predicted[clicked == 0].mean()
    linear = FactorizationMachine(**{"factors": 0, "iterations": 60, **settings}).fit_rows(rows, clicked).predict(rows)
    assert apart > 0.5 > 0.2 > linear[clicked > 0].mean() - linear[clicked == 0].mean()
    predictor.save(tmp_path / "clicks.npz")
    np.testing.assert_array_equal(RowPredictor.load(tmp_path / "clicks.npz").predict(rows), predicted)
    assert [one.name for one in tmp_path.iterdir()] == ["clicks.npz"]


def test_a_libsvm_file_is_learned_as_it_is(tmp_path):
    path = tmp_path / "train.svm"
    path.write_text("".join(f"{label} {feature}:1 3:0.5\n" for label, feature in [(1, 1), (0, 2)] * 40))
    rows, labels = read_libsvm(path)
    predicted = FactorizationMachine(factors=0, loss="logistic", iterations=60).fit_rows(rows, labels).predict(rows)
    assert ((predicted > 0.5) == (labels > 0)).all()


def test_progress_is_told_and_other_rows_are_refused():
    rows, clicked = clicks(2)
    told = []
    predictor = FactorizationMachine(loss="hinge", iterations=3).fit_rows(
        rows, clicked, np.ones(72, np.float32), progress=lambda *at: told.append(at)
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(DataError, match="the model was trained on 12 in site, ad"):
        predictor.predict(rows.field(0))
    with pytest.raises(DataError, match="do not go together"):
        FactorizationMachine(loss="hinge").fit_rows(rows, clicked[:-1])
