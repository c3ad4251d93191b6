import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions, interactions_from_tuples
from recsys.errors import ConfigError, DataError, InsufficientDataError
from recsys.evaluation import evaluate
from recsys.ids import IdMap
from recsys.recommendations import Recommendations


class Scored:
    """Ranks by a fixed score matrix; ties by ascending row, unseen items only."""

    kind = "scored"

    def __init__(self, dataset, scores):
        self.dataset, self.scores, self.calls = dataset, np.asarray(scores, np.float32), []

    def fit(self, dataset, *, progress=None):
        raise NotImplementedError

    def similar_items(self, item, k=10):
        raise NotImplementedError

    def recommend(self, users, k=10, *, exclude_seen=True):
        self.calls.append(len(users))
        scores = self.scores[self.dataset.users.encode(users)].copy()
        scores[self.dataset.user_items[self.dataset.users.encode(users)].toarray() != 0] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int32)
        top = np.take_along_axis(scores, order, axis=1)
        order[np.isinf(top)] = -1
        padding = ((0, 0), (0, k - order.shape[1]))
        return Recommendations(
            np.pad(order, padding, constant_values=-1),
            np.pad(top, padding, constant_values=-np.inf),
            self.dataset.items,
        )


class Fixed(Scored):
    """Gives everybody the rows it was told to."""

    def __init__(self, dataset, rows, items=None):
        self.dataset, self.rows, self.items = dataset, np.array(rows, np.int32), items or dataset.items

    def recommend(self, users, k=10, *, exclude_seen=True):
        rows = np.tile(self.rows, (len(users), 1))
        return Recommendations(rows, np.zeros(rows.shape, np.float32), self.items)


def pairs(*rows):
    return interactions_from_tuples([(*row.split(), 1.0) for row in rows])


TRAIN = pairs("anna tea", "anna milk", "bo tea", "bo rice", "cleo tea", "cleo oil", "dan oil", "eve salt")
ITEMS = ("tea", "milk", "rice", "oil", "salt")  # in row order


def test_by_hand():
    data = Dataset.from_interactions(TRAIN)
    assert tuple(data.items.ids()) == ITEMS
    test = pairs("bo milk", "bo salt", "bo milk", "anna oil", "anna tea", "zoe tea", "dan tofu", "dan oil", "cleo ham")
    result = evaluate(Scored(data, np.tile([5, 4, 3, 2, 1], (5, 1))), test, k=(1, 2))
    # anna is shown rice, oil; bo milk, oil.
    assert result.users == ("anna", "bo")
    assert dict(result.counts) == {
        "users": 2,
        "relevant": 3,
        "users_unknown": 1,
        "items_unknown": 2,
        "repeats": 2,
        "users_without_relevant": 2,
    }
    assert result.per_user("recall@1").tolist() == [0, 0.5]
    assert result.per_user("recall@2").tolist() == [1, 0.5]
    assert result.per_user("mrr@2").tolist() == [0.5, 1]
    assert result.mean("precision@2") == 0.5
    assert result.mean("coverage@2") == 3 / 5
    assert result.mean("gini@1") == pytest.approx((4 * 1 + 2 * 1) / (5 * 2))
    # Popularity: tea 3, oil 2, the others 1, of 5 users.
    np.testing.assert_allclose(result.per_user("novelty@2"), [math.log2(5) / 2 + math.log2(5 / 2) / 2] * 2)
    assert result.mean("novelty@1") == pytest.approx(math.log2(5))
    assert result.mean("novelty@2") == pytest.approx((math.log2(5) + math.log2(5 / 2)) / 2)
    assert result.mean("popularity_lift@2") == pytest.approx(1.5 / 2 - 1)
    assert set(result.means) == set(result.values) | set(result.overall)


def test_diversity_over_named_features():
    table = {"milk": {"kind": ["white", "cold"]}, "rice": {"kind": ["white"]}, "oil": {"kind": ["oily"]}}
    fields = {"brand": "one"}
    items = {item: {**table.get(item, {}), **fields} for item in ITEMS}
    data = Dataset.from_interactions(TRAIN).with_features(items=items, item_fields=["kind", "brand"])
    model, test = Scored(data, np.tile([5, 4, 3, 2, 1], (5, 1))), pairs("bo milk", "anna oil", "eve tea")
    result = evaluate(model, test, k=(1, 2), diversity=["kind"])
    # anna is shown rice and oil, bo milk and oil, eve tea and milk, of which tea has no kind.
    np.testing.assert_array_equal(result.per_user("diversity@2"), [1, 1, np.nan])
    assert result.mean("diversity@2") == 1
    assert math.isnan(result.mean("diversity@1"))
    both = evaluate(model, test, k=(2,), diversity=["kind", "brand"]).per_user("diversity@2")
    # Every field weighs the same, however many values an item has in it.
    np.testing.assert_allclose(both, [1 - 1 / 2, 1 - 1 / 2, 1 - 1 / 2**0.5], rtol=1e-6)
    assert "diversity@2" not in evaluate(model, test, k=(2,)).values
    with pytest.raises(ConfigError, match=r"over colour .* dataset has kind, brand. Fit on"):
        evaluate(model, test, diversity=["colour"])
    with pytest.raises(ConfigError, match="dataset has none"):
        evaluate(Scored(Dataset.from_interactions(TRAIN), np.zeros((5, 5))), test, diversity=["kind"])


def test_padding_is_not_the_last_item_of_the_user_before():
    data = Dataset.from_interactions(TRAIN)
    # With wrapping, bo's padding -1 would read as anna's salt, which is relevant to anna.
    result = evaluate(Fixed(data, [-1, -1]), pairs("anna salt", "bo oil"), k=[2])
    assert result.mean("hit_rate@2") == 0
    assert math.isnan(result.mean("gini@2"))
    assert math.isnan(result.mean("novelty@2"))
    as_json = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert as_json["means"]["novelty@2"] is None
    assert as_json["means"]["coverage@2"] == 0
    assert as_json["counts"]["users"] == 2


def test_k_beyond_the_catalogue_counts_as_misses():
    data = Dataset.from_interactions(TRAIN)
    result = evaluate(Scored(data, np.zeros((5, 5))), pairs("eve tea"), k=(10,))
    assert result.mean("precision@10") == 0.1
    assert result.mean("recall@10") == 1


def test_lists_are_asked_for_to_the_end_of_the_catalogue_and_no_further():
    data = Dataset.from_interactions(TRAIN)
    model, asked = Scored(data, np.zeros((5, 5))), []
    recommend = model.recommend
    model.recommend = lambda users, k: asked.append(k) or recommend(users, k)
    test = pairs("eve tea", "dan tea", "dan milk", "bo milk")
    whole, far = evaluate(model, test, k=(5,)), evaluate(model, test, k=(2, 10**9))
    assert asked == [5, 5]
    for name in ("recall", "hit_rate", "mrr", "map", "ndcg", "coverage", "gini", "novelty", "popularity_lift"):
        assert far.mean(f"{name}@{10**9}") == whole.mean(f"{name}@5")
    assert (far.per_user(f"precision@{10**9}") * 10**9).tolist() == (whole.per_user("precision@5") * 5).tolist()


def test_asks_in_blocks_and_reports_progress():
    data = Dataset.from_interactions(TRAIN)
    model, seen = Scored(data, np.zeros((5, 5))), []
    test = pairs("eve tea", "dan tea", "cleo milk", "bo milk", "anna oil")
    result = evaluate(model, test, block=2, progress=lambda done, total: seen.append((done, total)))
    assert model.calls == [2, 2, 1]
    assert seen == [(2, 5), (4, 5), (5, 5)]
    assert result.users == ("anna", "bo", "cleo", "dan", "eve")


def test_a_user_without_history_is_judged_and_has_no_profile():
    users = IdMap.from_ids([*TRAIN.users.ids(), "new"])
    data = Dataset(Interactions(users, TRAIN.items, TRAIN.user, TRAIN.item, TRAIN.weight))
    result = evaluate(Scored(data, np.zeros((6, 5))), pairs("new tea"), k=(1,))
    assert result.mean("recall@1") == 1
    assert math.isnan(result.mean("popularity_lift@1"))


@pytest.mark.parametrize("test", [pairs("zoe tea"), pairs("anna tea"), pairs("anna tofu"), pairs()])
def test_nobody_left_to_judge(test):
    data = Dataset.from_interactions(TRAIN)
    with pytest.raises(InsufficientDataError, match="no user can be judged: users 0, relevant 0"):
        evaluate(Scored(data, np.zeros((5, 5))), test)


@pytest.mark.parametrize("settings", [{"k": ()}, {"k": (0, 10)}, {"block": 0}])
def test_refuses_settings(settings):
    with pytest.raises(ConfigError):
        evaluate(Scored(Dataset.from_interactions(TRAIN), np.zeros((5, 5))), pairs("anna oil"), **settings)


def test_refuses_lists_that_would_be_misread():
    data, test = Dataset.from_interactions(TRAIN), pairs("anna oil")
    with pytest.raises(DataError, match="shape"):
        evaluate(Fixed(data, [3]), test, k=(2,))
    with pytest.raises(DataError, match="twice"):
        evaluate(Fixed(data, [3, 2, 3]), test, k=(3,))
    with pytest.raises(DataError, match="other rows"):
        evaluate(Fixed(data, [3], items=IdMap.from_ids(reversed(ITEMS))), test, k=(1,))
    same = IdMap.from_ids(ITEMS)
    assert evaluate(Fixed(data, [3], items=same), test, k=(1,)).mean("recall@1") == 1


def test_unknown_names_are_refused_with_the_known_ones():
    result = evaluate(Scored(Dataset.from_interactions(TRAIN), np.zeros((5, 5))), pairs("anna oil"), k=(1,))
    with pytest.raises(ConfigError, match=r"recall@5.*recall@1"):
        result.mean("recall@5")
    with pytest.raises(ConfigError, match=r"coverage@1.*per user"):
        result.per_user("coverage@1")


def random_case(seed):
    rng = np.random.default_rng(seed)
    n_users, n_items = 9, 12
    users = IdMap.from_ids(f"u{row}" for row in range(n_users))
    items = IdMap.from_ids(f"i{row}" for row in range(n_items))

    def some(n):
        columns = [rng.integers(0, size, n).astype(np.int32) for size in (n_users, n_items)]
        return Interactions(users, items, *columns, np.ones(n, np.float32))

    data = Dataset(some(30))
    return Scored(data, rng.integers(0, 4, (n_users, n_items))), some(25), rng


def assert_same(left, right):
    assert left.users == right.users
    assert left.counts == right.counts
    for name in left.values:
        np.testing.assert_array_equal(left.per_user(name), right.per_user(name))
    np.testing.assert_array_equal(list(left.means.values()), list(right.means.values()))


@given(st.integers(0, 10_000), st.integers(1, 12))
def test_block_and_order_of_the_test_events_never_change_a_result(seed, block):
    model, test, rng = random_case(seed)
    whole = evaluate(model, test, k=(1, 3, 20))
    assert_same(whole, evaluate(model, test, k=(20, 3, 1), block=block))
    assert_same(whole, evaluate(model, test.select(rng.permutation(len(test))), k=(1, 3, 20)))


@given(st.integers(0, 10_000))
def test_agrees_with_sets_of_ids(seed):
    model, test, _ = random_case(seed)
    result = evaluate(model, test, k=(4,))
    history, wanted = {}, {}
    for part, into in ((model.dataset.interactions, history), (test, wanted)):
        for user, item in zip(part.users.ids(part.user), part.items.ids(part.item), strict=True):
            into.setdefault(user, set()).add(item)
    relevant = {user: items - history.get(user, set()) for user, items in wanted.items()}
    judged = [user for user in model.dataset.users.ids() if relevant.get(user)]
    assert list(result.users) == judged
    assert result.counts["relevant"] == sum(len(relevant[user]) for user in judged)
    assert result.counts["repeats"] == sum(len(wanted[user] & history.get(user, set())) for user in wanted)
    for position, user in enumerate(judged):
        shown = {item for item, _ in model.recommend([user], 4).lists()[0]}
        assert result.per_user("recall@4")[position] == len(shown & relevant[user]) / len(relevant[user])
    exposed = [item for user in judged for item, _ in model.recommend([user], 4).lists()[0]]
    assert result.mean("coverage@4") == len(set(exposed)) / 12
