"""Two models on the same events: what one alone knows, and what either has learned, does not count."""

import numpy as np
import pytest
from nights import EVENTS, events

from batch_jobs.paired import Among, on_learned, on_unseen
from recsys.data import Dataset, frozen_split
from recsys.errors import InsufficientDataError
from recsys.models import ImplicitALS, Popularity

METRIC = "ndcg@20"


def als(log, seed=0):
    return ImplicitALS(factors=8, iterations=4, threads=1, seed=seed).fit(Dataset.from_interactions(log))


@pytest.fixture(scope="module")
def models():
    return als(frozen_split(events(0.5), 0.1).train), als(frozen_split(EVENTS, 0.1).train, seed=1)


def test_a_model_is_as_good_as_itself_and_the_other_way_round_is_the_negative(models):
    old, new = models
    test = frozen_split(EVENTS, 0.1).test
    same = on_unseen(new, new, test, METRIC)
    assert (same.difference, same.low, same.high) == (0, 0, 0)
    one, other = on_unseen(new, old, test, METRIC), on_unseen(old, new, test, METRIC)
    assert (one.ours, one.theirs, one.n_users) == (other.theirs, other.ours, other.n_users)
    assert one.ours != one.theirs
    assert on_unseen(new, Popularity().fit(new.dataset), test, METRIC).low > 0


def test_among_others_a_model_gives_its_own_lists_without_what_is_left_out(models):
    old, new = models
    users, items = old.dataset.users, old.dataset.items
    histories = new.dataset.interactions.recode(users, items)[0]
    among = Among(new, Dataset(histories))
    some = users.ids()[:50]
    whole = new.recommend(some, len(new.dataset.items)).lists()
    for ours, theirs in zip(among.recommend(some, 10).lists(), whole, strict=True):
        expected = [(item, score) for item, score in theirs if items.row(item) >= 0][:10]
        assert [item for item, _ in ours] == [item for item, _ in expected]
        np.testing.assert_allclose([score for _, score in ours], [score for _, score in expected], rtol=1e-6)


def test_events_that_either_has_learned_do_not_count(models):
    old, new = models
    with pytest.raises(InsufficientDataError, match="no user can be judged"):
        on_unseen(old, new, frozen_split(EVENTS, 0.1).train, METRIC)
    assert on_learned(old, new, frozen_split(EVENTS, 0.1).train, METRIC).n_users > 200
