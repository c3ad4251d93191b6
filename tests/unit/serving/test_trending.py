"""Decayed counts against the sum over all events, written out; and what stands where no event has a time."""

import os
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from machine import Machine
from world import World

from recsys.artifacts import dated_counts
from recsys.artifacts.dated_counts import DatedCounts
from recsys.artifacts.store import StoredArrays
from recsys.errors import ArtifactError, StorageError
from recsys.events import InteractionEvent
from recsys.serving import trending
from recsys.serving.filters import Group, OneOf
from recsys.serving.rules import Rules

NOW_S, HOUR_S, DAY_S = 1.8e9, 3600.0, 86_400.0


@pytest.fixture(autouse=True)
def looking_every_time(monkeypatch):
    monkeypatch.setattr(trending, "REFRESH_S", 0.0)
    monkeypatch.setattr(trending, "_WORTH_MERGING", 1)


class Shop:
    """Events before and after a training, of its items and of others; some are dated later than they came."""

    def __init__(self, folder, seed):
        self.chance, self.now_s = random.Random(seed), NOW_S
        self.world = World(folder, clock=lambda: self.now_s)
        self.model, self.sent = Machine(seed=seed % 3), 0
        self.items = self.model.dataset.items
        trained = [self.event(len(self.items)) for _ in range(self.chance.choice([0, 1, 40, 400]))]
        rows, times = np.array([row for row, _ in trained], np.int32), np.array([t for _, t in trained], np.int64)
        self.world.online.append_events("shop", self.dressed(trained[:20]))
        through = self.world.online.last_position("shop")
        self.world.publish(self.model, through, DatedCounts.of(rows, times, NOW_S))
        self.events = [(row, min(t, NOW_S)) for row, t in trained if t <= NOW_S + DAY_S]

    def event(self, n_items):
        age_h = 10 ** self.chance.uniform(-2, 4) if self.chance.random() < 0.95 else self.chance.choice([-10, -100])
        return self.chance.randrange(n_items), int(self.now_s - HOUR_S * age_h)

    def dressed(self, events):
        self.sent += len(events)
        names = [*self.items.ids(), "unknown"]
        return [InteractionEvent(f"e{self.sent - n}", "u1", names[row], t) for n, (row, t) in enumerate(events)]

    def live(self):
        self.now_s += HOUR_S * self.chance.choice([0, 1, 50])
        events = [self.event(len(self.items) + 1) for _ in range(self.chance.choice([0, 1, 30]))]
        self.world.online.append_events("shop", self.dressed(events))
        self.events += [one for one in events if one[0] < len(self.items)]

    @property
    def counted(self):
        return [(row, t) for row, t in self.events if t <= self.now_s + DAY_S]

    def decayed(self, half_life_h):
        events = self.counted
        end = (min(max((t for _, t in events), default=0), self.now_s) // 900 + 1) * 900
        scores = [0.0] * len(self.items)
        for row, t in events:
            scores[row] += 2.0 ** (-max(end - t, 0) / HOUR_S / half_life_h)
        return dict(zip(self.items.ids(), scores, strict=True))

    def check(self):
        half_life_h = 10 ** self.chance.uniform(0, 4)
        found = self.world.service.trending("shop", 500, half_life_h=half_life_h)
        assert (found.strategy, found.degraded) == ("trending" if self.counted else "popular", False)
        scores = {one.item: one.score for one in found.items}
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
        assert scores.keys() == set(self.items.ids())
        if self.counted:
            number = Counter(row for row, _ in self.counted)
            for row, (item, score) in enumerate(self.decayed(half_life_h).items()):
                assert abs(scores[item] - score) <= 0.004 * number[row] + 1e-6 * score + 1e-9, (item, half_life_h)


def check_shops(tmp_path_factory, seeds):
    for seed in seeds:
        shop = Shop(tmp_path_factory.mktemp("shop"), seed)
        for _ in range(3):
            shop.check()
            shop.live()
        shop.check()


def test_scores_are_the_decayed_counts_of_all_events_at_any_half_life(tmp_path_factory):
    """Also for many shops: RECSYS_TREND_SHOPS=500."""
    check_shops(tmp_path_factory, range(int(os.environ.get("RECSYS_TREND_SHOPS", "6"))))


def by_day(half_lives):
    return lambda self, half_life_h, now_h, n_items: half_lives(
        self._replace(hours=self.hours // 24 * 24), half_life_h, now_h, n_items
    )


@pytest.mark.parametrize(
    ("where", "name", "bug"),
    [
        (dated_counts, "_STEP", 3.0),
        (DatedCounts, "decayed", by_day(DatedCounts.decayed)),
        (DatedCounts, "joined", lambda self, more: more),
        (trending.Trend, "_dated", lambda self, counts: DatedCounts.none()),
        (DatedCounts, "until", lambda self, hour: self),
        (DatedCounts, "merged", lambda self: self._replace(counts=self.counts * 2)),
        (dated_counts, "AHEAD_S", 1e6),
        (trending, "_TIE", 1e-3),
    ],
)
def test_the_check_above_catches_a_planted_bug(tmp_path_factory, monkeypatch, where, name, bug):
    monkeypatch.setattr(where, name, bug)
    with pytest.raises(AssertionError):
        check_shops(tmp_path_factory, range(10))


def test_recently_popular_of_a_category_is_the_trend_among_its_items(tmp_path):
    shop = Shop(tmp_path, 3)
    online, items = shop.world.online, shop.items.ids()
    online.put_fields("shop", {"genre": "keyword"})
    online.put_items("shop", {item: {"genre": "ab"[n % 2]} for n, item in enumerate(items)})
    rules = Rules(Group(must=(OneOf("genre", ("a",)),)))
    every = shop.world.service.trending("shop", len(items))
    found = shop.world.service.trending("shop", len(items), rules=rules)
    assert found.items == tuple(one for one in every.items if one.item in items[::2])


def test_with_counts_out_of_reach_the_list_is_the_one_known_last(tmp_path, monkeypatch):
    shop = Shop(tmp_path, 5)
    shop.live()
    before = shop.world.service.trending("shop", 9)
    with monkeypatch.context() as patch:

        def refuse(*_, **__):
            raise StorageError("out of reach")

        patch.setattr(shop.world.online, "tally", refuse)
        shop.live()
        assert shop.world.service.trending("shop", 9) == before._replace(degraded=True)
    shop.check()


def test_an_artefact_without_dated_counts_knows_what_came_since(tmp_path):
    world = World(tmp_path, clock=lambda: NOW_S)
    world.publish(Machine())
    assert world.service.trending("shop", 9) == world.service.popular("shop", 9)
    world.online.append_events("shop", [InteractionEvent("e", "u", "i5", NOW_S - 60)])
    found = world.service.trending("shop", 9)
    assert (found.strategy, found.items[0].item, len(found.items)) == ("trending", "i5", 9)
    assert [one.item for one in found.items[1:]] == [
        one.item for one in world.service.popular("shop", 9).items if one.item != "i5"
    ][:8]


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("trend_items", np.array([0, 99], np.int32)),
        ("trend_items", np.array([0, -1], np.int32)),
        ("trend_items", np.array([0, 1], np.int64)),
        ("trend_hours", np.array([1.0])),
        ("trend_hours", np.array([1.0, np.nan])),
        ("trend_counts", np.array([1, -1], np.float32)),
        ("trend_counts", np.array([[1], [1]], np.float32)),
        ("trend_counts", None),
    ],
)
def test_dated_counts_that_do_not_fit_are_refused_and_the_list_goes_on_without_them(tmp_path, name, array):
    shop = Shop(tmp_path, 0)
    arrays = DatedCounts(np.array([0, 1], np.int32), np.array([1.0, 2.0]), np.ones(2, np.float32)).arrays
    kept = {one: other for one, other in {**arrays, name: array}.items() if other is not None}
    stored = StoredArrays(shop.world.loader.current("shop").manifest, kept)
    with pytest.raises(ArtifactError, match="of version"):
        DatedCounts.from_stored(stored, 9)
    model = replace(shop.world.loader.current("shop"), dated=lambda: DatedCounts.from_stored(stored, 9))
    model.trend.refresh("shop", shop.world.online, NOW_S)
    assert not model.trend.is_whole


def test_what_a_process_keeps_of_counts_grows_with_items_and_time_and_not_with_events(tmp_path):
    world = World(tmp_path, clock=lambda: NOW_S)
    world.publish(Machine())
    trend = world.loader.current("shop").trend
    for n in range(40):
        world.online.append_events("shop", [InteractionEvent(f"{n} {m}", "u", f"i{m}", NOW_S - n) for m in range(5)])
        trend.refresh("shop", world.online, NOW_S)
    assert len(trend._settled.items) <= 20
    assert trend._settled.counts.sum() == 200


def test_an_event_of_the_next_century_does_not_trend(tmp_path):
    world = World(tmp_path, clock=lambda: NOW_S)
    world.publish(Machine())
    world.online.append_events("shop", [InteractionEvent("e", "u", "i5", NOW_S + 86_500)])
    assert world.service.trending("shop", 9) == world.service.popular("shop", 9)
    world.online.append_events("shop", [InteractionEvent("f", "u", "i6", NOW_S - 3_000_000)])
    assert world.service.trending("shop", 1).items[0].item == "i6"
