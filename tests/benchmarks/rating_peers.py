"""Other libraries' rating models behind one call, with the grids they were tuned on and what came out best."""

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsys.data import Dataset, Interactions
from recsys.models import BiasedMF, FactorizationMachine

Settings = dict[str, Any]
Predictions = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Contestant:
    """A model that can be tuned: `predict` fits on one part and rates the other's pairs; parts share their maps."""

    module: str
    predict: Callable[[Interactions, Interactions, Settings], Predictions]
    grid: dict[str, list[Any]]
    settings: Settings

    @property
    def importable(self) -> bool:
        return importlib.util.find_spec(self.module) is not None

    def every(self) -> list[Settings]:
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]


def ours(train: Interactions, test: Interactions, settings: Settings) -> Predictions:
    model = BiasedMF(**settings).fit(Dataset.from_interactions(train))
    return model.predict(test.users.ids(test.user), test.items.ids(test.item))


def machine(train: Interactions, test: Interactions, settings: Settings) -> Predictions:
    """Our factorization machine of users and items alone, by Gibbs sampling: published, it is one mean machine."""
    model = FactorizationMachine(loss="squared", **settings).fit(Dataset.from_interactions(train))
    return model.predict(test.users.ids(test.user), test.items.ids(test.item))


def libmf_model(train: Interactions, settings: Settings) -> Any:
    """Fit libmf; its L2 penalty is `regularization` per rating, on both sides."""
    with contextlib.redirect_stdout(io.StringIO()):
        from libmf import mf  # says where it lies when it is imported
    model = mf.MF(
        k=settings["factors"], nr_iters=settings["iterations"], eta=settings["learning_rate"], quiet=True,
        nr_threads=settings.get("threads", 1), lambda_p1=0.0, lambda_q1=0.0,
        lambda_p2=settings["regularization"], lambda_q2=settings["regularization"],
    )  # fmt: skip
    model.fit(np.stack([train.user, train.item, train.weight], axis=1))
    return model


def libmf(train: Interactions, test: Interactions, settings: Settings) -> Predictions:
    model = libmf_model(train, settings)
    p, q = (
        np.vstack([table, np.full((max(0, n - len(table)), table.shape[1]), np.nan)])
        for table, n in zip((model.p_factors(), model.q_factors()), train.shape, strict=True)
    )
    rated = np.einsum("ij,ij->i", p[test.user], q[test.item])
    return np.where(np.isfinite(rated), rated, model.model.b)  # rows it never saw are NaN: its mean


def cmfrec(train: Interactions, test: Interactions, settings: Settings) -> Predictions:
    """CMF's penalties in its order: biases of users and items, their factors, two of side information."""
    from cmfrec import CMF

    penalties = [settings["bias"]] * 2 + [settings["regularization"]] * 4
    model = CMF(
        k=settings["factors"], lambda_=penalties, scale_lam=settings["scale_lam"], niter=settings["iterations"],
        verbose=False, nthreads=1, random_state=0,
    )  # fmt: skip
    model.fit(sp.coo_matrix((train.weight, (train.user, train.item)), shape=train.shape))
    return np.asarray(model.predict(test.user, test.item))


def surprise(train: Interactions, test: Interactions, settings: Settings) -> Predictions:
    from surprise import SVD, Dataset, Reader

    reader = Reader(rating_scale=(train.weight.min(), train.weight.max()))
    rows = [
        (u, i, r, None) for u, i, r in zip(*(c.tolist() for c in (train.user, train.item, train.weight)), strict=True)
    ]
    data = Dataset(reader)
    data.raw_ratings = rows
    model = SVD(**settings, random_state=0).fit(data.construct_trainset(rows))
    return np.array([model.predict(u, i).est for u, i in zip(test.user.tolist(), test.item.tolist(), strict=True)])


def myfm(train: Interactions, test: Interactions, settings: Settings) -> Predictions:
    """Gibbs sampling: an average over models, not one, which no `Factors` of the same width holds."""
    from myfm import MyFMRegressor

    def one_hot(part: Interactions) -> sp.csr_matrix:
        columns = np.stack([part.user, part.item + part.shape[0]], axis=1).ravel()
        return sp.csr_matrix(
            (np.ones(len(columns)), columns, np.arange(0, len(columns) + 1, 2)), (len(part), sum(part.shape))
        )

    model = MyFMRegressor(rank=settings["factors"], random_seed=0)
    groups = np.repeat([0, 1], train.shape).tolist()
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(one_hot(train), train.weight.astype(float), n_iter=settings["iterations"], grouping=groups)
    return model.predict(one_hot(test))


_OWN = {
    "factors": [64, 128, 256], "learning_rate": [0.01, 0.02], "regularization": [0.04, 0.06, 0.08],
    "iterations": [24, 32, 48],
}  # fmt: skip
_BEST = {"factors": 256, "learning_rate": 0.01, "regularization": 0.06, "iterations": 48}

CONTESTANTS = {
    "BiasedMF sgd": Contestant("recsys", ours, {**_OWN, "optimizer": ["sgd"]}, {**_BEST, "optimizer": "sgd"}),
    "BiasedMF momentum": Contestant(
        "recsys", ours, {**_OWN, "optimizer": ["momentum"]}, {**_BEST, "optimizer": "momentum"}
    ),
    "BiasedMF adagrad": Contestant(
        "recsys",
        ours,
        {**_OWN, "optimizer": ["adagrad"]},
        {"factors": 256, "learning_rate": 0.02, "regularization": 0.06, "iterations": 24, "optimizer": "adagrad"},
    ),
    "BiasedMF as it comes": Contestant("recsys", ours, {}, {}),
    "FM (Gibbs)": Contestant(
        "recsys", machine, {"factors": [8, 16, 32], "iterations": [200, 400]}, {"factors": 32, "iterations": 400}
    ),
    "libmf": Contestant(
        "libmf",
        libmf,
        {
            "factors": [32, 64, 128, 256], "learning_rate": [0.03, 0.05, 0.1],
            "regularization": [0.05, 0.07, 0.1], "iterations": [20, 40, 80],
        },
        {"factors": 256, "learning_rate": 0.03, "regularization": 0.05, "iterations": 20},
    ),
    "cmfrec": Contestant(
        "cmfrec",
        cmfrec,
        {
            "factors": [16, 40, 96], "regularization": [0.07, 0.1, 0.15, 8.0, 12.0, 16.0],
            "bias": [0.1, 1.0, 3.0], "scale_lam": [True, False], "iterations": [5, 15],
        },
        {"factors": 96, "regularization": 12.0, "bias": 3.0, "scale_lam": False, "iterations": 15},
    ),
    "surprise SVD": Contestant(
        "surprise",
        surprise,
        {"n_factors": [50, 100, 200], "lr_all": [0.005, 0.01], "reg_all": [0.04, 0.07, 0.1], "n_epochs": [20, 40, 80]},
        {"n_factors": 50, "lr_all": 0.005, "reg_all": 0.1, "n_epochs": 80},
    ),
    "myfm (Gibbs)": Contestant(
        "myfm", myfm, {"factors": [8, 16, 32], "iterations": [200, 400]}, {"factors": 8, "iterations": 200}
    ),
}  # fmt: skip
"""By name; the settings are the best of the grid on the validation part, see `--search` of the benchmark."""
