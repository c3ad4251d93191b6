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
# # Comparing models
#
# Alternating least squares, Bayesian personalized ranking, a factorization machine: which is best for the bookshop?
# The answer takes two things that a table of averages does not give: **the same care for each**, and **a measure of
# luck**.

# %%
from pathlib import Path

import matplotlib.pyplot as plt

from recsys.data import Dataset, clean, read_interactions, read_table, split_by_time
from recsys.evaluation import compare_all, evaluate, table
from recsys.models import BPR, FactorizationMachine, ImplicitALS, ItemKNN, Popularity

SAMPLE = Path("../data/sample")
log, books = read_interactions(SAMPLE / "interactions.csv"), read_table(SAMPLE / "items.csv")
split = split_by_time(log, test_fraction=0.2)
dataset = Dataset.from_interactions(clean(split.train, weights="binary").interactions)
with_genres = dataset.with_features(items=books, item_fields=["genres"])

# %% [markdown]
# The machine gets the genres too, and with them it can show books nobody had read at the cut. The others cannot, so
# for the comparison we ask only for books that all of them know. (What that hides comes at the end.)

# %%
is_known = dataset.items.encode(split.test.items.ids())[split.test.item] >= 0
test = split.test.select(is_known).compact()


def judged(models):
    """Train each model and judge it on the same events."""
    return {
        name: evaluate(model.fit(with_genres if name == "FM" else dataset), test, k=(20,))
        for name, model in models.items()
    }


baselines = judged({"popularity": Popularity(), "item-kNN": ItemKNN()})

# %% [markdown]
# ## First try: as they come out of the box

# %%
default = judged({"ALS": ImplicitALS(seed=0), "BPR": BPR(seed=0), "FM": FactorizationMachine(seed=0)})
table({**baselines, **default})

# %% [markdown]
# ALS loses to counting neighbours, and one could write a paper about it. But nothing was compared here except three
# sets of default settings, none of them made for this shop.
#
# ## Second try: the same search for each
#
# Sixteen random settings for each model, judged on a validation part cut from the training part, stopped at the best
# epoch, as in [choosing_settings](choosing_settings.ipynb). The test part was not looked at. These won:

# %%
models = {
    "ALS": ImplicitALS(factors=8, regularization=0.025, unobserved_weight=0.78, iterations=6, seed=0),
    "BPR": BPR(factors=64, regularization=0.041, learning_rate=0.15, iterations=27, seed=0),
    "FM": FactorizationMachine(factors=32, regularization=0.28, learning_rate=0.35, iterations=17, seed=0),
}
results = {**baselines, **judged(models)}
table(results)

# %% [markdown]
# ## Which of these differences are there?
#
# Readers are few and differ a lot, so the table would look a little different with other readers. `compare` pairs the
# models reader by reader, draws readers again ten thousand times for an interval (BCa bootstrap), and flips signs for
# a p-value: if two models were alike, it would not matter which of two figures belongs to which. Four comparisons in
# two metrics are eight chances to be fooled; Holm's correction charges for that.

# %%
comparisons = compare_all(results, "ALS", metrics=["ndcg@20", "recall@20"], seed=0)
for name, comparison in comparisons.items():
    for one in comparison:
        interval = f"{one.difference:+.4f} ({one.low:+.4f} to {one.high:+.4f})"
        print(f"{name:<10} - ALS  {one.metric:<9} {interval:<30} adjusted p {one.adjusted_p:.4f}")

# %%
figure, axes = plt.subplots(figsize=(7, 3))
for place, comparison in enumerate(comparisons.values()):
    for shift, color, one in zip((-0.12, 0.12), ("C0", "C1"), comparison, strict=True):
        axes.plot([one.low, one.high], [place + shift] * 2, color=color, linewidth=2)
        axes.plot(one.difference, place + shift, "o", color=color, label=one.metric if place == 0 else None)
axes.axvline(0, color="grey", linewidth=1)
axes.set_yticks(range(len(comparisons)), comparisons)
axes.invert_yaxis()
axes.set(xlabel="difference from ALS, with 95 % intervals over readers", title="Better than ALS is to the right")
axes.legend()
figure.tight_layout()
plt.show()

# %% [markdown]
# Popularity is far behind. Item-kNN is behind in NDCG by more than luck with readers would explain; in recall its
# interval alone would say so too, but after eight looks the corrected p-value is not below .05, so we do not say it.
# Between ALS, BPR and FM this test part decides nothing: every interval holds zero. That is no proof that they are
# equal. It says how large a difference could still hide, and that it is small beside what the search for settings was
# worth.
#
# ## Luck with seeds
#
# The intervals are about readers. Another seed gives BPR another start and other negatives, and that is a second kind
# of luck, which no amount of readers takes away.

# %%
seeds = [
    evaluate(
        BPR(factors=64, regularization=0.041, learning_rate=0.15, iterations=27, seed=seed).fit(dataset), test, k=(20,)
    ).mean("ndcg@20")
    for seed in range(4)
]
searched = results["ALS"].mean("ndcg@20") - default["ALS"].mean("ndcg@20")
between = max(results[name].mean("ndcg@20") for name in models) - min(results[name].mean("ndcg@20") for name in models)
print(f"between four seeds of BPR        {max(seeds) - min(seeds):.4f}")
print(f"between the three searched       {between:.4f}")
print(f"between ALS searched and default {searched:.4f}")

# %% [markdown]
# ## What the common ground hides
#
# Some books of the test part came into the shop after the cut. Only the machine, which knows their genres, can show
# them at all. Does it?

# %%
late = split.test.select(~is_known).compact()
users = late.users.ids()
shown = {
    user: {item for item, _ in one}
    for user, one in zip(users, models["FM"].recommend(users, k=20).lists(), strict=True)
}
pairs = list(zip(late.users.ids(late.user), late.items.ids(late.item), strict=True))
hits = sum(item in shown[user] for user, item in pairs)
print(
    f"{len(late.items)} late books, {len(pairs)} times read after the cut, {hits} of them in the machine's list of 20"
)

# %% [markdown]
# A few: one label per book is little to go by. Still, it is a few more than none.
#
# So: tune alike before comparing, compare by reader, and where the figures cannot tell models apart, choose by what
# the figures leave out: how long training takes, how quickly somebody new is folded in, what the model can do about
# books nobody knows.
