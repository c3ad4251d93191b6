"""Segments and the verdict against what a count over the lists gives, on models whose lists are known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recsys.data import Dataset, interactions_from_tuples
from recsys.errors import ConfigError
from recsys.evaluation import EvaluationResult, evaluate
from recsys.evaluation.segments import Variety, item_segments, thirds, user_segments, variety
from recsys.models import Popularity

N_USERS, N_ITEMS = 120, 60


@pytest.fixture(scope="module")
def world():
    """Events with a long tail, a training and a test part."""
    draw = np.random.default_rng(3)
    share = 1 / np.arange(1, N_ITEMS + 1)
    rows = [
        (f"u{user}", f"i{item}", 1.0)
        for user in range(N_USERS)
        for item in draw.choice(N_ITEMS, 2 + user % 18, replace=False, p=share / share.sum())
    ]
    held = draw.random(len(rows)) < 0.3
    train, test = ([row for row, out in zip(rows, held, strict=True) if out == part] for part in (False, True))
    return Dataset.from_interactions(interactions_from_tuples(train)), interactions_from_tuples(test)


class Rescored(Popularity):
    """Popularity with other scores of the items."""

    def __init__(self, rescore):
        super().__init__()
        self.rescore = rescore

    def fit(self, dataset, *, progress=None):
        super().fit(dataset)
        self._keep(dataset, type(self._factors)(
            self._factors.user_vectors, self._factors.item_vectors, self.rescore(dataset.item_counts).astype(np.float32)
        ))  # fmt: skip
        return self


def test_segments_are_counts_over_the_lists(world):
    dataset, test = world
    result, k = evaluate(Popularity().fit(dataset), test, k=(3, 7)), 7
    lists = Popularity().fit(dataset).recommend(list(result.users), k).rows
    wanted = {
        (u, dataset.items.row(i)) for u, i in zip(test.users.ids(test.user), test.items.ids(test.item), strict=True)
    }
    hits = [
        (user, item) for user, row in zip(result.users, lists, strict=True) for item in row if (user, item) in wanted
    ]
    for one in item_segments(result, k):
        inside = set(np.flatnonzero(one.segment.mask(dataset.item_counts.astype(np.int64))))
        assert one.items == len(inside)
        assert one.exposure == pytest.approx(np.isin(lists, list(inside)).mean())
        assert one.hits == pytest.approx(sum(item in inside for _, item in hits) / len(hits))
    sizes = dict(zip(dataset.users.ids(), np.diff(dataset.user_items.indptr), strict=True))
    for one in user_segments(result, ["recall@7"]):
        inside = [bool(one.segment.mask(np.array([sizes[user]]))[0]) for user in result.users]
        assert one.users == sum(inside)
        assert one.means["recall@7"] == pytest.approx(result.per_user("recall@7")[inside].mean())


def test_segments_add_up_to_the_whole(world):
    result = evaluate(Popularity().fit(world[0]), world[1], k=(7,))
    users, items = user_segments(result, ["ndcg@7"]), item_segments(result, 7)
    assert sum(one.users * one.means["ndcg@7"] for one in users if one.users) / len(result.users) == pytest.approx(
        result.mean("ndcg@7")
    )
    assert sum(one.exposure for one in items) == pytest.approx(1)
    assert sum(one.hits for one in items) == pytest.approx(1)
    assert sum(one.relevant for one in items) == result.counts["relevant"]


@given(st.lists(st.integers(0, 200), min_size=1, max_size=60))
@example([10, 20, 30])  # 30 alone is half
def test_every_count_is_in_one_part_and_the_hot_are_the_fewest_with_half(counts):
    counts = np.array(counts, np.int64)
    parts = thirds(counts)
    assert (sum(part.mask(counts).astype(int) for part in parts) == 1).all()
    assert (counts[parts[0].mask(counts)] < 5).all()
    with_half = [count for count in counts if 2 * counts[counts >= count].sum() >= counts.sum()]
    assert parts[2].lowest == max(5, *with_half)


@pytest.mark.parametrize(
    ("rescore", "close"),
    [
        (lambda counts: counts + 0.5 * np.sin(np.arange(len(counts))), True),  # the bestsellers, a little shuffled
        (lambda counts: -counts, False),
        (lambda counts: np.sin(np.arange(len(counts))), False),
    ],
)
def test_who_repeats_the_bestsellers_is_told_so(world, rescore, close):
    dataset, test = world
    best, ours = (evaluate(one.fit(dataset), test, k=(7,)) for one in (Popularity(), Rescored(rescore)))
    assert variety(best, best, 7).common == pytest.approx(1)
    told = variety(ours, best, 7)
    assert ("close to the bestseller list" in told.verdict) is close, told.verdict
    assert f"{told.coverage:.1%} of the catalogue" in told.verdict
    assert (told.popularity > 1) is close


def test_nearness_is_the_share_of_places_in_common(world):
    dataset, test = world
    best = evaluate(Popularity().fit(dataset), test, k=(7,))
    shown = [np.zeros(len(dataset.items), np.int64) for _ in range(2)]
    shown[0][:2], shown[1][1:3] = 2, (1, 3)
    halves = [replace(best, traces=replace(best.traces, shown={7: one})) for one in shown]
    assert variety(*halves, 7).common == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("told", "close"),
    [
        (Variety(0.1, 2.0, 9.0, 0.5), True),
        (Variety(0.1, 2.0, 9.0, 0.49), False),
        (Variety(0.01, 5.0, 9.0, 0.1), True),  # other bestsellers for everybody
        (Variety(0.01, 4.9, 9.0, 0.1), False),
        (Variety(0.1, 1.0, 1.0, 0.1), False),  # where nothing sells better than the rest
        (Variety(0.1, float("nan"), float("nan"), 0.1), False),
    ],
)
def test_close_is_half_of_the_places_or_half_of_the_popularity(told, close):
    assert told.close is close
    assert ("close to the bestseller list" in told.verdict) is close


def test_refuses_a_result_that_was_not_traced(world):
    with pytest.raises(ConfigError, match="where its lists were"):
        item_segments(EvaluationResult(("a",), {}, {}, {}), 7)
    with pytest.raises(ConfigError, match="lists of 9 were not judged"):
        item_segments(evaluate(Popularity().fit(world[0]), world[1], k=(7,)), 9)
