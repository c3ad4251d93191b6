"""From files to lists, through the real commands and the real server: the same lists everywhere."""

import uuid
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from shop import Shop, pairs

from recsys.data import Dataset, clean, read_interactions
from recsys.models import ImplicitALS
from recsys.serving import SQLiteOnlineStore

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data" / "sample"
SETTINGS = [
    "--set",
    "factors=32",
    "--set",
    "unobserved_weight=0.7",
    "--set",
    "regularization=0.02",
    "--clean",
    'weights="binary"',
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    shop = Shop(tmp_path_factory.mktemp("shop"))
    files = [str(SAMPLE / "interactions.csv"), "--items", str(SAMPLE / "items.csv")]
    shop.first = shop.recsys("nightly", *files, *SETTINGS)
    with shop:
        yield shop


@pytest.fixture(scope="module")
def model():
    interactions = read_interactions(SAMPLE / "interactions.csv")
    dataset = Dataset.from_interactions(clean(interactions, weights="binary").interactions)
    return ImplicitALS(factors=32, unobserved_weight=0.7, regularization=0.02).fit(dataset)


def test_python_the_command_line_and_the_api_give_the_same_lists(shop, model):
    users = model.dataset.users.ids()
    expected = dict(zip(users, model.recommend(users, k=12).lists(), strict=True))
    for user in users[::9]:
        assert pairs(shop.ask(f"/v1/default/users/{user}/recommendations?k=12")) == expected[user]
    for user in users[::250]:
        assert pairs(shop.recsys("recommend", "--user", user, "-k", "12")) == expected[user]
    similar = model.similar_items("i299", k=7).lists()[0]
    assert pairs(shop.ask("/v1/default/items/i299/similar?k=7")) == similar
    assert pairs(shop.recsys("recommend", "--similar-to", "i299", "-k", "7")) == similar


@pytest.mark.parametrize("store", [[], ["--to-store"]])
def test_scoring_everybody_writes_the_lists_of_the_api(shop, model, tmp_path, store):
    users = model.dataset.users.ids()
    told = shop.recsys("score", "--k", "12", "--output", str(tmp_path), *store)
    assert (told["users"], told["rows"], told["complete"]) == (800, 9600, True)
    assert told["version"] == shop.first["version"]
    written = {}
    for row in pq.read_table(told["folder"], columns=["user_id", "item_id", "score"]).to_pylist():
        written.setdefault(row["user_id"], []).append((row["item_id"], row["score"]))
    assert written == dict(zip(users, model.recommend(users, k=12).lists(), strict=True))
    for user in users[::9]:
        assert written[user] == pairs(shop.ask(f"/v1/default/users/{user}/recommendations?k=12"))
    assert written["u100"] == pairs(shop.recsys("recommend", "--user", "u100", "-k", "12"))
    with closing(SQLiteOnlineStore(shop.folder / "var/online.db")) as online:
        for user in users:
            found = online.user_list("default", told["version"], user)
            listed = found and list(zip(model.dataset.items.ids(found.items), found.scores.tolist(), strict=True))
            assert listed == (written[user] if store else None)


def test_the_nightly_run_judged_published_and_says_so(shop):
    first = shop.first
    assert (first["users"], first["interactions"], first["events_added"]) == (800, 23_980, 23_980)
    means = {name: result["means"]["ndcg@20"] for name, result in first["results"].items()}
    assert means["als"] > means["popularity"]
    assert means["item_knn"] > means["popularity"]
    assert shop.ask("/v1/default/popular")["model_version"] == first["version"]


def test_an_event_over_rest_changes_the_answer_everywhere_and_reaches_the_next_training(shop):
    path = "/v1/default/users/u100/recommendations?k=20"
    before = shop.ask(path)
    sent = [item for item, _ in pairs(before)[:3]]
    events = [
        {"event_id": uuid.uuid4().hex, "user": "u100", "item": item, "timestamp": 1_735_700_000 + n}
        for n, item in enumerate(sent)
    ]
    assert shop.ask("/v1/default/events", {"events": events})["accepted"] == 3
    assert shop.ask("/v1/default/events", {"events": events}) | {"request_id": ""} == {
        "accepted": 0, "duplicates": 3, "request_id": "",
    }  # fmt: skip
    after = shop.ask(path)
    assert after["strategy"] == "fold_in"
    assert not {item for item, _ in pairs(after)} & set(sent)
    assert pairs(shop.recsys("recommend", "--user", "u100", "-k", "20")) == pairs(after)

    second = shop.recsys("nightly", str(SAMPLE / "interactions.csv"), *SETTINGS)
    assert (second["events_added"], second["events_from_api"]) == (0, 3)
    assert second["interactions"] == shop.first["interactions"] + 3
    assert second["before"] == shop.first["version"]
    trained = shop.wait_for(path, second["version"])
    assert trained["strategy"] == "als"
    assert not {item for item, _ in pairs(trained)} & set(sent)

    back = shop.recsys("rollback")
    assert back["in_service"] == shop.first["version"]
    rolled = shop.wait_for(path, shop.first["version"])
    assert pairs(rolled) == pairs(after)


def test_train_and_publish_step_by_step_and_the_gate(shop):
    trained = shop.recsys("train", *SETTINGS)
    published = shop.recsys("publish", trained["version"])
    assert published["in_service"] == trained["version"]
    assert shop.recsys("publish", trained["version"])["sequence"] == published["sequence"]
    judged = shop.recsys("evaluate", *SETTINGS, "--k", "5")
    assert set(judged["results"]) == {"als", "popularity", "item_knn"}
    shop.recsys("nightly", *SETTINGS)
    refused = shop.recsys("nightly", "--model", "popularity", status=4)
    assert refused.startswith("error: the candidate reaches ndcg@20 0.1")
    assert "a drop of more than 10% is refused" in refused
    assert shop.recsys("recommend")["model_version"] != trained["version"]
