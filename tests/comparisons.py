"""Simulated comparisons of two models whose true difference is known."""

import os

import numpy as np

from recsys.evaluation.ranking_metrics import ndcg

COMPARISONS, USERS, SEED = 1_000, 500, 0
RESAMPLES = 10_000 if os.environ.get("NIGHTLY") else 1_000


def population(better, size=200_000, k=10):
    """NDCG@10 of every user under two models, shape (size, 2); the first finds a relevant item `better` times as often.

    Both know most users hardly at all, and the same users well: two thirds of the differences are 0, the others skewed
    and heavy-tailed. The mean over the population is the truth that a sample of users is to find.
    """
    rng = np.random.default_rng(SEED)
    n_relevant, known = rng.geometric(0.2, size), rng.beta(0.5, 8, size)

    def judged(factor):
        chance = np.clip(known * rng.lognormal(0, 0.5, size) * factor, 0, 0.9)
        hits = rng.random((size, k)) < chance[:, None] / np.log2(np.arange(k) + 2)
        return ndcg(hits & (np.cumsum(hits, axis=1) <= n_relevant[:, None]), n_relevant)

    return np.stack([judged(better), judged(1.0)], axis=1)


def samples(values, comparisons=COMPARISONS, users=USERS, seed=SEED):
    """Values of randomly chosen users, once for each comparison."""
    rng = np.random.default_rng(seed)
    return (values[rng.integers(0, len(values), users)] for _ in range(comparisons))


def covered(values, interval, **how):
    """Share of the comparisons in which ``interval(ours, theirs, seed)`` holds the true difference."""
    truth = (values[:, 0] - values[:, 1]).mean()
    ends = [interval(*one.T, seed) for seed, one in enumerate(samples(values, **how))]
    return np.mean([low <= truth <= high for low, high in ends])


def rejected(values, p_value, **how):
    """Share of the comparisons in which ``p_value(ours, theirs, seed)`` is below 0.05."""
    return np.mean([p_value(*one.T, seed) < 0.05 for seed, one in enumerate(samples(values, **how))])
