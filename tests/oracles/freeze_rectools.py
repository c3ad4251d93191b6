"""Write rectools_values.json: lists, what is relevant, and the values RecTools gives each user.

Run it where RecTools is installed, which needs another numpy than the suite does:
``python tests/oracles/freeze_rectools.py``.
"""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np

USERS, ITEMS, LENGTH, KS = 40, 30, 12, (1, 5, 12)


def main():
    import pandas as pd
    from rectools import Columns
    from rectools.metrics import MAP, MRR, NDCG, HitRate, MeanInvUserFreq, Precision, Recall

    metrics = {"precision": Precision, "recall": Recall, "hit_rate": HitRate, "mrr": MRR, "map": MAP, "ndcg": NDCG}
    rng = np.random.default_rng(20)
    relevant = [np.sort(rng.choice(ITEMS, rng.integers(1, 16), replace=False)).tolist() for _ in range(USERS)]
    rows = [rng.permutation(ITEMS)[:LENGTH].tolist() for _ in range(USERS)]
    # Every item is in somebody's history: for others RecTools and we have different rules.
    history = [np.union1d(rng.choice(ITEMS, 4, replace=False), [user % ITEMS]).tolist() for user in range(USERS)]
    reco = pd.DataFrame(
        [(user, item, rank) for user, one in enumerate(rows) for rank, item in enumerate(one, 1)],
        columns=[Columns.User, Columns.Item, Columns.Rank],
    )
    wanted, before = (
        pd.DataFrame(
            [(user, item) for user, one in enumerate(of) for item in one], columns=[Columns.User, Columns.Item]
        )
        for of in (relevant, history)
    )
    values = {
        f"{name}@{k}": metric(k=k).calc_per_user(reco, wanted).sort_index().tolist()
        for k in KS
        for name, metric in metrics.items()
    }
    for k in KS:
        values[f"novelty@{k}"] = MeanInvUserFreq(k=k).calc_per_user(reco, before).sort_index().tolist()
    made_with = {name: version(name) for name in ("rectools", "numpy", "pandas")} | {
        "python": platform.python_version()
    }
    frozen = {"made_with": made_with, "relevant": relevant, "rows": rows, "history": history, "values": values}
    Path(__file__).with_name("rectools_values.json").write_text(json.dumps(frozen) + "\n")


if __name__ == "__main__":
    main()
