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
# # The model in service
#
# Somebody asks why they are shown a book. The answer has to come from the model that showed it: not from one trained
# again this morning, but from the artefact in S3 that the API answers from.
#
# Where that is, the environment says, here as everywhere in the suite: `RECSYS_ARTIFACTS=s3://...`,
# `RECSYS_REGISTRY=dynamodb://...` and `RECSYS_ONLINE=dynamodb://...` with the usual credentials, `AWS_ENDPOINT_URL` if
# it is not AWS itself. Without AWS, `file:../var/artifacts`, `file:../var/registry` and `sqlite:../var/online.db` are
# what the commands of the README leave in the folder above this one, and the namespace is theirs.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

from recsys.artifacts import unpack
from recsys.stores import ServingStores

NAMESPACE, READER = "shop", "u132"
for name in ("RECSYS_ARTIFACTS", "RECSYS_REGISTRY", "RECSYS_ONLINE"):
    print(f"{name:<17} {os.environ.get(name, 'not set: under ./var')}")
stores = ServingStores.from_environment()

# %% [markdown]
# ## Which model is it?
#
# The registry holds a pointer: a version, and the hash of its manifest. The manifest holds the hash of every array.
# So what is opened here is, byte by byte, what was published, or an error.

# %%
pointer = stores.registry.current(NAMESPACE)
assert pointer, f"nothing is published in namespace {NAMESPACE!r}: recsys publish VERSION --namespace {NAMESPACE}"
stored = stores.artifacts.open(NAMESPACE, pointer.version, manifest_sha256=pointer.manifest_sha256)
manifest, counts = stored.manifest, stored.manifest.data
print(f"version  {manifest.version}, number {pointer.sequence} in this namespace, made {manifest.created_at}")
print(f"model    {manifest.config['model']}")
print(f"data     {counts['interactions']:,} events of {counts['users']:,} readers and {counts['items']:,} books")
print(f"judged   {manifest.data['judged_by']}: NDCG@20 {manifest.metrics['ndcg@20']:.4f} before it was published")

# %% [markdown]
# ## A list is one dot product
#
# Whatever the kind of model, what is published are vectors: of readers, of books, and a bias for each book. A score
# is their product. Let us do by hand what the API does, and hold it against the API's own service.

# %%
artifact = unpack(stored)
row = artifact.users.row(READER)
scores = artifact.factors.item_vectors @ artifact.factors.user_vectors[row] + artifact.factors.item_bias
scores[artifact.histories.of(row)[0]] = -np.inf  # what they have
by_hand = artifact.items.ids(np.argsort(-scores, kind="stable")[:5])

service = stores.service()
answer = service.recommend(NAMESPACE, READER, 5)
books = stores.online.all_items(NAMESPACE)
print("by hand:", ", ".join(by_hand))
print("service:", ", ".join(one.item for one in answer.items), f"({answer.strategy})")

# %% [markdown]
# If the two differ, look at the strategy. `als` is the vector as it was published. `fold_in` means that this reader
# has done something since the training: the service then works the vector out anew from the whole history, the newest
# events included, which the artefact cannot know.
#
# ## Why this book?
#
# A vector that is folded in is a sum over the books somebody has, so every score comes apart into what each of them
# adds. A published vector was not made that way; all it can say is "the user". Sending one event, as the README does,
# makes the difference.

# %%
asked = [one.item for one in answer.items]
explained = service.scores(NAMESPACE, READER, asked, explain=True)
first = explained.items[0]
print(f"{books[first.item]['title']}: {first.raw_score:.4f} is")
for one in [one for one in first.contributions if one.value][:8]:
    print(f"   {one.value:+.4f}  {one.source:<8} {books[one.name]['title'] if one.name in books else one.name}")
total = sum(one.value for one in first.contributions)
print(f"   ...\n   {total:+.4f}  all {len(first.contributions)} together")

# %% [markdown]
# ## The same as a picture
#
# Each bar is a book of the list, each colour one thing that speaks for it (to the right of zero) or against it (to the
# left). The pieces of a bar add up to the score, which is the dot.

# %%
pieces, n_books = {}, len(explained.items)
for place, item in enumerate(explained.items):
    for one in item.contributions:
        name = books[one.name]["title"] if one.name in books else one.source
        pieces.setdefault(name, np.zeros(n_books))[place] += one.value
order = sorted(pieces, key=lambda name: -np.abs(pieces[name]).sum())
shown = {name: pieces[name] for name in order[:8]}
shown["everything else"] = sum((pieces[name] for name in order[8:]), np.zeros(n_books))

figure, axes = plt.subplots(figsize=(11, 4))
left, right = np.zeros(n_books), np.zeros(n_books)
for name, values in shown.items():
    color = "lightgrey" if name == "everything else" else None
    axes.barh(range(n_books), values, left=np.where(values < 0, left, right), height=0.6, label=name, color=color)
    left, right = left + np.minimum(values, 0), right + np.maximum(values, 0)
axes.plot([item.raw_score for item in explained.items], range(n_books), "o", color="black", label="score")
axes.set_yticks(range(n_books), [books[item.item]["title"] for item in explained.items])
axes.invert_yaxis()
axes.axvline(0, color="grey", linewidth=1)
axes.set(xlabel="contribution to the score", title=f"Why {READER} is shown these books ({explained.strategy})")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
figure.tight_layout()
plt.show()

# %%
history = [one for one in first.contributions if one.source == "history" and one.name]
if history:
    strongest = history[0]
    print(f"'{books[first.item]['title']}' is there above all because of '{books[strongest.name]['title']}'.")
    print(f"Genres: {', '.join(books[first.item]['genres'])}; and {', '.join(books[strongest.name]['genres'])}.")
else:
    print(f"{READER} has done nothing since the training: the vector is the published one and has no parts.")

# %% [markdown]
# This is the arithmetic of the model, exactly, and not a story about it. It is not a cause either: take the book away
# that adds most, and the others that resemble it would take over part of what it said.
