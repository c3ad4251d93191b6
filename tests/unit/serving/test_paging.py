"""A walk through a list: whatever happens between its pages, they are pieces of the list it began with."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import World

from recsys.data import Dataset, interactions_from_tuples
from recsys.errors import PageGoneError, StorageError
from recsys.models import ImplicitALS
from recsys.serving import listing, paging, service
from recsys.serving.filters import OneOf
from recsys.serving.knowledge import Knowledge
from recsys.serving.online import NO_END
from recsys.serving.paging import LONGEST_WALK, Page, Reading
from recsys.serving.rules import Boost, Freshness, Rules

ITEMS, USERS = 40, 12
FIELDS = {"genre": "keyword", "at": "timestamp"}


def described(n):
    return {"genre": "ab"[n % 2], "at": 3000 * n}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two versions of one namespace, and a catalogue with items that neither knows."""
    world = World(tmp_path_factory.mktemp("world"), clock=lambda: 50_000.0)
    chance = Random(5)
    pairs = {(f"u{n}", f"i{chance.randrange(ITEMS)}", 1.0) for n in range(USERS) for _ in range(6)}
    pairs |= {(f"u{n % USERS}", f"i{n}", 1.0) for n in range(ITEMS)}
    data = Dataset.from_interactions(interactions_from_tuples(sorted(pairs)))
    world.versions = [world.publish(ImplicitALS(factors=f, iterations=2).fit(data)) for f in (3, 4)]
    world.online.put_fields("shop", FIELDS)
    world.online.put_items("shop", {f"i{n}": described(n) for n in range(ITEMS)})
    world.online.put_items("shop", {f"n{n}": described(n) for n in range(5)})
    return world


def promote(world, number):
    now = world.registry.current("shop")
    world.registry.promote(world.versions[number], expected=now.sequence)


WAYS = {
    "plain": lambda service, k, reading, user: service.recommend("shop", user, k, reading=reading),
    "popular": lambda service, k, reading, user: service.popular("shop", k, reading=reading),
    "similar": lambda service, k, reading, user: service.similar("shop", "i3", k, reading=reading),
    "filtered": lambda service, k, reading, user: service.recommend(
        "shop", user, k, rules=Rules(OneOf("genre", ("a",))), reading=reading
    ),
    "boosted": lambda service, k, reading, user: service.recommend(
        "shop",
        user,
        k,
        rules=Rules(boost=(Boost(OneOf("genre", ("b",)), 2.0),), freshness=Freshness("at", 5000.0)),
        reading=reading,
    ),
}


def between(world, chance, user, removed):
    """Something that happens between two pages."""
    known = [f"i{n}" for n in range(ITEMS) if n != 3]
    kind = chance.choice(["event", "event", "delete", "put", "promote", "time", "nothing"])
    if kind == "event":
        world.send(user, *chance.sample([*known, "n1", "n9"], 3))
    elif kind == "delete":
        some = set(chance.sample([*known, "n0", "n4"], 4)) - removed
        world.online.delete_items("shop", sorted(some))
        removed |= some
    elif kind == "put":
        some = [one for one in removed if one[0] == "i"][:2]
        world.online.put_items("shop", {one: described(int(one[1:])) for one in some})
        removed -= set(some)
    elif kind == "promote":
        promote(world, chance.randrange(2))
    elif kind == "time":
        now_s = chance.uniform(50_000, 90_000)
        world.service.clock = lambda: now_s


def check(world, seed):
    chance = Random(seed)
    way, user, removed, served = WAYS[chance.choice([*WAYS])], f"u{chance.randrange(USERS + 3)}", set(), []
    world.send(user, *chance.sample([f"i{n}" for n in range(ITEMS)], chance.randrange(3)))
    try:
        whole = way(world.service, 100, Reading(), user)
        listed, page = [one.item for one in whole.items], None
        while page is not None or not served:
            k = chance.randint(1, 9)
            found = way(world.service, k, Reading(page=page), user)
            items, page = [one.item for one in found.items], found.next
            left = [one for one in listed if one not in removed and one not in served]
            assert items == left[:k], (seed, way, user)
            assert (found.model_version, page is None) == (whole.model_version, len(left) <= k)
            served += items
            between(world, chance, user, removed)
    finally:
        world.online.put_items("shop", {one: described(int(one[1:])) for one in sorted(removed)})
        world.online._events.clear()  # or soon everybody would have everything


def test_pages_are_pieces_of_the_list_the_walk_began_with(world):
    @given(st.integers(0, 2**40))
    @settings(deadline=None)
    def pieces(seed):
        check(world, seed)

    pieces()


def unpinned_events(monkeypatch):
    of = Knowledge.of
    monkeypatch.setattr(Knowledge, "of", lambda *known: of(*known[:4], NO_END))
    monkeypatch.setattr(service, "check_same", lambda page, known: None)


PLANTED = {
    "events that came later count": unpinned_events,
    "what was served comes again": lambda patch: patch.setattr(listing, "_open", lambda shown, model, page: shown),
    "what was served comes again under rules": lambda patch: patch.setattr(
        listing, "_under_rules", lambda *a, under=listing._under_rules: under(*a[:-1], a[-1]._replace(rows=()))
    ),
    "new items come again": lambda patch: patch.setattr(Page, "then", lambda self, found: then(self, found, items=())),
    "the version in service answers": lambda patch: patch.setattr(
        service.ModelLoader, "pinned", lambda self, namespace, version: self.current(namespace)
    ),
    "time goes on": lambda patch: patch.setattr(Page, "then", lambda self, found: then(self, found, now_s=99_000.0)),
}
after = Page.then


def then(page, found, **bug):
    found = after(page, found)
    return found and found._replace(**bug)


@pytest.mark.parametrize("bug", PLANTED)
def test_the_check_above_catches_a_planted_bug(world, monkeypatch, bug):
    PLANTED[bug](monkeypatch)
    with pytest.raises(AssertionError):  # noqa: PT012
        for seed in range(300):
            check(world, seed)


def test_a_walk_ends_after_a_thousand_items_or_when_names_take_too_much_room():
    page = Page("v", 0.0, 0, bytes(8), bytes(16))
    rows = [(n, None) for n in range(LONGEST_WALK)]
    assert page.then(rows[:-1]).left == 1
    assert page.then(rows) is None
    names = [(-1, listing.RankedItem("😀" * 256, 0.0, "new"))] * 4
    assert page.then(names[:2]).items
    assert page.then(names) is None


def test_a_walk_goes_on_as_it_began_when_the_store_is_out_of_reach_and_when_it_is_back(world, monkeypatch):
    def refuse(*_, **__):
        raise StorageError("out of reach")

    user = "u1"
    began = world.service.recommend("shop", user, 5)
    with monkeypatch.context() as out:
        out.setattr(world.online, "recent_events", refuse)
        with pytest.raises(StorageError):
            world.service.recommend("shop", user, 5, reading=Reading(page=began.next))
        blind = world.service.recommend("shop", user, 5)
        assert blind.degraded
    popular = [one.item for one in world.service.popular("shop", 10).items]
    second = world.service.recommend("shop", user, 5, reading=Reading(page=blind.next))
    assert [one.item for one in blind.items + second.items] == popular
    assert second.degraded


def test_what_a_walk_went_by_and_is_gone_is_said(world):
    page = world.service.recommend("shop", "u2", 5).next
    for gone in (page._replace(version="20010101T000000Z-aaaaaaaa"), page._replace(known=b"notwhat?")):
        with pytest.raises(PageGoneError, match="gone: start again"):
            world.service.recommend("shop", "u2", 5, reading=Reading(page=gone))
    version = world.registry.current("shop").version
    states = world.online._users.pop(("shop", version))
    try:
        with pytest.raises(PageGoneError):
            world.service.recommend("shop", "u2", 5, reading=Reading(page=page))
        assert world.service.popular("shop", 5, reading=Reading(page=world.service.popular("shop", 5).next)).items
    finally:
        world.online._users["shop", version] = states


def test_what_is_known_has_another_fingerprint_if_anything_of_it_is_another(world):
    model = world.loader.current("shop")
    known = [Knowledge.of(user, "shop", model, world.online) for user in ("u1", "u2", "nobody")]
    world.send("u1", "i1")
    known += [Knowledge.of("u1", "shop", model, world.online), Knowledge.nothing(degraded=True)]
    known += [known[0]._replace(unmodelled=frozenset({"x"})), known[0]._replace(state=None)]
    assert len({paging.fingerprint(one) for one in known}) == len(known)
