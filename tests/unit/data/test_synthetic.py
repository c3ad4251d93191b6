import csv
import os
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data import synthetic
from recsys.data.synthetic import DAY_S, START_S, Synthetic, generate
from recsys.errors import ConfigError

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "data" / "sample"
SHOP: dict[str, Any] = {"users": 600, "items": 800, "mean_history": 30, "categories": 6, "seed": 3}


@pytest.fixture(scope="module")
def shop() -> Synthetic:
    return generate(**SHOP)


def arrays(made: Synthetic) -> list[np.ndarray]:
    truth = [getattr(made, field.name) for field in fields(made)[1:]]
    events = made.interactions
    return [events.user, events.item, events.weight, events.timestamp, *truth]


def times(made: Synthetic) -> np.ndarray:
    assert made.interactions.timestamp is not None
    return made.interactions.timestamp


def test_same_seed_gives_the_same_bits(shop: Synthetic) -> None:
    again, other = generate(**SHOP), generate(**{**SHOP, "seed": 4})
    assert [one.tobytes() for one in arrays(again)] == [one.tobytes() for one in arrays(shop)]
    assert again.interactions.fingerprint() == shop.interactions.fingerprint() != other.interactions.fingerprint()


@pytest.mark.parametrize("mean_history", [1, 2.5, 40, 200])
def test_mean_history_is_the_one_asked_for(mean_history: float) -> None:
    made = generate(**{**SHOP, "mean_history": mean_history})
    assert len(made.interactions) / 600 == pytest.approx(mean_history, rel=0.03)


def test_history_lengths_have_a_heavy_tail(shop: Synthetic) -> None:
    lengths = np.sort(np.bincount(shop.interactions.user))[::-1]
    assert 0.3 < lengths[:60].sum() / lengths.sum() < 0.5
    assert np.median(lengths) < 0.75 * lengths.mean()


def test_popularity_is_a_power_law(shop: Synthetic) -> None:
    counts = np.sort(np.bincount(shop.interactions.item, minlength=800))[::-1]
    assert 0.3 < counts[:80].sum() / counts.sum() < 0.6  # even popularity would give 0.1
    ranks = np.arange(5, 300)
    slope = np.polyfit(np.log(ranks), np.log(counts[ranks - 1]), 1)[0]
    assert -1.1 < slope < -0.5


def test_exponent_zero_makes_items_alike() -> None:
    made = generate(**SHOP, popularity_exponent=0)
    counts = np.sort(np.bincount(made.interactions.item, minlength=800))[::-1]
    assert counts[:80].sum() / counts.sum() < 0.25


def category_shares(made: Synthetic, rows: np.ndarray) -> np.ndarray:
    counts = np.zeros(made.taste.shape)
    np.add.at(counts, (made.interactions.user[rows], made.category[made.interactions.item[rows]]), 1)
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def test_tastes_can_be_recovered(shop: Synthetic) -> None:
    shares = category_shares(shop, np.arange(len(shop.interactions)))
    mean_taste = (shop.taste + shop.final_taste) / 2
    busy = np.bincount(shop.interactions.user, minlength=600) >= 10
    agree = shares.argmax(axis=1)[busy] == mean_taste.argmax(axis=1)[busy]
    assert agree.mean() > 0.8  # chance is 1/6
    assert np.corrcoef(shares[busy].ravel(), mean_taste[busy].ravel())[0, 1] > 0.9


def test_tastes_drift_towards_the_final_one() -> None:
    made = generate(**SHOP, drift=1)
    early = times(made) < START_S + 60 * DAY_S
    late = times(made) >= START_S + 305 * DAY_S
    for rows, near, far in ((early, made.taste, made.final_taste), (late, made.final_taste, made.taste)):
        shares = category_shares(made, np.flatnonzero(rows))
        seen = shares.sum(axis=1) > 0
        hit, miss = (np.corrcoef(shares[seen].ravel(), one[seen].ravel())[0, 1] for one in (near, far))
        assert hit > miss + 0.3


def test_an_item_is_chosen_for_its_second_category_too(shop: Synthetic) -> None:
    events = shop.interactions
    fans = np.flatnonzero(shop.taste[:, 0] > 0.8)
    second = np.isin(events.item, np.flatnonzero(shop.second_category == 0))
    share_of_fans = second[np.isin(events.user, fans)].mean()
    assert share_of_fans > 2 * second.mean()


def test_better_items_and_preferred_categories_get_more_stars(shop: Synthetic) -> None:
    events = shop.interactions
    assert np.corrcoef(shop.quality[events.item], events.weight)[0, 1] > 0.3
    liked = shop.taste[events.user, shop.category[events.item]]
    assert events.weight[liked > 0.5].mean() > events.weight[liked < 0.1].mean() + 0.5


@settings(deadline=None)
@given(st.data())
def test_what_holds_for_every_shop(data: st.DataObject) -> None:
    items = data.draw(st.integers(1, 60), "items")
    users, days = data.draw(st.integers(1, 30), "users"), data.draw(st.integers(1, 40), "days")
    mean = data.draw(st.floats(1, max(1, items / 4)), "mean_history")
    start = data.draw(st.integers(0, 2_000_000_000), "start")
    categories = data.draw(st.integers(1, items), "categories")
    seed = data.draw(st.integers(0, 2**64), "seed")
    shape: dict[str, Any] = {
        "popularity_exponent": data.draw(st.floats(0, 3), "popularity_exponent"),
        "taste_concentration": data.draw(st.sampled_from([1e-9, 0.1, 50.0]), "taste_concentration"),
        "drift": data.draw(st.floats(0, 1), "drift"),
    }
    common: dict[str, Any] = {"users": users, "items": items, "categories": categories, "days": days, "start": start}
    made = generate(**common, mean_history=mean, seed=seed, **shape)
    holds(made, users, items, categories, start, days)


def holds(made: Synthetic, users: int, items: int, categories: int, start: int, days: int) -> None:
    events = made.interactions
    assert events.shape == (users, items)
    assert np.bincount(events.user, minlength=users).min() >= 1
    assert len(np.unique(events.user.astype(np.int64) * items + events.item)) == len(events)
    assert set(np.unique(events.weight)) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    assert start <= times(made).min() <= times(made).max() < start + days * DAY_S
    assert (np.diff(events.user) >= 0).all()
    assert (np.diff(times(made))[np.diff(events.user) == 0] >= 0).all()
    assert (times(made) >= made.launch[events.item]).all()
    assert set(made.category) == set(range(categories))
    assert ((made.second_category >= -1) & (made.second_category < categories)).all()
    assert (made.second_category != made.category).all()
    for taste in (made.taste, made.final_taste):
        assert taste.shape == (users, categories)
        np.testing.assert_allclose(taste.sum(axis=1), 1)


def test_many_groups_of_users_keep_the_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "DRAWS_AT_ONCE", 100)
    made = generate(**{**SHOP, "mean_history": 8})
    holds(made, 600, 800, 6, START_S, 365)
    assert len(made.interactions) / 600 == pytest.approx(8, rel=0.03)
    shares = category_shares(made, np.arange(len(made.interactions)))
    assert np.corrcoef(shares.ravel(), made.taste.ravel())[0, 1] > 0.8


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"users": 0}, "users must be at least 1, not 0"),
        ({"items": -1}, "items must be"),
        ({"categories": 0}, "categories must be"),
        ({"categories": 801}, "801 categories need at least as many items"),
        ({"days": 0}, "days must be"),
        ({"mean_history": 0.5}, "mean_history must lie between"),
        ({"mean_history": 201}, "a quarter of the items, 200"),
        ({"mean_history": float("nan")}, "mean_history must lie between"),
        ({"seed": -1}, "seed must not be negative"),
        ({"popularity_exponent": -0.1}, "popularity_exponent must be"),
        ({"popularity_exponent": float("inf")}, "popularity_exponent must be"),
        ({"taste_concentration": 0}, "taste_concentration must be"),
        ({"drift": 1.1}, "drift must lie between"),
    ],
)
def test_a_bad_argument_is_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generate(**{**SHOP, **wrong})


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(ROOT / "data" / "generate.py"), *arguments]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120, check=False
    )


def documented_arguments() -> list[str]:
    lines = (ROOT / "data" / "README.md").read_text(encoding="utf-8").splitlines()
    (command,) = [line for line in lines if line.strip().startswith("python data/generate.py")]
    return shlex.split(command)[2:]


def test_the_documented_command_reproduces_the_sample(tmp_path: Path) -> None:
    arguments = documented_arguments()
    assert arguments[-2:] == ["--out", "data/sample"]
    done = run([*arguments[:-1], str(tmp_path)])
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["interactions.csv", "items.csv"]
    for name in ("interactions.csv", "items.csv"):
        assert (tmp_path / name).read_bytes() == (SAMPLE / name).read_bytes(), f"{name} differs from the committed one"


def test_the_sample_is_readable_as_described() -> None:
    with (SAMPLE / "items.csv").open(encoding="utf-8", newline="") as file:
        items = {row["item_id"]: row for row in csv.DictReader(file)}
    with (SAMPLE / "interactions.csv").open(encoding="utf-8", newline="") as file:
        events = list(csv.DictReader(file))
    assert len(items) == len({item["title"] for item in items.values()}) == 400
    assert len({genre for item in items.values() for genre in item["genres"].split("|")}) == 8
    assert len({(event["user_id"], event["item_id"]) for event in events}) == len(events)
    assert {event["item_id"] for event in events} <= items.keys()
    assert len({event["user_id"] for event in events}) == 800
    assert [int(event["timestamp"]) for event in events] == sorted(int(event["timestamp"]) for event in events)
    readme = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert f"{len(events):,} events of 800 users" in readme


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--users": "0"}, "users must be at least 1, not 0"),
        ({"--categories": "13"}, "--categories must be at most 12"),
        ({"--mean-history": "many"}, "invalid float value"),
    ],
)
def test_the_command_line_refuses_and_writes_nothing(tmp_path: Path, change: dict[str, str], message: str) -> None:
    good = {"--users": "5", "--items": "40", "--mean-history": "3", "--categories": "4", "--seed": "1"}
    done = run([*(part for pair in {**good, **change}.items() for part in pair), "--out", str(tmp_path)])
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_disk_that_refuses_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    arguments = [*documented_arguments()[:-1], str(tmp_path / "file")]
    done = run(arguments)
    assert done.returncode == 1
    assert "cannot write to" in done.stderr
    assert "Traceback" not in done.stderr


def test_words_that_run_out_give_second_volumes(tmp_path: Path) -> None:
    shop = ["--users", "5", "--items", "1000", "--mean-history", "3", "--categories", "1", "--seed", "1"]
    assert run([*shop, "--out", str(tmp_path)]).returncode == 0
    with (tmp_path / "items.csv").open(encoding="utf-8", newline="") as file:
        titles = [row["title"] for row in csv.DictReader(file)]
    assert len(set(titles)) == 1000
    assert any(title.endswith(", Volume 2") for title in titles)
