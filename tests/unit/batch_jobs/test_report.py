"""The report: looked at in a browser, at two widths; and `recsys evaluate --against`, which writes it."""

import json
import random
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from browser import chromium, look

from batch_jobs import cli
from batch_jobs.config import EvaluateConfig
from batch_jobs.findings import Findings, all_metrics
from batch_jobs.plots import plots
from batch_jobs.report import html
from batch_jobs.train import Fit
from recsys.data import Dataset, clean, interactions_from_tuples, leave_last
from recsys.evaluation import evaluate
from recsys.models import BiasedMF, ItemKNN, Popularity

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)> $x$ & als'


@pytest.fixture(scope="module")
def page():
    """A report with every plot, in which a model has a name that nobody should trust."""
    draw = random.Random(0)
    events = [(f"u{u}", f"i{int(30 * draw.random() ** 2)}", draw.randint(1, 5), n) for u in range(80) for n in range(9)]
    split = leave_last(interactions_from_tuples(events), 2)
    cleaned = clean(split.train)
    dataset = Dataset.from_interactions(cleaned.interactions)
    model = BiasedMF(factors=2, iterations=3).fit(dataset)
    models = {EVIL: model, "popularity": Popularity().fit(dataset), "item_knn": ItemKNN().fit(dataset)}
    results = {name: evaluate(one, split.test, k=(5, 10)) for name, one in models.items()}
    findings = Findings.of(results, EvaluateConfig(k=(5, 10), against="popularity"))
    facts = {
        "namespace": "shop", "split": split.name, "train_events": 1, "test_events": 2,
        "results": {name: one.to_json() for name, one in results.items()},
    }  # fmt: skip
    drawn = plots(Fit(model, cleaned), split, results, 10, [0.1, 0.2, 0.15])
    assert len(drawn.charts) == 6
    return html(facts, [all_metrics(results), *findings.grids()], drawn)


class Reader(HTMLParser):
    """Notes tags, ids and what is closed in another order than it was opened."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids, self.wrong = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_the_page_is_whole_and_needs_nothing_else(page):
    reader = Reader()
    reader.feed(page)
    assert not reader.wrong
    assert not reader.open
    assert len(set(reader.ids)) == len(reader.ids)
    assert not {"script", "img", "iframe", "link", "object"} & set(reader.tags)
    assert not re.search(r"https?:|//\w|@import|url\((?!#)", page)
    assert page.count("<title id=") == page.count("<desc id=") == page.count("<details>") == 6
    for unit in ("(%)", "(% of items)", "(number; items below)", "(mean, 0 to 1)", "rating (mean of the bin)"):
        assert unit in page


@pytest.mark.skipif(chromium() is None, reason="no chromium to look at the page with")
def test_it_is_readable_on_a_phone_and_on_a_desk(page, tmp_path):
    found, console = look(page, tmp_path)
    assert not console
    assert [one["width"] for one in found] == [390, 1280]
    for one in found:
        assert one["overflow"] == 0
        assert one["drawings"] == 6
        assert not one["cut"]
        assert one["smallest"] >= 10  # pixels
        assert len([text for text in one["texts"] if re.search(r"\(.*(%|number|mean|unit).*\)", text)]) == 12
    wide = '<div style="width:900px">wide</div><img src="http://127.0.0.1:9/x.png" alt=""></main>'
    small = page.replace("</main>", wide).replace("font-size: 11.5px", "font-size: 5px", 1)
    found, console = look(small.replace("training users of", "training users of " * 4), tmp_path)
    assert any("Content Security Policy" in line for line in console)
    assert found[0]["overflow"] > 0
    assert found[0]["smallest"] < 10
    assert found[1]["cut"]


@pytest.fixture
def shop(tmp_path, monkeypatch, capsys):
    """Events of three days in the log, and the command line over them."""
    for name in ("ARTIFACTS", "REGISTRY", "ONLINE", "EVENTS"):
        monkeypatch.delenv(f"RECSYS_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    lines = [f"u{u},i{int(40 * draw.random() ** 2)},{n}" for u in range(60) for n in range(10)]
    (tmp_path / "e.csv").write_text("\n".join(["user,item,timestamp", *lines, ""]))

    def run(*arguments, status=0):
        capsys.readouterr()
        assert cli.run([*arguments, *([] if "--help" in arguments else ["--json"])]) == status
        return json.loads(capsys.readouterr().out)

    run("ingest", "e.csv")
    return SimpleNamespace(
        run=run, folder=tmp_path, shown=lambda *told: (cli.run(list(told)), capsys.readouterr())[1].out
    )


SMALL = ("--set", "factors=4", "--set", "iterations=3")


def test_against_what_is_in_service_and_against_a_version(shop):
    version = shop.run("train", "--model", "popularity")["version"]
    shop.run("publish", version)
    told = shop.run("evaluate", *SMALL, "--against", "current", "--k", "5,10", "--report", "r.html")
    assert told["against"] == "in service, retrained"  # it had learned the test events
    assert any(version in note for note in told["notes"])
    assert set(told["results"]) == {"als", "popularity", "item_knn", "in service, retrained"}
    assert told["results"]["popularity"] == told["results"]["in service, retrained"]
    compared = told["comparisons"]["als"]["differences"]
    assert [one["metric"] for one in compared] == ["recall@5", "ndcg@5", "recall@10", "ndcg@10"]
    assert all(one["low"] <= one["difference"] <= one["high"] for one in compared)
    assert all(one["difference"] == 0 for one in told["comparisons"]["popularity"]["differences"])
    assert "close to the bestseller list" in told["varieties"]["popularity"]["verdict"]
    written = json.loads((shop.folder / "r.json").read_text())
    assert {name: written[name] for name in ("results", "comparisons", "segments")} == {
        name: told[name] for name in ("results", "comparisons", "segments")
    }
    assert [one["name"] for one in written["charts"]] == ["popularity", "history", "coverage", "learning", "validation"]
    assert "als ranks items" in written["left_out"][0]
    assert (shop.folder / "r.html").read_text().count("<figure") == 5
    assert shop.run("evaluate", *SMALL, "--against", version)["against"] == "in service, retrained"
    other = shop.run("train", *SMALL)["version"]
    told = shop.run("evaluate", "--model", "bpr", *SMALL, "--against", other)
    assert told["against"] == f"{other}, retrained"
    assert "in service, retrained" in told["results"]


def test_a_version_that_saw_no_test_event_is_judged_itself(shop):
    version = shop.run("train", *SMALL)["version"]
    (shop.folder / "t.csv").write_text("user,item\n" + "".join(f"u{u},i{u % 30}\n" for u in range(60)))
    told = shop.run("evaluate", "--model", "bpr", *SMALL, "--test", "t.csv", "--against", version)
    assert told["against"] == version
    assert not [note for note in told["notes"] if "anew" in note]


def test_without_it_nothing_is_compared(shop):
    told = shop.run("evaluate", *SMALL, "--k", "5")
    assert (told["against"], told["comparisons"]) == (None, {})
    assert set(told["results"]) == {"als", "popularity", "item_knn"}
    shown = shop.shown("evaluate", *SMALL, "--against", "popularity")
    for text in ("Compared with popularity", "effect", "cold, 0–4", "hot, ", "close to the bestseller list"):
        assert text in " ".join(shown.split())


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (("--against", "als"), "the candidate itself"),
        (("--against", "current"), "no model in service to compare with"),
        (("--against", "yesterday"), "no version 'yesterday'"),
        (("--report", "r.txt"), "ends in .html"),
        (("--report", "no/r.html"), "no folder no"),
        (("--k", "5,x"), "such as 10,20"),
    ],
)
def test_what_cannot_be_done_is_refused_before_training(shop, monkeypatch, asked, reason):
    monkeypatch.setattr("batch_jobs.evaluate.judge", None)
    assert reason in shop.run("evaluate", *asked, status=2)["error"]
