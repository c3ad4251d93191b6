# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What would the other model have earned?
#
# A shop shows everybody the bestsellers. You have trained ALS and would like to know how many more clicks it would get,
# **before** anybody sees it. Recall on held-out events answers another question: what people took while bestsellers
# were what they were shown.
#
# If the shop shows something random now and then, and logs **how likely** each thing was to be shown, its log answers
# for policies that were never in service. Here the shop is invented, so that answers can be held against the truth.

# %%
import warnings
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

from recsys.data import Dataset, Interactions
from recsys.data.synthetic import generate
from recsys.evaluation.off_policy import (
    EpsilonGreedy,
    LoggedImpressions,
    OffPolicyWarning,
    clipped_ips,
    cross_fit,
    doubly_robust,
    ips,
    simulate_impressions,
    snips,
)
from recsys.models import FactorizationMachine, ImplicitALS, Popularity

K = 3
shop = generate(users=500, items=50, mean_history=8, categories=5, seed=4)
dataset = Dataset.from_interactions(shop.interactions)
popularity = Popularity().fit(dataset)
als = ImplicitALS(factors=8, regularization=0.1, iterations=10, seed=0).fit(dataset)

# %% [markdown]
# ## Lists as policies
#
# To the estimators, a model is a *policy*: the probability of each item at each position. Of a deterministic list that
# is 1 for what is there and 0 for all else. A logger needs more than that: in one request of five it shows three random
# items instead (of those the user does not have yet).

# %%
in_service = EpsilonGreedy(popularity, k=K, epsilon=0.2)
candidate = EpsilonGreedy(als, k=K, epsilon=0.0)
simulated = simulate_impressions(shop, in_service, requests=40_000, seed=0)
logged = simulated.logged
logged

# %% [markdown]
# A log of your own is made of columns. The rows of users and items are those of the models; the *propensity* is what
# the server knew when it chose, for it cannot be found out later:

# %%
LoggedImpressions(
    users=dataset.users,
    items=dataset.items,
    user=dataset.users.encode(["u001", "u001", "u002"]),
    item=dataset.items.encode(["i07", "i12", "i07"]),
    reward=np.array([0.0, 1.0, 0.0]),
    propensity=np.array([0.805, 0.005, 0.805]),
    request=np.array([1, 1, 2]),
    position=np.array([0, 1, 0], np.int32),
)

# %% [markdown]
# ## The question, and two wrong answers
#
# The truth, which only a simulation has, is in clicks per request:

# %%
truth = {"popularity": simulated.value(in_service), "ALS": simulated.value(candidate)}
truth

# %% [markdown]
# Wrong answer one: the mean of the log, which is about the policy in service. Wrong answer two: only count what ALS
# would have shown too. Those rows are mostly where it agrees with the bestsellers, and little of what sets it apart.

# %%
target = candidate.probabilities(logged)
agrees = target > 0
{
    "mean of the log": logged.reward.sum() / logged.n_requests,
    "mean where ALS agrees, times 3": K * logged.reward[agrees].mean(),
}

# %% [markdown]
# ## Four right answers
#
# Inverse propensity scoring (**IPS**) weighs a row by how much likelier it is under the candidate: `target /
# propensity`. **Clipping** bounds the weights, at the price of a bias. **SNIPS** divides by the mean weight. And
# **doubly robust** lets a model predict the clicks and corrects its errors by IPS. The model here is a factorization
# machine over user, item and position. It is *cross-fitted*: it predicts requests it was not trained on, or it would
# know the answers.


# %%
def click_model(part):
    """Fit a machine on some of the log; return what it expects of users, items and positions."""
    clicks = Interactions(part.users, part.items, part.user, part.item, part.reward.astype(np.float32))
    clicks = clicks.with_contexts([{"position": str(place)} for place in part.position])
    data = Dataset.from_interactions(clicks).with_features(context_fields=["position"])
    machine = FactorizationMachine(factors=4, loss="logistic", iterations=10, seed=0).fit(data)

    def reward(user, item, position):
        expected = np.empty(len(user))
        for place in np.unique(position):
            at = position == place
            users, items = part.users.ids(user[at]), part.items.ids(item[at])
            expected[at] = machine.predict(users, items, {"position": str(place)})
        return expected

    return reward


predicted, expected = cross_fit(logged, candidate, click_model)
estimates = {
    "IPS": ips(logged, target),
    "clipped IPS, 20": clipped_ips(logged, target, clip=20),
    "SNIPS": snips(logged, target),
    "doubly robust": doubly_robust(logged, target, predicted=predicted, expected=expected),
    "with the true model": doubly_robust(
        logged,
        target,
        predicted=simulated.reward(logged.user, logged.item, logged.position),
        expected=candidate.expected(logged, simulated.reward),
    ),
}
for name, one in estimates.items():
    print(
        f"{name:20} {one.value:.3f} [{one.low:.3f}, {one.high:.3f}]  worth {one.effective_sample_size:,.0f} rows of "
        f"{len(logged):,}, largest weight {one.largest_weight:.0f}, support {one.support:.2f}"
    )

# %%
fig, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
for row, one in enumerate(estimates.values()):
    axes.plot([one.low, one.high], [row, row], color="C0")
    axes.plot(one.value, row, "o", color="C0")
axes.set_yticks(range(len(estimates)), estimates)
axes.axvline(truth["ALS"], color="C1", label="ALS, the truth")
axes.axvline(truth["popularity"], color="C7", linestyle="--", label="popularity, the truth")
axes.set_xlabel("clicks per request")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
axes.invert_yaxis()
plt.show()

# %% [markdown]
# Clipped IPS is sure of a number that is too low: its interval is for the clipped value. The others hold the truth, and
# leave no doubt that ALS gets more clicks than the bestsellers. The reward model helps little, and so would the true
# one: what is left is the luck of single clicks with large weights.
#
# How far an estimate is to be believed, it says itself:
#
# - **effective sample size**: so many rows of the candidate's own would tell as much;
# - **largest weight**: one click that counts like that many;
# - **support**: the mean weight, 1 but for chance if the logger can show everything the candidate shows.
#
# ## No exploration, no answer
#
# Ten thousand requests, with less and less exploration. Below 200 effective rows there is a warning, and it means it:
# in the end, the interval is narrow and wrong, since the rows that would have widened it never came.

# %%
for epsilon in (0.5, 0.2, 0.05, 0.01):
    logger = EpsilonGreedy(popularity, k=K, epsilon=epsilon)
    some = simulate_impressions(shop, logger, requests=10_000, seed=1).logged
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", OffPolicyWarning)
        last = snips(some, candidate.probabilities(some))
    print(f"epsilon {epsilon:4}: {last.value:.3f} [{last.low:.3f}, {last.high:.3f}] {'warned' if caught else ''}")
print(caught[0].message)

# %% [markdown]
# ## What is assumed
#
# - **Propensities are true.** They are logged when the list is made. Halve them and the support says 2:

# %%
wrong = replace(logged, propensity=logged.propensity / 2)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", OffPolicyWarning)
    ips(wrong, target)
print(caught[0].message)

# %% [markdown]
# - **Items of a list do not compete.** Each is judged by its own user, item and position, whatever stands beside it.
#   Where one good item takes the click from the next, sums over lists come out wrong for policies with other
#   neighbours.
# - **The users are a sample.** Intervals resample users with all their requests; they are for a population of such
#   users, and a little wide for these very ones.
# - **The world stands still**: what users have and like is what it was while the log was written.
