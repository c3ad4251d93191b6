"""What every model trained in epochs shares: stopping, keeping the best, starting from an earlier model."""

import numpy as np
import pytest

from recsys.data import Dataset, interactions_from_tuples
from recsys.data.synthetic import generate
from recsys.errors import ConfigError, DataError
from recsys.models import ImplicitALS


@pytest.fixture(scope="module")
def dataset():
    made = generate(users=300, items=150, mean_history=12, categories=5, seed=3)
    return Dataset.from_interactions(made.interactions)


def als(**settings):
    return ImplicitALS(**{"factors": 8, "iterations": 10, **settings})


def vectors(model):
    factors = model.export()
    return factors.user_vectors.tobytes() + factors.item_vectors.tobytes()


def test_looking_after_each_epoch_changes_nothing(dataset):
    looked = []
    model = als().fit(dataset, on_epoch=lambda model: looked.append(model.recommend(dataset.users.ids([0])).lists()))
    assert len(looked) == 10
    assert model.scores == []
    assert vectors(model) == vectors(als().fit(dataset))


def test_the_best_epoch_is_kept_and_patience_ends_training(dataset):
    scores = [1.0, 3.0, 2.0, 2.5, 3.0, 9.0]
    seen = []

    def on_epoch(model):
        seen.append(vectors(model))
        return scores[len(seen) - 1]

    model = als(patience=3).fit(dataset, on_epoch=on_epoch)
    assert model.scores == scores[:5]  # three epochs without a better score than the second
    assert model.best_epoch == 2
    assert vectors(model) == seen[1]
    assert vectors(model) == vectors(als(iterations=2).fit(dataset))


def test_a_score_that_is_no_number_is_refused(dataset):
    with pytest.raises(ConfigError, match="nan"):
        als().fit(dataset, on_epoch=lambda model: float("nan"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_fit_leaves_the_model_as_it_was(dataset, error):
    def interrupt(model):
        raise error

    model = als(iterations=2).fit(dataset)
    before, loss = vectors(model), model.loss
    with pytest.raises(error):
        model.fit(dataset, on_epoch=interrupt)
    assert vectors(model) == before
    assert model.loss == loss
    fresh = als()
    with pytest.raises(error):
        fresh.fit(dataset, on_epoch=interrupt)
    with pytest.raises(ConfigError, match="not fitted"):
        fresh.recommend(["1"])


def test_a_start_from_an_earlier_model_with_other_ids_begins_where_that_one_ended(dataset):
    order = np.random.default_rng(0).permutation(len(dataset.interactions))
    others = interactions_from_tuples([("new user", dataset.items.id(0), 1.0), (dataset.users.id(0), "new item", 1.0)])
    later = Dataset.from_interactions(others.join(dataset.interactions.select(order).compact()))
    earlier = als(iterations=60).fit(dataset)
    cold, warm = als().fit(later), als().fit(later, start=earlier)
    assert warm.loss[1] < cold.loss[1]
    assert warm.loss[1] < cold.loss[-1]


def test_a_start_needs_no_more_factors_than_there_are(dataset):
    with pytest.raises(ConfigError, match="16 factors"):
        als().fit(dataset, start=als(factors=16).fit(dataset))
    als(factors=16).fit(dataset, start=als().fit(dataset))


def later_events(dataset):
    users, items = dataset.users.ids(), dataset.items.ids()
    events = [(users[0], items[9], 1.0), (users[1], "fresh", 1.0)]
    return interactions_from_tuples([*events, *(("newcomer", items[n], 1.0) for n in (3, 4))])


def test_partial_fit_moves_only_what_the_events_touch(dataset):
    model = als(factors=5, iterations=30).fit(dataset)
    before = {name: model.recommend([name], k=150, exclude_seen=False) for name in dataset.users.ids([5, 6])}
    model.partial_fit(later_events(dataset))
    assert (len(model.dataset.users), len(model.dataset.items)) == (301, 151)
    assert [model.dataset.items.id(row) for row in (0, 149, 150)] == [*dataset.items.ids([0, 149]), "fresh"]
    touched = {3, 4, 9, 150}
    for name, earlier in before.items():
        now = dict(model.recommend([name], k=151, exclude_seen=False).lists()[0])
        for row, (item, score) in zip(earlier.rows[0], earlier.lists()[0], strict=True):
            if row not in touched:
                assert now[item] == pytest.approx(score, abs=1e-4)


def test_partial_fit_solves_the_newcomer_as_training_would(dataset):
    model = als(iterations=60).fit(dataset)
    model.partial_fit(later_events(dataset))
    again = als(iterations=60).fit(dataset.join(later_events(dataset)))
    partial, full = (one.recommend(["newcomer"], k=20).lists()[0] for one in (model, again))
    assert len({item for item, _ in partial} & {item for item, _ in full}) >= 15
    factors = model.export()
    assert np.abs(factors.item_vectors[150]).max() > 0
    assert factors.fold_in is not None


def test_partial_fit_before_fit_and_with_negative_weights_changes_nothing(dataset):
    with pytest.raises(ConfigError, match="not fitted"):
        als().partial_fit(later_events(dataset))
    model = als().fit(dataset)
    before = vectors(model)
    with pytest.raises(DataError, match="negative"):
        model.partial_fit(interactions_from_tuples([("1", "2", -50.0)]))
    assert vectors(model) == before
    assert model.dataset is dataset
