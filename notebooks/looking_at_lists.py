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
# # Looking at lists
#
# Metrics say how often a list is right. They do not say whether you would be embarrassed to show it. So look: at
# lists with their titles, at neighbours, and at what happens to all lists together.

# %%
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from recsys.data import Dataset, clean, read_interactions, read_table
from recsys.models import ImplicitALS, Popularity

SAMPLE = Path("../data/sample")
books = read_table(SAMPLE / "items.csv")
log = read_interactions(SAMPLE / "interactions.csv")
dataset = Dataset.from_interactions(clean(log, weights="binary").interactions)
als = ImplicitALS(factors=8, regularization=0.025, unobserved_weight=0.78, iterations=6, seed=0).fit(dataset)
popularity = Popularity().fit(dataset)


def genre(item):
    """Return the first genre, the stronger one."""
    return books[item]["genres"][0]


def show(items):
    """Print titles with their genres."""
    for item in items:
        print(f"   {books[item]['title']:<58} {', '.join(books[item]['genres'])}")


# %% [markdown]
# ## One reader
#
# This is everything the model knows of a person: which books they have.

# %%
reader = "u132"
history = dataset.seen_items[dataset.users.row(reader)].indices
print(f"{reader} has read {len(history)} books:")
print("  ", ", ".join(f"{name} {n}" for name, n in Counter(map(genre, dataset.items.ids(history))).most_common()))
for name, model in {"ALS": als, "popularity": popularity}.items():
    print(f"\n{name} shows")
    show(item for item, _ in model.recommend([reader], k=8).lists()[0])

# %% [markdown]
# ## Neighbours
#
# Similar are books whose vectors point the same way, not books that share a word. The model has never seen a title or
# a genre: if they agree, it found that out from who reads what.

# %%
for item in ("i299", "i365", "i001"):
    print(f"{books[item]['title']}  ({', '.join(books[item]['genres'])})")
    show(similar for similar, _ in als.similar_items(item, k=4).lists()[0])
    print()

# %% [markdown]
# One good example proves nothing, three neither. Over the whole catalogue: how often does a neighbour share the first
# genre?

# %%
items = dataset.items.ids()
shares = [np.mean([genre(one) == genre(item) for one, _ in als.similar_items(item, k=5).lists()[0]]) for item in items]
sizes = np.array(list(Counter(map(genre, items)).values()))
by_chance = float(((sizes / sizes.sum()) ** 2).sum())
print(f"{np.mean(shares):.0%} of the 5 nearest books share the genre; drawn at random it would be {by_chance:.0%}")

# %% [markdown]
# ## The map the model draws
#
# Eight dimensions, seen from the side that shows most of them: the first two principal components of the books'
# vectors, scaled to length one. Colours are the genres, which the model does not know.

# %%
vectors = als.export().item_vectors
directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
centred = directions - directions.mean(axis=0)
_, strength, axes_of = np.linalg.svd(centred, full_matrices=False)
places = centred @ axes_of[:2].T
explained = strength[:2] ** 2 / (strength**2).sum()

figure, axes = plt.subplots(figsize=(7, 5))
for name in sorted({genre(item) for item in items}):
    here = [row for row, item in enumerate(items) if genre(item) == name]
    axes.scatter(*places[here].T, s=14, label=name)
axes.set(
    xlabel=f"first component ({explained[0]:.0%} of the variance)",
    ylabel=f"second component ({explained[1]:.0%})",
    title="Books by who reads them",
)
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
figure.tight_layout()
plt.show()

# %% [markdown]
# ## All lists together
#
# A list can be good for each reader and bad for the shop. Two questions to ask of all of them at once.
#
# *Does a reader get their mix back?* For each genre, its share in what people read against its share in what they are
# shown. On the diagonal, nothing is exaggerated.
#
# *Who is shown at all?* Books in order of how often they are shown; a line that hugs the left edge shows a few books
# to everybody.

# %%
users, k = dataset.users.ids(), 20
kinds = sorted({genre(item) for item in items})
of_item = np.array([kinds.index(genre(item)) for item in items])
read = np.bincount(of_item[dataset.seen_items.indices], minlength=len(kinds)) / dataset.seen_items.nnz

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
shown_share = {}
for name, model in {"ALS": als, "popularity": popularity}.items():
    rows = model.recommend(users, k=k).rows
    rows = rows[rows >= 0]
    shown_share[name] = np.bincount(of_item[rows], minlength=len(kinds)) / len(rows)
    left.scatter(read, shown_share[name], label=name)
    exposure = np.sort(np.bincount(rows, minlength=len(items)))[::-1]
    right.plot(np.linspace(0, 1, len(items)), np.cumsum(exposure) / exposure.sum(), label=name)
left.axline([read.mean()] * 2, slope=1, color="grey", linewidth=1)
left.set(xlabel="share of a genre in what is read", ylabel=f"share in the lists of {k}", title="The mix of genres")
right.set(xlabel="share of the catalogue, the most shown first", ylabel="share of all places", title="Who is shown")
for axes in (left, right):
    axes.legend()
figure.tight_layout()
plt.show()

# %%
distance = {name: 0.5 * np.abs(share - read).sum() for name, share in shown_share.items()}
print(", ".join(f"{name}: {one:.0%} of the places would have to change genre" for name, one in distance.items()))

# %% [markdown]
# The lists of ALS are nearer to the shop's mix than those of popularity, and spread over far more of the catalogue.
# What averages hide is the reader with an odd taste: look at a few of those by hand too. Change `reader` above.
