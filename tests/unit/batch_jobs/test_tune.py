"""`recsys tune` on the sample: what is searched, that nothing is lost, and that the test part is not looked at."""

import fcntl
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from contextlib import chdir, closing, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batch_jobs import cli, splits, tune
from batch_jobs.config import JobConfig, SplitConfig, load
from batch_jobs.train import make_model
from batch_jobs.tune_workers import Task, _best_epoch, _Prepared
from recsys.data import Dataset, clean, interactions_from_tuples, leave_last
from recsys.evaluation import evaluate

SAMPLE = Path(__file__).parents[3] / "data" / "sample" / "interactions.csv"
SMALL = ("--set", "factors=8", "--set", "iterations=6", "--clean", 'weights="binary"', "--k", "20")
KILLED_AFTER = range(8) if "TUNE_KILLS" in os.environ else [3]  # trials
STUDY = ("tune", *SMALL, "--trials", "9")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Logs of the sample: its test events first, them replaced by others, and without them."""
    header, *lines = SAMPLE.read_text().splitlines()
    some = (event for event in (line.split(",") for line in lines) if int(event[0][1:]) % 3 == 0)
    events = sorted(some, key=lambda event: int(event[-1]))
    cutoff = int(events[len(events) - round(0.2 * len(events))][-1])
    past = [event for event in events if int(event[-1]) < cutoff]
    future = events[len(past) :]
    others = [*future[-99:], *future[:-99]]
    poison = [
        [user, item, event, "1", at] for (user, _, event, _, at), (_, item, *_) in zip(future, others, strict=True)
    ]
    poison[:9] = [[f"x{user}", f"x{item}", *rest] for user, item, *rest in poison[:9]]
    place = tmp_path_factory.mktemp("tune")
    for name, rows in (("shop", future + past), ("poisoned", poison + past), ("past", past)):
        (place / f"{name}.csv").write_text("\n".join([header, *map(",".join, rows), ""]))
        with chdir(place):
            assert cli.run(["ingest", f"{name}.csv", "--namespace", name, "--json"]) == 0
    return place


def ran(folder, *arguments):
    """Run in a process of its own; return it at work."""
    command = [sys.executable, "-m", "batch_jobs.cli", *arguments, "--json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def recsys(folder, capsys, monkeypatch):
    """Run in this process; return what was told."""
    for name in [name for name in os.environ if name.startswith("RECSYS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(folder)

    def run(*arguments, status=0):
        assert cli.run([*arguments, "--json"]) == status
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture(scope="module")
def found(folder):
    """What a search of nine trials on the whole log told."""
    out = io.StringIO()
    with chdir(folder), redirect_stdout(out):
        assert cli.run([*STUDY, "--namespace", "shop", "--json"]) == 0
    return json.loads(out.getvalue())


@pytest.fixture(scope="module")
def story(folder, found):
    """What it came to: every setting, score and file."""
    return told(found, folder / "var/tune/shop")


def told(facts, place):
    """What is the same in two searches that are the same."""
    files = [(place / name).read_text().partition("\n\n")[2] for name in ("best.toml", "search.svg")]
    return facts["study"], facts["history"], facts["best_settings"], files


def test_the_best_settings_are_better_and_train_takes_them(recsys, found):
    assert (found["trials"], found["failed"]) == (9, 0)
    assert 0 < found["pruned"] < 9
    assert found["best_value"] > found["value_of_settings_given"] == found["history"][0]["value"]
    first = [run for run in recsys("runs", "--namespace", "shop")["runs"] if run["kind"] == "tune"][-1]
    assert (first["data"]["split"], first["metrics"]) == ("validation", {"ndcg@20": found["best_value"]})
    assert first["settings"]["model"]["iterations"] == found["best_settings"]["model.iterations"]
    trained = recsys("train", "--config", found["settings"])
    assert (trained["namespace"], trained["kind"]) == ("shop", "als")


def test_the_file_gives_the_model_that_was_judged(recsys, found):
    # A log that ends where the training part does is cut where the search had cut.
    judged = recsys("evaluate", "--config", found["settings"], "--namespace", "past")
    assert judged["results"]["als"]["means"]["ndcg@20"] == found["best_value"]


class Line:
    """To somebody who always says: go on."""

    def __init__(self):
        self.sent = []
        self.send = self.sent.append

    def recv(self):
        return True


@pytest.mark.parametrize(
    "model",
    [
        {"kind": "als"},
        {"kind": "bpr"},
        {"kind": "biased_mf"},
        {"kind": "fm"},
        {"kind": "fm", "loss": "implicit"},
        {"kind": "fm", "loss": "squared", "burn_in": 2},
        {"kind": "fm", "loss": "squared", "solver": "als"},
    ],
)
def test_a_model_of_the_best_epoch_alone_is_the_one_that_was_judged(model):
    rng = np.random.default_rng(0)
    pairs = [(f"u{u}", f"i{i}", 1.0 + i % 5) for u in range(80) for i in rng.choice(40, 10, replace=False) ** 2 // 40]
    config = JobConfig(model={"factors": 8, "iterations": 12, "patience": 12, **model}, clean={"duplicates": "max"})
    split = leave_last(interactions_from_tuples(pairs), 2)
    task, line = Task(split.train, split.test, "ndcg@5", threads=2), Line()
    best = _best_epoch(line, task, _Prepared(None, task), config)
    assert best.score == max(epoch.score for epoch in line.sent)
    alone = make_model({**config.model, "iterations": best.number})
    alone.fit(Dataset.from_interactions(clean(split.train, duplicates="max").interactions, split.train))
    assert evaluate(alone, split.test, k=(5,)).mean("ndcg@5") == best.score


def test_the_test_part_is_not_looked_at(recsys, story, monkeypatch):
    place = Path("var/tune/poisoned")
    assert told(recsys(*STUDY, "--namespace", "poisoned"), place) == story
    # The same search, allowed to see it, comes to something else: the comparison would have told.
    monkeypatch.setattr(tune, "training_part", lambda raw, config: raw)
    assert told(recsys(*STUDY[:-1], "1", "--namespace", "poisoned"), place)[1][0] != story[1][0]


@pytest.mark.parametrize("kind", ["time", "leave-last"])
@pytest.mark.parametrize("number", [True, False], ids=["as it is", "planted: numbered by all events"])
def test_the_training_part_is_numbered_by_itself(monkeypatch, kind, number):
    # Test events come first in the log, and name items and contexts before the training events do.
    if not number:
        monkeypatch.setattr(splits, "_by_first_use", lambda n, rows: (np.arange(n), rows))
    found = set()
    for poison in (0, 7):
        item = np.r_[(np.arange(20) + poison) % 30, np.arange(80) % 30]
        events = interactions_from_tuples([(f"u{n % 20}", f"i{i}", 1.0) for n, i in enumerate(item)])
        events = events.with_contexts([{"hour": int(i)} for i in item])
        late = np.arange(100) < 20
        events = replace(events, timestamp=np.where(late, 2000 + np.arange(100), np.arange(100)))
        config = JobConfig(split=SplitConfig(kind=kind))
        found.add(splits.training_part(events, config).fingerprint())
    assert len(found) == (1 if number else 2)


def test_a_test_file_is_opened_for_the_final_test_alone(recsys):
    raw = interactions_from_tuples([(f"u{n % 50}", f"i{n}", 1.0) for n in range(1000)])
    config = JobConfig(split=SplitConfig(test="nowhere.csv"))
    train = splits.training_part(raw, config)
    assert train.fingerprint() == raw.fingerprint()
    inner = splits.validation_split(train, config)
    assert (len(inner.train) + len(inner.test), 150 < len(inner.test) < 250) == (1000, True)
    assert "nowhere.csv" in recsys("tune", "--test", "nowhere.csv", "--final-test", status=3)["error"]


def test_the_test_part_is_judged_once_and_a_second_look_is_told(recsys, story):
    first = recsys(*STUDY, "--namespace", "shop", "--final-test")
    honest = recsys("evaluate", "--config", first["settings"])["results"]["als"]["means"]
    assert first["test_value"] == honest["ndcg@20"]
    again = recsys(*STUDY, "--namespace", "shop", "--final-test")
    assert again["test"] == first["test"]
    assert "the test part was looked at on" in again["notes"][-1]
    other = recsys("tune", *SMALL, "--set", "alpha=2", "--trials", "1", "--namespace", "shop", "--final-test")
    assert other["test"]["look"] == 2
    assert "this is look 2 at this test part" in other["notes"][-1]


def test_a_killed_search_goes_on_where_it_was(folder, recsys, story):
    recsys("ingest", "shop.csv", "--namespace", "killed")
    short = recsys(*STUDY[:-2], "--minutes", "0.001", "--namespace", "killed", status=3)
    assert "no trial came to an end" in short["error"]
    assert trials("killed", "WAITING") == 1
    for enough in KILLED_AFTER:
        search = ran(folder, *STUDY, "--namespace", "killed")
        while trials("killed", "COMPLETE", "PRUNED") < enough or not trials("killed", "RUNNING"):
            assert search.poll() is None, "it came to its end before it was killed"
        search.kill()
        search.communicate()
    assert told(recsys(*STUDY, "--namespace", "killed"), Path("var/tune/killed")) == story


def trials(namespace, *states):
    """Count the trials of all studies in these states."""
    place = f"file:var/tune/{namespace}/studies.db?mode=ro"
    try:
        with closing(sqlite3.connect(place, uri=True)) as studies:
            query = f"select count(*) from trials where state in ({','.join('?' * len(states))})"
            return studies.execute(query, states).fetchone()[0]
    except sqlite3.OperationalError:  # not there yet
        time.sleep(0.01)
        return 0


def test_two_workers_try_every_point_of_a_grid_once(folder, recsys):
    (folder / "grid.toml").write_text(
        """
        namespace = "shop"
        [tune]
        search = "grid"
        workers = 2
        [tune.space.model]
        regularization = { low = 0.001, high = 0.1, log = true }
        [tune.space.clean]
        weights = { choices = ["binary", "log1p"] }
        """
    )
    found = recsys("tune", "--config", "grid.toml", "--set", "iterations=3", "--set", "factors=8")
    points = {tuple(sorted(trial["settings"].items())) for trial in found["history"]}
    # The settings given, whose weights "none" join the choices, are a point beside the grid: 0.01 is none of its four.
    assert (found["trials"], len(points)) == (13, 13)
    assert sorted(trial["number"] for trial in found["history"]) == list(range(13))


def test_a_trial_whose_process_dies_is_told_and_the_others_go_on(folder, recsys):
    recsys("ingest", "shop.csv", "--namespace", "dying")
    search = ran(folder, *STUDY[:-1], "3", "--namespace", "dying")
    while trials("dying", "COMPLETE") < 1 or not trials("dying", "RUNNING"):
        assert search.poll() is None
    for process in Path(f"/proc/{search.pid}/task/{search.pid}/children").read_text().split():
        if b"spawn_main" in Path(f"/proc/{process}/cmdline").read_bytes():
            os.kill(int(process), signal.SIGKILL)
    found = json.loads(search.communicate()[0])
    assert (found["trials"], found["failed"]) == (3, 1)
    assert "ended with status -9" in " ".join(found["notes"])


def test_one_search_at_a_time(recsys, story):
    with Path("var/tune/shop/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another search is at work" in recsys(*STUDY, "--namespace", "shop", status=6)["error"]


def test_damaged_studies_are_told(folder, recsys):
    (folder / "var/tune/past").mkdir(parents=True, exist_ok=True)
    studies = folder / "var/tune/past/studies.db"
    before = studies.read_bytes() if studies.exists() else None
    studies.write_bytes(b"not a database" * 100)
    try:
        assert "move studies.db away" in recsys("tune", *SMALL, "--namespace", "past", status=5)["error"]
    finally:
        studies.write_bytes(before) if before else studies.unlink()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("[tune.space.model]\nfoo = { choices = [1] }", "[tune.space.model] foo cannot be searched"),
        ("[tune.space.clean]\nmin_weight = { low = 1, high = 5 }", "[tune.space.clean] min_weight cannot be searched"),
        ("[tune.space.model]\nfactors = { low = 0, high = 8 }", "[tune.space.model] factors = 0: factors, iterations"),
        ("[tune.space.model]\nalpha = { low = 2, high = 1 }", "low is below high"),
        ("[tune.space.model]\nalpha = { low = 1 }", "has low and high, or choices"),
        ("[tune]\nmetric = 'ndgc@20'", "[tune] metric = 'ndgc@20' is not known"),
        ("[tune]\nsearch = 'magic'", "tune.search: invalid enum value 'magic'"),
        ("[model]\nkind = 'popularity'", "popularity has nothing to be searched"),
        ("[model]\nkind = 'item_knn'", "item_knn cannot be published"),
    ],
)
def test_what_cannot_be_searched_is_told_before_anything_is_read(tmp_path, recsys, settings, said):
    (tmp_path / "job.toml").write_text(settings)
    told = recsys("tune", "--config", str(tmp_path / "job.toml"), "--namespace", "empty", status=2)
    assert said in told["error"]


def test_settings_survive_the_way_through_a_file(tmp_path):
    from batch_jobs.tune_result import write_settings

    class Found:
        words = "as they are"
        settings = load(
            None,
            {
                "namespace": "a",
                "ingest": {"columns": {"user": 'who\u007f "was" it\\ \u00e9\U0001f600\n', "item": 3}, "header": False},
                "features": {"item": ("genres", "year:number")},
                "model": {"kind": "fm", "learning_rate": 1e-05, "solver": "adagrad", "field_weights": False},
                "split": {"kind": "leave-last", "n": 2},
            },
        )

    write_settings(tmp_path / "best.toml", Found())
    assert load(tmp_path / "best.toml", {}) == Found.settings
    assert "tune" not in tomllib.loads((tmp_path / "best.toml").read_text())
