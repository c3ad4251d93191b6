"""The catalogue in a container: what it reads, and that no list is older than the last acknowledged change."""

from contextlib import closing

import pytest
from shelf import FIELDS, publish
from world import World

from recsys.aws.client import connect
from recsys.aws.dynamodb import DynamoOnlineStore
from recsys.errors import DataError, StorageError, UnknownItemError
from recsys.serving import MemoryOnlineStore, ModelLoader, RecommendationService, columns, view
from recsys.serving.filters import Exists, OneOf
from recsys.serving.rules import Boost, Rules

DRAMA = Rules(OneOf("genre", ("drama",)))


def small(folder, online=None):
    world = World(folder)
    world.online = online or world.online
    world.service = RecommendationService(world.loader, world.online)
    publish(world, [[n, 1] for n in range(8)], [0] * 8, range(8), [1, 0], [7])
    return world


def items(found):
    return [one.item for one in found.items]


class Counted(MemoryOnlineStore):
    """Counts what is asked of it, and refuses all of it while it is down."""

    def __init__(self):
        super().__init__()
        self.asked, self.down = [], False

    def __getattribute__(self, name):
        if name in ("catalogue_head", "removed_items", "item_changes", "item_metadata", "user_state"):
            if self.down:
                raise StorageError("out of reach")
            self.asked.append(name)
        return super().__getattribute__(name)


@pytest.fixture
def world(tmp_path):
    return small(tmp_path, Counted())


def test_a_plain_list_reads_the_head_and_no_more(world):
    world.online.put_items("shop", {"i1": {"genre": "drama"}})
    for asked in (["user_state", "catalogue_head", "removed_items"], *[["user_state", "catalogue_head"]] * 3):
        world.online.asked.clear()
        assert items(world.service.recommend("shop", "u", 3)) == ["i6", "i5", "i4"]
        assert world.online.asked == asked
    world.online.asked.clear()
    world.service.popular("shop", 3)
    assert world.online.asked == ["catalogue_head"]


def test_what_was_compiled_is_brought_up_to_date_by_changes_alone(world):
    world.online.put_fields("shop", FIELDS)
    world.online.put_items("shop", {f"i{n}": {"genre": "drama" if n % 2 else "war"} for n in range(8)})
    assert items(world.service.recommend("shop", "u", 9, rules=DRAMA)) == ["i5", "i3", "i1"]
    world.online.put_items("shop", {"i4": {"genre": "drama"}, "n": {"genre": "drama"}})
    world.online.asked.clear()
    assert items(world.service.recommend("shop", "u", 9, rules=DRAMA)) == ["i5", "i4", "i3", "i1", "n"]
    assert world.online.asked.count("item_changes") == 1
    world.online.put_fields("shop", {"genre": "keywords"})
    assert items(world.service.recommend("shop", "u", 1, rules=DRAMA)) == ["i5"]
    with pytest.raises(DataError, match="not a declared field; declared: genre"):
        world.service.popular("shop", 3, rules=Rules(Exists("year")))


def test_an_outage_leaves_the_catalogue_as_it_was_known_last(world):
    world.online.put_fields("shop", FIELDS)
    world.online.put_items("shop", {"i1": {"genre": "drama"}})
    world.online.delete_items("shop", ["i2"])
    lists = [lambda rules: world.service.popular("shop", 8, rules=rules)]
    lists.append(lambda rules: world.service.similar("shop", "i3", 8, rules=rules))
    before = [items(ask(rules)) for ask in lists for rules in (None, DRAMA)]
    world.online.down = True
    for n, ask in enumerate(lists):
        for m, rules in enumerate((None, DRAMA)):
            found = ask(rules)
            assert found.degraded
            assert items(found) == before[2 * n + m]
    cold = RecommendationService(world.loader, world.online)
    assert cold.popular("shop", 3).degraded
    with pytest.raises(StorageError):
        cold.popular("shop", 3, rules=DRAMA)
    world.online.down = False
    assert items(cold.popular("shop", 8, rules=DRAMA)) == ["i1"]
    assert not cold.popular("shop", 3).degraded


def test_like_an_item_that_no_model_knows_yet_are_popular_ones(world):
    world.online.put_fields("shop", FIELDS)
    world.online.put_items("shop", {"new": {"genre": "drama"}, "newer": {}, "i3": {"genre": "drama"}})
    popular, found = world.service.popular("shop", 20), world.service.similar("shop", "new", 20)
    assert (found.strategy, found.degraded) == ("popular", False)
    assert items(popular) == [*(f"i{n}" for n in reversed(range(8))), "newer", "new"]
    assert items(found) == [one for one in items(popular) if one != "new"]
    assert items(world.service.similar("shop", "new", 20, rules=DRAMA)) == ["i3"]
    world.online.down = True
    degraded = world.service.similar("shop", "new", 3)
    assert (items(degraded), degraded.degraded, degraded.tag) == (items(popular)[:3], True, "")
    world.online.down = False
    world.online.delete_items("shop", ["new"])
    for unknown in ("new", "nothing"):
        with pytest.raises(UnknownItemError, match=unknown):
            world.service.similar("shop", unknown, 3)


def test_a_promotion_keeps_the_catalogue(world):
    world.online.put_fields("shop", FIELDS)
    world.online.put_items("shop", {"i3": {"genre": "drama"}, "i9": {"genre": "drama"}})
    world.online.delete_items("shop", ["i6"])
    assert items(world.service.popular("shop", 9, rules=DRAMA)) == ["i3", "i9"]
    publish(world, [[n, 1] for n in range(10)], [0] * 10, range(10), [1, 0], [7])
    assert items(world.service.popular("shop", 9, rules=DRAMA)) == ["i9", "i3"]
    assert items(world.service.popular("shop", 5)) == ["i9", "i8", "i7", "i5", "i4"]


@pytest.mark.parametrize("cloud", ["moto", "ministack"])
def test_two_containers_on_dynamodb_agree_at_once(aws, cloud, tmp_path):
    table = aws(cloud).table()
    with (
        closing(DynamoOnlineStore(table, connect("dynamodb"))) as store,
        closing(DynamoOnlineStore(table, connect("dynamodb"))) as second,
    ):
        world = small(tmp_path, store)
        loader = ModelLoader(world.artifacts, world.registry, refresh_s=0.0)
        services = [world.service, RecommendationService(loader, second)]
        world.service.put_fields("shop", FIELDS)
        for n in range(4):
            writer, reader = services[n % 2], services[1 - n % 2]
            assert f"i{n}" in items(reader.popular("shop", 8))
            writer.delete_item("shop", f"i{n}")
            found = reader.popular("shop", 8), reader.recommend("shop", "u", 8), reader.similar("shop", "i6", 8)
            assert not any(f"i{n}" in items(one) for one in found)
            with pytest.raises(UnknownItemError):
                reader.similar("shop", f"i{n}", 3)
            writer.put_item("shop", f"i{n}", {"genre": "drama"})
            writer.put_item("shop", f"x{n}", {"genre": "drama"})
            found = items(reader.recommend("shop", "u", 20, rules=DRAMA))
            assert found == [f"i{m}" for m in range(n, -1, -1)] + [f"x{m}" for m in range(n, -1, -1)]


def test_what_rules_come_to_is_kept_up_to_so_many_bytes_however_long_they_are(world, monkeypatch):
    monkeypatch.setattr(view, "_KEPT_BYTES", bound := 100_000)
    world.service.put_fields("shop", {"genre": "keyword"})
    whens = [OneOf("genre", tuple(f"{n} {m} {'x' * 200}" for m in range(100))) for n in range(40)]
    for n in range(40):
        boosts = tuple(Boost(one, 2.0 + n) for one in whens[:n:7])
        world.service.popular("shop", 3, rules=Rules(whens[n], boosts))
        (seen,) = world.service._catalogues["shop"]._views.values()
        kept = dict(seen._kept)
        assert sum(len(key) + one.nbytes for key, one in kept.items()) <= bound
        assert kept  # the newest at least


def test_keywords_that_no_item_has_any_more_are_forgotten(world, monkeypatch):
    monkeypatch.setattr(columns, "_UNUSED", 10)
    world.service.put_fields("shop", {"genre": "keyword"})
    world.service.put_item("shop", "i1", {"genre": "drama"})
    for n in range(60):
        world.service.put_item("shop", f"i{2 + n % 3}", {"genre": f"mood {n}"})
        mood = Rules(OneOf("genre", (f"mood {n}", f"mood {n - 1}", f"mood {n - 3}")))
        assert set(items(world.service.popular("shop", 3, rules=mood))) == {
            f"i{2 + at % 3}" for at in (n, max(n - 1, 0))
        }
        assert items(world.service.popular("shop", 3, rules=DRAMA)) == ["i1"]
        assert len(world.service._catalogues["shop"]._table.columns["genre"].codes) <= 19
