"""Problems for the ranking losses of factorization machines, small enough to be thought through."""

import numpy as np

from recsys.kernels.reference.bpr import draws
from recsys.models.fm.ranking import user_bits

LOSSES = ("bpr", "warp", "softmax")
SUMS = ("vector_sums", "weight_sums")


def ids(sizes):
    """A table of one-hot rows, one block below the other."""
    n = sum(sizes)
    return {"indptr": np.arange(n + 1), "features": np.arange(n, dtype=np.int32), "values": None}


def attributed(rng, sizes, n_attributes=4, most=3, values=True):
    """The same, but each row may have no id, and has some attributes that rows of its block share."""
    indptr, features, first = [0], [], 0
    for size in sizes:
        for row in range(size):
            own = [first + row] if rng.random() < 0.8 else []
            shared = rng.permutation(n_attributes)[: rng.integers(0, most + 1)]
            features += own + sorted(first + size + shared)
            indptr.append(len(features))
        first += size + n_attributes
    x = (0.5 + rng.random(len(features))).astype(np.float32)
    return {
        "indptr": np.array(indptr),
        "features": np.array(features, np.int32),
        "values": x if values else None,
    }


def problem(
    seed=0, n_users=12, n_items=30, n_contexts=3, density=0.2, rows="attributed", uniform=False, weighted=False,
    **changed,
):  # fmt: skip
    rng = np.random.default_rng(seed)
    has = rng.random((n_users, n_items)) < density
    users, items = (rows.astype(np.int32) for rows in np.nonzero(has))
    order = rng.permutation(len(users))
    contexts = rng.integers(0, n_contexts, len(users)) + n_users + n_items
    sizes = (n_users, n_items, n_contexts)
    table = ids(sizes) if rows == "ids" else attributed(rng, sizes, values=rows == "attributed")
    candidates = np.flatnonzero(rng.random(n_items) < 0.8).astype(np.int32)
    if not len(candidates):
        candidates = np.arange(n_items, dtype=np.int32)
    alias = {"threshold": None, "alias": None}
    if not uniform:
        alias["threshold"] = rng.integers(0, 2**32, len(candidates), np.uint32)
        alias["alias"] = rng.integers(0, len(candidates), len(candidates), np.int32)
    user_indptr = np.append(0, np.cumsum(has.sum(1))).astype(np.int64)
    return {
        "users": users[order],
        "query_rows": np.stack([users[order], contexts], axis=1).astype(np.int32),
        "items": items[order],
        "sample_weight": rng.random(len(users)).astype(np.float32) if weighted else None,
        "blocks": rng.permutation(-(-len(users) // 8)).astype(np.int32),
        "block_size": 8,
        **table,
        "first_item": n_users,
        "user_indptr": user_indptr,
        "user_items": items,
        "user_bits": user_bits(user_indptr, items),
        "candidates": candidates,
        **alias,
        "log_q": np.log(rng.dirichlet(np.ones(n_items))).astype(np.float32),
        "in_batch": False,
        "loss": "bpr",
        "negatives": 5,
        "key": int(rng.integers(2**64, dtype=np.uint64)),
        "learning_rate": 0.1,
        "regularization": 0.05,
        "weight_regularization": 0.03,
        **changed,
    }


def tables(arguments, seed=1, width=16, adagrad=True, scale=0.5, dtype=np.float32):
    rng = np.random.default_rng(seed)
    n = max(int(arguments["features"].max(initial=0)) + 1, 1)
    state = {
        "vectors": (scale * rng.standard_normal((n, width))).astype(dtype),
        "weights": (scale * rng.standard_normal(n)).astype(dtype),
    }
    return state | {name: np.full(n, 0.1, dtype) if adagrad else None for name in SUMS}


def run(kernel, arguments, state, threads=1):
    """What the kernel returns, and copies of the tables after it."""
    after = {name: None if table is None else table.copy() for name, table in state.items()}
    return kernel(**arguments, **after, threads=threads), after


def first_alone(key, **changed):
    """A problem whose only positive to be worked on is at place 0, and it with its negatives."""
    arguments = problem(key, key=key, block_size=1, blocks=np.zeros(1, np.int32), uniform=True, **changed)
    u = arguments["users"][0]
    has = arguments["user_items"][slice(*arguments["user_indptr"][u : u + 2])]
    drawn = arguments["candidates"][draws(key, 0, 5, len(arguments["candidates"]), None, None)]
    return arguments, np.append(arguments["items"][0], drawn[~np.isin(drawn, has)][:5])
