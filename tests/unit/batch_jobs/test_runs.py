"""The record of experiments: what each job leaves, on files and on S3, and that it never costs more than itself."""

import json
import os
import random
from importlib.util import find_spec
from pathlib import Path

import pytest
from clouds import CLOUDS

from batch_jobs import cli, runs
from batch_jobs.config import JobConfig
from batch_jobs.console import Screen
from batch_jobs.log_files import LocalLogFiles, log_files
from recsys.errors import DataError, NotFoundError, StorageError


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    for name in ("ARTIFACTS", "REGISTRY", "ONLINE", "EVENTS", "RUNS"):
        monkeypatch.delenv(f"RECSYS_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    lines = [f"anna-{u},i{i},{n}" for n in range(8) for u in range(40) for i in [draw.randrange(30)]]
    (tmp_path / "events of anna.csv").write_text("\n".join(["user,item,timestamp", *lines, ""]))
    return tmp_path


@pytest.fixture
def recsys(capsys):
    def run(*arguments, status=0):
        assert cli.run([*arguments, "--json"]) == status
        return json.loads(capsys.readouterr().out)

    return run


def kept(kind=None):
    files = log_files("RECSYS_RUNS")
    return [runs.read(files, *one) for one in runs.names(files, kind=kind)]


def test_every_job_leaves_a_run(place, recsys):
    told = recsys("nightly", "events of anna.csv", "--namespace", "shop", "--split", "time", "--set", "factors=4")
    recsys("evaluate", "--namespace", "shop", "--set", "factors=4")
    trained = recsys("train", "--namespace", "shop", "--set", "factors=4", "--set", "seed=5")
    train, evaluate, nightly = kept()
    assert [one.kind for one in (train, evaluate, nightly)] == ["train", "evaluate", "nightly"]
    assert {one.outcome for one in kept()} == {"done"}
    assert {one.namespace for one in kept()} == {"shop"}
    assert (nightly.version, train.version, evaluate.version) == (told["version"], trained["version"], None)
    assert (train.seed, evaluate.seed) == (5, 0)
    assert nightly.metrics == evaluate.metrics == told["results"]["als"]["means"]
    assert list(nightly.beside) == ["popularity", "item_knn"]
    assert nightly.data == evaluate.data
    assert train.data["fingerprint"] == nightly.data["fingerprint"]
    assert train.settings["model"]["regularization"] == 0.01  # which nobody gave
    assert {"total", "reading the event log", "training als"} <= set(train.seconds)
    assert train.seconds["total"] >= train.seconds["training als"] > 0
    assert train.code == runs.code()
    assert runs.find(log_files("RECSYS_RUNS"), train.id) == train
    assert kept("evaluate") == [evaluate]


def test_failures_are_runs_too(place, recsys):
    reason = recsys("train", status=3)["error"]
    recsys("nightly", "events of anna.csv", "--set", "factors=4", "--set", "iterations=0", status=2)
    config = place / "strict.toml"
    config.write_text("[gate]\nmin_coverage = 1.0\n")
    asked = ("--config", str(config), "--model", "popularity", "--k", "1", "--split", "time")
    recsys("nightly", "events of anna.csv", *asked, status=4)
    refused, wrong, early = kept()
    assert (early.outcome, early.reason) == ("InsufficientDataError", reason)
    assert (wrong.outcome, wrong.metrics) == ("ConfigError", {})
    assert refused.outcome == "GateRefusedError"
    assert refused.metrics["coverage@1"] < 1
    assert "of the catalogue" in refused.reason


def test_nobody_is_named_in_it(place, recsys):
    (place / "broken.csv").write_text("user,item,rating\nanna-1,i1,5\nanna-2,i2,it's anna\n")
    recsys("nightly", str(place / "broken.csv"), status=3)
    recsys("nightly", str(place / "events of anna.csv"), "--set", "factors=4")
    done, broken = kept()
    assert done.settings["ingest"]["files"] == ["events of anna.csv"]
    assert (broken.outcome, broken.reason.partition(":")[0]) == ("DataError", "broken.csv")
    texts = [path.read_text() for path in (place / "var" / "runs").rglob("*.json")]
    assert len(texts) == 2
    assert not any("anna-" in text or "it's anna" in text or str(place) in text for text in texts)


@pytest.mark.parametrize("url", ["file:/proc/recsys", "file:events of anna.csv/runs"])
def test_a_run_that_cannot_be_recorded_costs_no_model(url, recsys, monkeypatch):
    monkeypatch.setenv("RECSYS_RUNS", url)
    told = recsys("nightly", "events of anna.csv", "--set", "factors=4")
    assert told["version"]
    assert [note for note in told["notes"] if note.startswith("this run is not on record: ")]


def test_a_place_nobody_knows_is_refused_before_anything_runs(recsys, monkeypatch):
    monkeypatch.setenv("RECSYS_RUNS", "ftp://x")
    assert "RECSYS_RUNS='ftp://x' cannot be used" in recsys("train", status=2)["error"]


def test_a_step_of_its_own_leaves_a_run_of_its_name(recsys):
    recsys("ingest", "events of anna.csv")
    job = json.dumps({"model": {"kind": "als", "factors": 4}, "gate": {"min_users": 1}})
    recsys("step", "judge", "a-night", job)
    recsys("step", "train", "a-night", job)
    train, judge = kept()
    assert (judge.kind, train.kind) == ("judge", "train")
    assert judge.metrics
    assert train.version not in (None, judge.version)


@pytest.mark.parametrize("where", ["local", *CLOUDS])
def test_what_is_on_record_stays(where, tmp_path, monkeypatch, request):
    if where != "local":
        monkeypatch.setenv("RECSYS_RUNS", f"s3://{request.getfixturevalue('aws')(where).bucket()}/some/runs")
    files, screen = log_files("RECSYS_RUNS"), Screen(as_json=True)
    assert runs.names(files) == []
    for namespace, kind in [("shop", "train"), ("books", "tune"), ("shop", "tune")]:
        with runs.recording(files, kind, JobConfig(namespace), screen) as run:
            run.metrics = {"ndcg@20": 0.25, "recall@20": float("nan")}
            run.settings["odd"] = object()  # nothing of it may stop the job
    first = runs.read(files, *runs.names(files)[-1])
    assert (first.namespace, first.metrics) == ("shop", {"ndcg@20": 0.25, "recall@20": None})
    assert [namespace for namespace, _ in runs.names(files)] == ["shop", "books", "shop"]
    assert [namespace for namespace, _ in runs.names(files, kind="tune")] == ["shop", "books"]
    assert len(runs.names(files, "shop", "train")) == 1
    first.metrics = {}
    runs.record(files, first, screen)
    assert runs.find(files, first.id).metrics != {}
    with pytest.raises(NotFoundError, match="recsys runs"):
        runs.find(files, "none")


def test_a_run_is_whole_or_not_there(place, monkeypatch):
    files, screen = LocalLogFiles(place / "runs"), Screen(as_json=True)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "no space left on device")))
        with runs.recording(files, "train", JobConfig(), screen):
            pass
    assert "no space left on device" in screen.notes[0]
    assert [path for path in (place / "runs").rglob("*") if path.is_file() and path.name != "lock"] == []
    with runs.recording(files, "train", JobConfig(), screen):
        pass
    [(namespace, name)] = runs.names(files)
    path = place / "runs" / f"ns={namespace}" / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="is no run of this release"):
        runs.read(files, namespace, name)


def test_the_revision_is_that_of_the_checkout():
    assert (runs.code().revision is not None) == (Path(runs.__file__).parents[1] / ".git").exists()


def test_an_interrupted_run_is_on_record(place):
    files = LocalLogFiles(place / "runs")
    with pytest.raises(KeyboardInterrupt), runs.recording(files, "train", JobConfig(), Screen(as_json=True)):
        raise KeyboardInterrupt
    assert runs.read(files, *runs.names(files)[0]).outcome == "KeyboardInterrupt"


def test_a_place_that_is_lost_at_reading_says_so(monkeypatch, aws):
    aws("moto")
    monkeypatch.setenv("RECSYS_RUNS", "s3://no-such-bucket/runs")
    with pytest.raises(StorageError):
        runs.names(log_files("RECSYS_RUNS"))


@pytest.fixture
def two(recsys):
    """Two runs of `evaluate` on the same events, the older one first."""
    recsys("ingest", "events of anna.csv")
    recsys("evaluate", "--set", "factors=4", "--set", "regularization=0.00003")
    recsys("evaluate", "--set", "factors=8", "--set", "regularization=0.00003")
    return [one["id"] for one in recsys("runs")["runs"]][::-1]


def test_runs_are_listed_the_newest_first(two, recsys, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    recsys("train", "--namespace", "shop", status=3)
    assert [one["kind"] for one in recsys("runs")["runs"]] == ["train", "evaluate", "evaluate"]
    assert [one["id"] for one in recsys("runs", "--limit", "1", "--kind", "evaluate")["runs"]] == two[1:]
    assert [one["outcome"] for one in recsys("runs", "--namespace", "shop")["runs"]] == ["InsufficientDataError"]
    assert recsys("runs", "show", two[0])["settings"]["model"]["factors"] == 4
    assert "there is no run 'x'" in recsys("runs", "show", "x", status=2)["error"]
    assert cli.run(["runs"]) == cli.run(["runs", "show", two[0]]) == cli.run(["runs", "compare", *two]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in (*two, "InsufficientDataError", "ndcg@20 0.", "3e-05", "item_knn"))


def test_a_damaged_run_is_named_and_the_others_are_listed(two, place, recsys):
    [path] = (place / "var" / "runs").rglob(f"*{two[0]}.json")
    path.write_text("{")
    told = recsys("runs")
    assert [one["id"] for one in told["runs"]] == two[1:]
    assert path.name in told["notes"][0]
    assert "is no run of this release" in recsys("runs", "show", two[0], status=3)["error"]


def test_two_runs_are_compared_by_what_differs(two, recsys):
    told = recsys("runs", "compare", *two)
    assert told["settings"] == {"model.factors": [4, 8]}
    means = [recsys("runs", "show", one)["metrics"]["ndcg@20"] for one in two]
    assert told["metrics"]["ndcg@20"] == means
    assert (told["same_data"], told["data"]) == (True, "the same events, and the same of them held out")


def test_runs_on_other_data_say_so(two, place, recsys):
    recsys("evaluate", "--config", str(config_of(place, "[split]\ntest_fraction = 0.3\n")))
    (place / "one.csv").write_text("user,item,timestamp\nx,i1,1\n")
    recsys("ingest", "one.csv")
    recsys("train", "--set", "factors=4")
    recsys("train", "--namespace", "empty", status=3)
    empty, train, elsewhere = (one["id"] for one in recsys("runs", "--limit", "3")["runs"])
    for other, same, words in (
        (elsewhere, False, "others held out"),
        (train, False, "not the same events"),
        (empty, None, f"run {empty} ended before"),
    ):
        told = recsys("runs", "compare", two[0], other)
        assert told["same_data"] is same
        assert words in told["data"]


def config_of(place, text):
    (place / "job.toml").write_text(text)
    return place / "job.toml"


def test_without_mlflow_its_export_names_what_to_install(two, recsys):
    if find_spec("mlflow") is None:
        assert "pip install mlflow" in recsys("runs", "export", "--to", "mlflow", status=2)["error"]


@pytest.mark.filterwarnings("ignore")  # those of MLflow and what it brings are not ours
def test_mlflow_holds_what_was_exported_once(two, place, recsys, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}/mlflow.db")
    recsys("nightly", "--set", "iterations=0", status=2)
    assert recsys("runs", "export", "--kind", "evaluate")["added"] == 2
    told = recsys("runs", "export", "--to", "mlflow")
    assert (told["added"], told["there_already"]) == (1, 2)
    client = tracking.MlflowClient()
    experiment = client.get_experiment_by_name("recsys/default").experiment_id
    found = {one.data.tags["recsys.run"]: one for one in client.search_runs([experiment])}
    assert len(found) == 3
    for one in kept():
        theirs = found[one.id]
        assert theirs.info.status == ("FINISHED" if one.outcome == "done" else "FAILED")
        assert theirs.data.metrics.get("ndcg_at_20") == one.metrics.get("ndcg@20")
        assert theirs.data.params["model.iterations"] == str(one.settings["model"]["iterations"])
        assert theirs.data.tags["mlflow.source.git.commit"] == one.code.revision
