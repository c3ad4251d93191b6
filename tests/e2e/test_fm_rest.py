"""A factorization machine from files to lists: what attributes and contexts are for, through the real commands."""

import json
import random
import uuid
from collections import Counter
from urllib.error import HTTPError

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import stores_of
from shop import Shop, pairs

from batch_jobs.config import load
from batch_jobs.console import Screen
from batch_jobs.nightly import nightly
from recsys.artifacts import unpack
from recsys.data import Dataset, clean, read_interactions, read_table
from recsys.models import FactorizationMachine
from recsys.models.queries import Queries

FANS = {"comedy": 60, "western": 36, "horror": 24}  # so that popular films are comedies
MODEL = {"loss": "softmax", "factors": 8, "iterations": 40, "regularization": 0.2, "seed": 3}
ODDS = {"loss": "logistic", "negatives": 4, "learning_rate": 0.1, "regularization": 0.002}
TV, PHONE = {"device": "tv", "hour": 20}, {"device": "phone", "hour": 8}
NIGHTLY = """
[ingest]
files = ["events.csv"]
items = "items.csv"
users = "users.csv"
context = ["device", "temp"]

[features]
user = ["taste"]
item = ["genres"]
context = ["device", "hour", "temp:number"]

[split]
kind = "leave-last"

[gate]
max_drop = 1.0
"""


def write(folder):
    """Everybody has films of one genre; what has an even number is seen on tv at 20 o'clock, the rest on a phone at 8.

    Nobody has seen films 8 and 9 of any genre yet.
    """
    draw = random.Random(7)
    genres = {f"{genre}-{n}": genre for genre in FANS for n in range(10)}
    seen = [film for film in genres if film[-1] not in "89"]
    tastes = [genre for genre, fans in FANS.items() for _ in range(fans)]
    lines = ["user,item,rating,timestamp,device,temp"]
    for user, taste in enumerate(tastes):
        own = [film for film in seen if genres[film] == taste]
        other = [film for film in seen if genres[film] != taste]
        films = draw.sample(own, draw.randrange(3, 7)) + draw.sample(other, 1)
        draw.shuffle(films)
        for day, film in enumerate(films):
            there = TV if int(film[-1]) % 2 == 0 else PHONE
            rating = draw.choice((4, 5)) if genres[film] == taste else draw.choice((1, 2))
            when = 1_767_225_600 + 86_400 * day + 3600 * there["hour"]
            lines.append(f"u{user},{film},{rating},{when},{there['device']},{draw.randrange(10, 30)}")
    (folder / "events.csv").write_text("\n".join([*lines, ""]))
    items = [f"{one},{genre}" for one, genre in reversed(genres.items())]  # in an order of its own
    (folder / "items.csv").write_text("\n".join(["item,genres", *items, ""]))
    (folder / "users.csv").write_text("user,taste\n" + "".join(f"u{n},{one}\n" for n, one in enumerate(tastes)))
    (folder / "nightly.toml").write_text(NIGHTLY)
    (folder / "als.toml").write_text("[model]\nfactors = 8\n[split]\nkind = 'leave-last'\n[gate]\nmax_drop = 1.0\n")


def flags(settings):
    return [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture(scope="module")
def cinema(tmp_path_factory):
    """Namespaces: default ranks, odds predicts probabilities and stars ratings."""
    shop = Shop(tmp_path_factory.mktemp("cinema"))
    write(shop.folder)
    shop.first = shop.recsys("nightly", "--config", "nightly.toml", "--model", "fm", *flags(MODEL))
    for namespace, loss in (
        ("odds", ODDS),
        ("stars", {"loss": "squared"}),
    ):
        overnight(shop, namespace, MODEL | loss)
    with shop:
        yield shop


def overnight(shop, namespace, model):
    """Run the nightly job in this process."""
    folder, screen, stores = shop.folder, Screen(as_json=True), stores_of(shop.folder)
    files = {"files": (f"{folder}/events.csv",), "items": f"{folder}/items.csv", "users": f"{folder}/users.csv"}
    told = {"namespace": namespace, "ingest": files, "model": {"kind": "fm", **model}}
    try:
        return nightly(stores, load(folder / "nightly.toml", told), screen) | {"notes": screen.notes}
    finally:
        stores.online.close()


@pytest.fixture(scope="module")
def model(cinema):
    """The same in a notebook."""
    raw = read_interactions(cinema.folder / "events.csv", context=["device", "temp"])
    dataset = Dataset.from_interactions(clean(raw).interactions, raw).with_features(
        users=read_table(cinema.folder / "users.csv", of="user"),
        user_fields=["taste"],
        items=read_table(cinema.folder / "items.csv"),
        item_fields=["genres"],
        context_fields=["device", "hour", "temp:number"],
    )
    return FactorizationMachine(**MODEL).fit(dataset)


def genres(answer, first=5):
    return Counter(one["item"].partition("-")[0] for one in answer["items"][:first])


def items(answer):
    return [one["item"] for one in answer["items"]]


def post(shop, namespace, *events):
    sent = [{"event_id": uuid.uuid4().hex, "timestamp": 1_767_900_000, **one} for one in events]
    assert shop.ask(f"/v1/{namespace}/events", {"events": sent})["accepted"] == len(events)


def test_an_item_with_nothing_but_its_genre_is_near_its_genre_and_in_lists(cinema):
    popular = cinema.ask("/v1/default/popular?k=8")
    assert genres(popular)["comedy"] == 5
    similar = cinema.ask("/v1/default/items/western-8/similar?k=8")
    assert genres(similar)["western"] == 5
    assert items(similar) != items(popular)
    fan = cinema.ask("/v1/default/users/u70/recommendations", {"k": 8, "context": TV})
    assert {"western-8", "western-9"} <= set(items(fan))
    assert cinema.ask("/v1/default/users/u70/scores", {"items": ["western-8"]})["items"][0]["item"] == "western-8"


@pytest.mark.parametrize("genre", FANS)
def test_one_event_is_enough_for_a_list_of_its_genre_at_once(cinema, genre):
    popular = items(cinema.ask("/v1/default/popular?k=8"))
    post(cinema, "default", {"user": f"new-{genre}", "item": f"{genre}-3"})
    stored = cinema.ask(f"/v1/default/users/new-{genre}/recommendations", {"k": 8, "context": TV})
    session = {"k": 8, "context": TV, "events": [{"item": f"{genre}-3"}]}
    sent = cinema.ask("/v1/default/recommendations", session)
    assert stored["strategy"] == sent["strategy"] == "fold_in"
    assert pairs(stored) == pairs(sent)
    assert items(stored) != popular
    assert f"{genre}-3" not in items(stored)
    assert genres(stored)[genre] >= 4
    unknown = cinema.ask("/v1/default/recommendations", {"k": 8, "context": TV})
    assert unknown["strategy"] == "context"
    assert genres(unknown)[genre] < genres(stored)[genre] or genre == "comedy"


def test_an_attribute_tells_of_somebody_unknown_and_nothing_new_of_somebody_known(cinema):
    for taste in FANS:
        asked = {"k": 5, "context": TV | {"taste": taste}}
        assert genres(cinema.ask("/v1/default/recommendations", asked))[taste] >= 4
    known = [cinema.ask("/v1/default/users/u3/recommendations", {"context": TV | {"taste": one}}) for one in FANS]
    assert pairs(known[0]) == pairs(known[1]) == pairs(known[2])


def test_the_context_changes_the_list(cinema):
    for user in ("u1", "u70", "nobody"):
        share = {}
        for context in (TV, PHONE):
            answer = cinema.ask(f"/v1/default/users/{user}/recommendations", {"k": 6, "context": context})
            share[context["device"]] = sum(int(one[-1]) % 2 == 0 for one in items(answer) if one[-1] not in "89")
        assert share["tv"] > share["phone"], user


@pytest.mark.parametrize(
    ("context", "field", "reason"),
    [
        ({"devise": "tv"}, "context.devise", "it knows device, hour, temp, taste"),
        ({"temp": "hot"}, "context.temp", "'hot' is no number"),
        ({"device": ["tv"]}, "context.device", "no value of a field of the kind category"),
    ],
)
def test_a_field_that_cannot_be_read_is_named(cinema, context, field, reason):
    for path, body in (
        ("recommendations", {}),
        ("users/u1/recommendations", {}),
        ("users/u1/scores", {"items": ["x"]}),
    ):
        if "scores" in path:
            body = {"items": ["horror-1"]}
        with pytest.raises(HTTPError) as refused:
            cinema.ask(f"/v1/default/{path}", body | {"context": context})
        problem = json.loads(refused.value.read())
        assert (refused.value.code, problem["field"]) == (422, field)
        assert reason in problem["detail"]


@pytest.mark.parametrize(("namespace", "lowest", "highest"), [("odds", 0, 1), ("stars", 1, 5)])
def test_predictions_are_calibrated_and_explained(cinema, namespace, lowest, highest):
    films = [f"{genre}-{n}" for genre in FANS for n in range(10)]
    for user in ("u1", "u70", "u100", "nobody"):
        asked = {"items": films, "context": TV, "explain": True}
        answer = cinema.ask(f"/v1/{namespace}/users/{user}/scores", asked)
        scores = [one["score"] for one in answer["items"]]
        assert lowest <= min(scores) < max(scores) <= highest
        for one in answer["items"]:
            parts = [part["value"] for part in one["explanation"]]
            assert sum(parts) == pytest.approx(one["raw_score"], abs=1e-6)
            assert {part["source"] for part in one["explanation"]} >= {"bias", "item", "user", "context"}
            link = 1 / (1 + np.exp(-one["raw_score"])) if highest == 1 else np.clip(one["raw_score"], 1, 5)
            assert one["score"] == pytest.approx(link, abs=1e-6)
    fan = {one["item"]: one["score"] for one in cinema.ask("/v1/stars/users/u70/scores", {"items": films})["items"]}
    assert (
        np.mean([fan[f"western-{n}"] for n in range(10)]) > 3.5 > 2.5 > np.mean([fan[f"horror-{n}"] for n in range(10)])
    )


def test_notebook_command_line_and_api_agree_to_the_bit(cinema, model):
    users = model.dataset.users.ids()
    for context in (TV, PHONE | {"temp": 17.5}):
        expected = dict(zip(users, model.recommend(users, k=9, context=context).lists(), strict=True))
        for user in users:
            asked = {"k": 9, "context": context}
            assert pairs(cinema.ask(f"/v1/default/users/{user}/recommendations", asked)) == expected[user]
    words = [word for name, value in context.items() for word in ("--context", f"{name}={value}")]
    assert pairs(cinema.recsys("recommend", "--user", "u7", "-k", "9", *words)) == expected["u7"]
    similar = model.similar_items("horror-8", k=7).lists()[0]
    assert pairs(cinema.ask("/v1/default/items/horror-8/similar?k=7")) == similar
    unknown = cinema.ask("/v1/default/users/nobody/recommendations", {"k": 10, "context": context})
    assert pairs(cinema.recsys("recommend", *words)) == pairs(unknown)
    assert pairs(cinema.recsys("recommend", "--user", "nobody", *words)) == pairs(unknown)


def test_scoring_everybody_in_a_context_writes_the_lists_of_the_api(cinema, model, tmp_path):
    users = model.dataset.users.ids()
    for number, context in enumerate((TV, {"hour": 8}, {})):
        words = [word for name, value in context.items() for word in ("--context", f"{name}={value}")]
        told = cinema.recsys("score", "--k", "9", "--output", str(tmp_path / str(number)), *words)
        written = {}
        for row in pq.read_table(told["folder"]).to_pylist():
            written.setdefault(row["user_id"], []).append((row["item_id"], row["score"]))
        assert written == dict(zip(users, model.recommend(users, k=9, context=context).lists(), strict=True))
        assert any(note.startswith("hour: not given") for note in told["notes"]) == ("hour" not in context)
        for user in users[::7] if context else ():  # without an hour, the API takes that of the request
            asked = {"k": 9, "context": context}
            assert pairs(cinema.ask(f"/v1/default/users/{user}/recommendations", asked)) == written[user]


def test_a_published_version_opened_again_is_the_model_to_the_bit(cinema, model):
    stores = stores_of(cinema.folder)
    stored = unpack(stores.artifacts.open("default", cinema.first["version"]))
    stores.online.close()
    fitted = model.export()
    for name in ("user_vectors", "item_vectors", "item_bias"):
        np.testing.assert_array_equal(getattr(stored.factors, name), getattr(fitted, name))
    for name in ("weights", "vectors", "signs", "user_bias", "mean_user"):
        np.testing.assert_array_equal(getattr(stored.factors.query, name), getattr(fitted.query, name))
    assert stored.items.ids() == model.dataset.items.ids()
    films = model.dataset.items.ids()
    expected = model.predict(["u7"] * len(films), films, TV)
    queries = Queries.of(stored.factors, stored.users.encode(["u7"] * len(films)), TV)
    np.testing.assert_array_equal(queries.predict(stored.factors, stored.items.encode(films)), expected)
    asked = {"items": films, "context": TV}
    served = [one["score"] for one in cinema.ask("/v1/default/users/u7/scores", asked)["items"]]
    np.testing.assert_allclose(served, expected, rtol=1e-6)  # here not rounded to float32 on the way


def test_contexts_of_a_wrong_type_do_not_stop_the_next_run_which_counts_them(cinema):
    wrong = {"device": 7, "temp": "hot"}
    post(
        cinema, "odds",
        {"user": "u1", "item": "comedy-1", "context": wrong},
        {"user": "u2", "item": "comedy-2", "context": wrong | {"surprise": ["a", "b"]}},
    )  # fmt: skip
    told = overnight(cinema, "odds", MODEL | ODDS)
    assert told["events_from_api"] == 2
    assert any("2 values of contexts cannot be used" in note and "'hot' is no number" in note for note in told["notes"])
    cinema.wait_for("/v1/odds/users/u1/recommendations", told["version"])
    asked = {"items": ["comedy-3"], "context": {"device": 7}, "explain": True}
    (score,) = cinema.ask("/v1/odds/users/u1/scores", asked)["items"]
    assert "device=7" in {part["name"] for part in score["explanation"]}  # what could be used was


def test_rolling_back_from_one_kind_of_model_to_another_and_back(cinema):
    path = "/v1/stars/users/u70/recommendations"
    asked = {"k": 5, "context": TV}
    before = cinema.ask(path, asked)
    assert before["strategy"] == "fm"
    als = cinema.recsys("nightly", "--namespace", "stars", "--config", "als.toml")
    assert cinema.wait_for(path, als["version"])["strategy"] == "als"
    back = cinema.recsys("rollback", "--namespace", "stars")
    assert back["in_service"] == before["model_version"]
    cinema.wait_for(path, before["model_version"])
    assert pairs(cinema.ask(path, asked)) == pairs(before)
    forth = cinema.recsys("publish", als["version"], "--namespace", "stars")
    assert cinema.wait_for(path, forth["in_service"])["strategy"] == "als"
