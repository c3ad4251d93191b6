"""Factorization machines of other libraries behind one call: train on the rows of a folder, predict their test part.

Seconds are processor time of training alone. What a library does before its first epoch (reading, conversion) is left
out: where it says or lets us hear what an epoch takes (libFM, myfm) by that, else as what a longer training takes above
one of a single epoch. xlearn and VW hold or read the rows in their own way during an epoch, which stays in.

libFM is not on PyPI: the environment variable LIBFM names its program. VW has no such machine: `--lrqfa` is the
field-aware one, with a vector of a feature for every other field, and steps for the two sides of the pairs in turn.
"""

import contextlib
import functools
import importlib.util
import io
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.fm_data import Rows
from tests.benchmarks.memory import of_program

LIBFM = os.environ.get("LIBFM", "")
_VW_BITS = 18


@dataclass(frozen=True)
class Settings:
    """What all of them are told; each reads what its algorithm has."""

    algorithm: str = "sgd"  # sgd, adagrad, als or gibbs
    factors: int = 16
    epochs: int = 5
    learning_rate: float = 0.02
    regularization: float = 1e-4  # of a step's vectors (sgd, adagrad); of all vectors (als)
    start: float = 0.1  # deviation of the numbers of the first vectors
    burn_in: int = 5  # draws left out of the mean (gibbs), as myfm's default has it; libFM and fastFM keep all
    weight_regularization: float | None = None  # as the vectors' if None; xlearn and VW have only one

    @property
    def penalties(self) -> tuple[float, float]:
        """Of weights and of vectors."""
        own = self.weight_regularization
        return self.regularization if own is None else own, self.regularization


@dataclass(frozen=True)
class Outcome:
    """Seconds of an epoch; predictions or probabilities; training losses by epoch, where told; bytes of a program."""

    seconds: float
    predicted: np.ndarray
    losses: tuple[float, ...] = ()
    memory: int = 0


Trainer = Callable[[Path, Settings], Outcome]


def _longer(train: Callable[[int], Any], epochs: int) -> tuple[float, Any]:
    """Processor seconds of an epoch, from a training of one and one of `epochs`, and what the second returned."""
    seconds = []
    for count in (1, epochs):
        began = time.process_time()
        result = train(count)
        seconds.append(time.process_time() - began)
    return (seconds[1] - seconds[0]) / max(1, epochs - 1), result


@contextlib.contextmanager
def _printed() -> Iterator[list[str]]:
    """Catch what compiled code writes to the terminal; there once the block is over."""
    kept, text = os.dup(1), []
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        try:
            yield text
        finally:
            os.dup2(kept, 1)
            os.close(kept)
            file.seek(0)
            text.append(file.read().decode())


def xlearn(folder: Path, settings: Settings) -> Outcome:
    """Shuffles every epoch. Its loss is that of the rows as they come, before their steps; vectors begin positive."""
    os.environ.setdefault("USER", "nobody")  # it ends the process where nobody is logged in
    import xlearn as library

    rows, model_path, out = Rows.load(folder), str(folder / "xlearn.model"), folder / "xlearn.out"
    common = {
        "task": "reg" if rows.loss == "squared" else "binary", "opt": settings.algorithm, "k": settings.factors,
        "lr": settings.learning_rate, "lambda": settings.regularization, "init": settings.start * settings.factors**0.5,
        "nthread": 1, "log": str(folder / "xlearn"),
    }  # fmt: skip

    def train(epochs: int) -> Any:
        model = library.create_fm()
        model.setTrain(str(folder / "train.txt"))
        model.disableNorm()
        model.disableEarlyStop()
        model.fit({**common, "epoch": epochs}, model_path)
        return model

    with _printed() as text:
        seconds, model = _longer(train, settings.epochs)
        model.setTest(str(folder / "test.txt"))
        if rows.loss == "logistic":
            model.setSigmoid()
        model.predict(model_path, str(out))
    told = [float(loss) for loss in re.findall(r"%\S*\s+\]\S*\s+\d+\s+([\d.]+)", text[0])][1:]
    losses = tuple((2 * loss) ** 0.5 if rows.loss == "squared" else loss for loss in told)
    return Outcome(seconds, np.loadtxt(out), losses)


def libfm(folder: Path, settings: Settings) -> Outcome:
    """Takes the rows in their order. Training loss only where it is squared; that of MCMC is of the mean of draws."""
    rows, log, out = Rows.load(folder), folder / "libfm.log", folder / "libfm.out"
    method = {"sgd": "sgd", "als": "als", "gibbs": "mcmc"}[settings.algorithm]
    words: dict[str, object] = {
        "task": "r" if rows.loss == "squared" else "c", "train": folder / "train.txt", "test": folder / "test.txt",
        "meta": folder / "fields.txt", "dim": f"1,1,{settings.factors}", "iter": settings.epochs, "method": method,
        "init_stdev": settings.start, "seed": 1, "rlog": log, "out": out,
    }  # fmt: skip
    if method != "mcmc":
        words["regular"] = "0,{},{}".format(*settings.penalties)
    if method == "sgd":
        del words["meta"]  # it has one penalty for all
        words["learn_rate"] = settings.learning_rate
    command = [LIBFM, *(str(word) for name, value in words.items() for word in (f"-{name}", value))]
    text, memory = of_program(command)
    header, *lines = (line.split("\t") for line in log.read_text().splitlines())
    seconds = [float(line[header.index("time_learn")]) for line in lines]
    losses = tuple(map(float, re.findall(r"Iter.*Train=(\S+)", text))) if rows.loss == "squared" else ()
    return Outcome(float(np.median(seconds)), np.loadtxt(out), losses, memory)


def vw(folder: Path, settings: Settings) -> Outcome:
    """Plain steps in the order of the rows; its squared loss has no half. Epochs read the rows from its cache file."""
    from vowpalwabbit import Workspace

    rows, model_path, out = Rows.load(folder), folder / "vw.model", folder / "vw.out"
    squared = rows.loss == "squared"
    fields = "".join(chr(97 + field) for field in range(len(rows.train.fields)))
    common = (
        f"--quiet -d {folder / 'train.vw'} --cache_file {folder / 'vw.cache'} --holdout_off -b {_VW_BITS} "
        f"--loss_function {rows.loss} --sgd --power_t 0 -l {settings.learning_rate / (2 if squared else 1)} "
        f"--l2 {settings.regularization} --random_seed 1 --lrqfa {fields}{settings.factors} -f {model_path}"
    )
    seconds, _ = _longer(lambda epochs: Workspace(f"{common} --passes {epochs}").finish(), settings.epochs)
    link = "identity" if squared else "logistic"
    Workspace(f"--quiet -d {folder / 'test.vw'} -t -i {model_path} -p {out} --link {link}").finish()
    return Outcome(seconds, np.loadtxt(out))


def myfm(folder: Path, settings: Settings) -> Outcome:
    """Gibbs sampling; the logistic loss by its probit model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how it finds its version
        from myfm import MyFMGibbsClassifier, MyFMGibbsRegressor

    rows = Rows.load(folder)
    train, test = rows.csr()
    squared, ends = rows.loss == "squared", []

    def hear(*_state: object) -> tuple[bool, None]:
        ends.append(time.process_time())
        return False, None

    kind = MyFMGibbsRegressor if squared else MyFMGibbsClassifier
    model = kind(settings.factors, init_stdev=settings.start, random_seed=1)
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(
            train, rows.y if squared else rows.y > 0, n_iter=settings.epochs, grouping=rows.train.field_of.tolist(),
            n_kept_samples=settings.epochs - settings.burn_in, callback=hear,
        )  # fmt: skip
    return Outcome(float(np.median(np.diff(ends))), model.predict(test) if squared else model.predict_proba(test))


def fastfm(folder: Path, settings: Settings) -> Outcome:
    """Coordinate descent and Gibbs sampling without groups of features, the mean of all draws."""
    from fastFM import als, mcmc

    rows = Rows.load(folder)
    train, test = (part.tocsc() for part in rows.csr())
    y = rows.y.astype(np.float64)

    def run(epochs: int) -> np.ndarray:
        common = {"n_iter": epochs, "rank": settings.factors, "init_stdev": settings.start, "random_state": 1}
        if settings.algorithm == "als":
            of_weights, of_vectors = settings.penalties
            model = als.FMRegression(l2_reg_w=of_weights, l2_reg_V=of_vectors, **common)
            return model.fit(train, y).predict(test)
        if rows.loss == "squared":
            return mcmc.FMRegression(**common).fit_predict(train, y, test)
        return mcmc.FMClassification(**common).fit_predict_proba(train, y, test)

    return Outcome(*_longer(run, settings.epochs))


@dataclass(frozen=True)
class Peer:
    """A trainer, what it is imported as (None: the program named by LIBFM), and which losses it has by algorithm.

    One that is `slow`, by tens of times, is not worth more than one round of two epochs.
    """

    train: Trainer
    module: str | None
    can: frozenset[tuple[str, str]]
    slow: bool = False

    @property
    def here(self) -> bool:
        return Path(LIBFM).is_file() if self.module is None else importlib.util.find_spec(self.module) is not None


def _both(*algorithms: str) -> frozenset[tuple[str, str]]:
    return frozenset((loss, algorithm) for loss in ("squared", "logistic") for algorithm in algorithms)


_ALS = ("squared", "als")
PEERS = {
    "xlearn": Peer(xlearn, "xlearn", _both("sgd", "adagrad")),
    "libFM": Peer(libfm, None, _both("sgd", "gibbs") | {_ALS}),
    "VW lrqfa": Peer(vw, "vowpalwabbit", frozenset({("squared", "sgd")}), slow=True),
    "myfm": Peer(myfm, "myfm", _both("gibbs")),
    "fastFM": Peer(fastfm, "fastFM", _both("gibbs") | {_ALS}),
}


@functools.cache  # says so once
def installed() -> dict[str, Peer]:
    """The peers that are here; a missing one is named on the terminal."""
    for name, peer in PEERS.items():
        if not peer.here:
            remedy = "LIBFM does not name its program" if peer.module is None else "not installed, see make bench"
            print(f"{name} left out: {remedy}")
    return {name: peer for name, peer in PEERS.items() if peer.here}
