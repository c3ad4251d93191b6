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
# # Quick start
#
# A year of a small bookshop, from a CSV to lists of books and an honest figure for how good they are. Everything in
# the data is invented ([data/README.md](../data/README.md) says how), which has one advantage: we know what is in it.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from recsys.data import Dataset, clean, read_interactions, read_table, split_by_time
from recsys.evaluation import evaluate, table
from recsys.models import ImplicitALS, ItemKNN, Popularity

SAMPLE = Path("../data/sample")
log = read_interactions(SAMPLE / "interactions.csv")
books = read_table(SAMPLE / "items.csv")
log

# %% [markdown]
# ## A few books get most of the readers
#
# The grey line is what an even shop would look like. Whoever recommends the left end of the curve to everybody is
# right surprisingly often, which is why every table below has a row for it.

# %%
readers = np.sort(np.bincount(log.item, minlength=len(log.items)))[::-1]
share = readers[: len(readers) // 5].sum() / readers.sum()

figure, axes = plt.subplots(figsize=(7, 3.5))
axes.plot(np.arange(1, len(readers) + 1), readers)
axes.axhline(readers.mean(), color="grey", linewidth=1)
axes.set(
    xlabel="books, the most rated first", ylabel="ratings", title=f"A fifth of the books has {share:.0%} of the ratings"
)
figure.tight_layout()
plt.show()

# %% [markdown]
# ## Train on the past, predict the future
#
# We cut at one moment for everybody: the model learns from the first 80 % of the ratings and is asked for the rest. A
# random split would be easier, and would let the model learn from Thursday what to say on Tuesday.
#
# A rating, whatever its stars, counts as "has read it" here: `weights="binary"`.

# %%
split = split_by_time(log, test_fraction=0.2)
dataset = Dataset.from_interactions(clean(split.train, weights="binary").interactions)
dataset

# %%
models = {
    "popularity": Popularity(),
    "item-kNN": ItemKNN(),
    "ALS": ImplicitALS(factors=8, regularization=0.025, unobserved_weight=0.78, iterations=6, seed=0),
}
results = {name: evaluate(model.fit(dataset), split.test, k=(10, 20)) for name, model in models.items()}
table(results)

# %% [markdown]
# *Recall@20* is the share of a reader's later books that were among the 20 we would have shown, of the whole
# catalogue and not of a handful of sampled ones. *Coverage* is the share of the catalogue that anybody gets to see at
# all: popularity shows the same few books to everyone.
#
# The line below the table says who was judged. It matters: readers who joined after the cut are not in it, and
# neither are books that came later. Nothing above tells how well we serve those.
#
# ## A list

# %%
reader = "u132"
rows = np.flatnonzero(log.user == log.users.row(reader))
read = log.items.ids(log.item[rows])
print(f"{reader} has rated {len(read)} books, the last of them")
for item in read[-5:]:
    print(f"   {books[item]['title']}  ({', '.join(books[item]['genres'])})")

print("and would be shown")
[shown] = models["ALS"].recommend([reader], k=5).lists()
for item, score in shown:
    print(f"   {score:.2f}  {books[item]['title']}  ({', '.join(books[item]['genres'])})")

# %% [markdown]
# ## Where to go from here
#
# * [comparing_models](comparing_models.ipynb): is the best row of that table really better, or lucky?
# * [choosing_settings](choosing_settings.ipynb): where settings such as `factors=8` come from.
# * [looking_at_lists](looking_at_lists.ipynb): what the lists are like, beyond being right.
# * [published_model](published_model.ipynb): the same with the model that is in service, on S3.
