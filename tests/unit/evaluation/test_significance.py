import numpy as np
import pytest
from comparisons import RESAMPLES, covered, population, rejected, samples
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recsys.errors import ConfigError, DataError, InsufficientDataError
from recsys.evaluation import bca_interval, holm, sign_flip_test

FEW = {"comparisons": 300}  # enough for what a planted bug does


@pytest.fixture(scope="module")
def better():
    return population(1.15)


@pytest.fixture(scope="module")
def alike():
    return population(1.0)


def interval(ours, theirs, seed, confidence=0.95):
    return bca_interval(ours - theirs, resamples=RESAMPLES, confidence=confidence, seed=seed)


def p_value(ours, theirs, seed):
    return sign_flip_test(ours - theirs, resamples=RESAMPLES, seed=seed)


def test_intervals_cover_the_truth_as_often_as_they_say(better):
    share = covered(better, interval)
    print(f"covered {share:.1%} of 1,000 comparisons of 500 users, {RESAMPLES:,} resamples, seed 0")
    assert 0.94 <= share <= 0.96


def test_a_wrong_level_and_unpaired_users_are_caught(better):
    def unpaired(ours, theirs, seed):
        return interval(np.random.default_rng(seed).permutation(ours), theirs, seed)

    assert covered(better, lambda *one: interval(*one, confidence=0.9), **FEW) < 0.94
    assert covered(better, unpaired, **FEW) > 0.96


def test_models_alike_are_seldom_called_different(alike):
    share = rejected(alike, p_value)
    print(f"rejected {share:.1%} of 1,000 comparisons of models alike, 500 users, {RESAMPLES:,} resamples, seed 0")
    assert share <= 0.055


def test_a_one_sided_p_and_pairs_torn_apart_are_caught(alike, better):
    def one_sided(ours, theirs, seed):
        return p_value(ours, theirs, seed) / 2

    def of_all_metrics(ours, theirs, seed):
        """Every user counted four times, as if metrics of one user were users."""
        return p_value(np.tile(ours, 4), np.tile(theirs, 4), seed)

    assert rejected(alike, one_sided, **FEW) > 0.055
    assert rejected(alike, of_all_metrics, **FEW) > 0.055
    assert rejected(better, p_value, **FEW) > 2 * rejected(alike, p_value, **FEW)


@pytest.mark.parametrize("users", [12, 100, 400])
def test_the_interval_is_scipys(better, users):
    (ours, theirs), *_ = (one.T for one in samples(better, 1, users, seed=1))
    peer = stats.bootstrap((ours - theirs,), np.mean, n_resamples=10_000, rng=np.random.default_rng(5))
    own = bca_interval(ours - theirs, resamples=10_000, seed=5)
    assert own == pytest.approx(tuple(peer.confidence_interval), abs=0.05 * np.ptp(own))


@pytest.mark.parametrize("values", [[0.5, -0.1, 0.2, 0.2, 0.0], [1.0, 1.0, -1.0, 0.0, 0.0, 2.0, 1.0], [0.1, 0.2]])
def test_p_is_that_of_all_signs(values):
    """Ties with the observed mean count: with decimals they are equal up to rounding only."""
    values = np.array(values)
    signs = 1 - 2 * (np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1)
    exact = np.mean(np.abs(signs @ values) >= abs(values.sum()) - 1e-9)
    assert sign_flip_test(values, resamples=40_000) == pytest.approx(exact, abs=0.01)


def test_blocks_do_not_show(monkeypatch):
    values = np.random.default_rng(3).normal(0.1, 1, 60)
    monkeypatch.setattr("recsys.evaluation.significance._CELLS", 128 * 60)  # as many bits as whole bytes
    small = [*bca_interval(values, resamples=1_000), sign_flip_test(values, resamples=1_000)]
    monkeypatch.undo()
    whole = [*bca_interval(values, resamples=1_000), sign_flip_test(values, resamples=1_000)]
    assert small == pytest.approx(whole)


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=30), st.integers(0, 9))
def test_swapping_the_models_mirrors_everything(differences, seed):
    values = np.array(differences)
    low, high = bca_interval(values, resamples=200, seed=seed)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12
    assert bca_interval(-values, resamples=200, seed=seed) == pytest.approx((-high, -low), abs=1e-9)
    p = sign_flip_test(values, resamples=200, seed=seed)
    assert sign_flip_test(-values, resamples=200, seed=seed) == p
    assert 0 < p <= 1


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_differences_that_are_all_equal(value):
    values = np.full(50, value)
    assert bca_interval(values) == (value, value)
    assert sign_flip_test(values) == (pytest.approx(1 / 10_001) if value else 1)


def test_one_user_far_from_all_others():
    low, high = bca_interval(np.array([1.0] + [0.0] * 99))
    assert 0 <= low < 0.01 < high < 0.1
    assert sign_flip_test(np.array([1.0] + [0.0] * 99)) == 1


@pytest.mark.parametrize("test", [bca_interval, sign_flip_test])
def test_refuses_what_says_nothing(test):
    for few in ([], [0.3]):
        with pytest.raises(InsufficientDataError, match=r"cannot show .* two users or more"):
            test(np.array(few))
    for bad in (np.nan, np.inf):
        with pytest.raises(DataError, match=r"not finite. Leave out"):
            test(np.array([0.1, bad, 0.2]))
    with pytest.raises(DataError, match="one value per user"):
        test(np.ones((3, 2)))
    with pytest.raises(ConfigError, match="resamples is 0"):
        test(np.ones(3), resamples=0)


@pytest.mark.parametrize("settings", [{"confidence": 0}, {"confidence": 1}, {"confidence": 0.99, "resamples": 100}])
def test_refuses_tails_without_resamples(settings):
    with pytest.raises(ConfigError, match="confidence"):
        bca_interval(np.array([0.1, 0.2]), **settings)


def test_holm_by_hand_and_its_order():
    np.testing.assert_allclose(holm([0.01, 0.02, 0.03, 0.005]), [0.03, 0.04, 0.04, 0.02])
    assert holm([]).tolist() == []
    assert holm([0.6, 0.9]).tolist() == [1, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_holm_lies_between_nothing_and_bonferroni(p_values, random):
    p = np.array(p_values)
    adjusted = holm(p)
    assert ((adjusted >= p) & (adjusted <= np.minimum(1, p * len(p)))).all()
    assert adjusted[p.argmin()] == min(1, p.min() * len(p))
    order = list(range(len(p)))
    random.shuffle(order)
    np.testing.assert_allclose(holm(p[order]), adjusted[order])
