"""Datasets: what is learned from, and what lists leave out."""

import numpy as np
import pytest

from recsys.data import Dataset, clean, interactions_from_tuples
from recsys.errors import InsufficientDataError
from recsys.models import ImplicitALS, ItemKNN, Popularity

RAW = interactions_from_tuples(
    [("anna", "tea", 5.0), ("anna", "milk", 1.0), ("bo", "tea", 4.0), ("bo", "rice", 5.0), ("cleo", "milk", 5.0),
     ("dora", "salt", 1.0)]
)  # fmt: skip


def test_without_interactions_there_is_no_dataset():
    with pytest.raises(InsufficientDataError):
        Dataset.from_interactions(interactions_from_tuples([]))


def test_without_a_history_what_is_seen_is_what_is_learned_from():
    dataset = Dataset.from_interactions(RAW)
    assert dataset.seen_items is dataset.user_items


def test_a_history_is_matched_by_id_and_adds_what_cleaning_took_out():
    dataset = Dataset.from_interactions(clean(RAW, min_weight=4).interactions, RAW)
    assert dataset.users.ids() == ["anna", "bo", "cleo"]
    seen = {
        user: {dataset.items.id(item) for item in dataset.seen_items[row].indices}
        for row, user in enumerate(dataset.users.ids())
    }
    assert seen == {"anna": {"tea", "milk"}, "bo": {"tea", "rice"}, "cleo": {"milk"}}
    assert dataset.user_items.nnz == 4
    assert dataset.item_counts.tolist() == [2, 1, 1]


def test_weights_that_cancel_are_seen_all_the_same():
    rows = [("u", "i", 2.0), ("u", "i", -2.0), ("u", "j", 0.0), ("v", "i", 1.0), ("v", "j", 1.0)]
    raw = interactions_from_tuples(rows)
    dataset = Dataset.from_interactions(clean(raw, min_weight=1).interactions, raw)
    assert sorted(dataset.seen_items[0].indices) == [0, 1]


@pytest.mark.parametrize("model", [Popularity(), ItemKNN(neighbours=2), ImplicitALS(factors=2)])
def test_what_was_disliked_is_not_offered(model):
    model.fit(Dataset.from_interactions(clean(RAW, min_weight=4).interactions, RAW))
    assert [item for item, _ in model.recommend(["anna"], k=5).lists()[0]] == ["rice"]
    assert np.isin(model.recommend(["anna"], k=5, exclude_seen=False).rows, [0, 1, 2, -1]).all()
