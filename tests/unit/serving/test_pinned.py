"""Versions that a request names: in memory while they are asked for, and no more of them than there must be."""

import pytest
from world import World

from recsys.data import Dataset, interactions_from_tuples
from recsys.errors import NoModelError
from recsys.models import ImplicitALS


@pytest.fixture
def world(tmp_path):
    """Five versions of one namespace; the last is in service."""
    world = World(tmp_path)
    pairs = sorted({(f"u{n}", f"i{n * m % 50}", 1.0) for n in range(50) for m in (1, 3, 7)})
    data = Dataset.from_interactions(interactions_from_tuples(pairs))
    world.versions = [world.publish(ImplicitALS(factors=f, iterations=1).fit(data)).version for f in (2, 3, 4, 5, 6)]
    return world


def test_any_version_of_the_history_is_given_and_the_one_in_service_is_not_loaded_twice(world):
    for version in world.versions:
        assert world.loader.pinned("shop", version).manifest.version == version
    assert world.loader.pinned("shop", world.versions[-1]) is world.loader.current("shop")


def test_those_asked_for_last_stay_and_two_at_most(world):
    first, second, third, fourth, _ = world.versions
    ask = world.loader.pinned
    kept = ask("shop", first), ask("shop", second)
    assert (ask("shop", second), ask("shop", first)) == kept[::-1]
    ask("shop", third)  # in the place of the second
    assert ask("shop", first) is kept[0]
    assert ask("shop", second) is not kept[1]
    ask("shop", fourth)
    assert set(world.loader._slots["shop"].pinned) == {second, fourth}


def test_a_version_that_was_never_in_service_or_was_removed_is_named(world):
    with pytest.raises(NoModelError, match="'20010101T000000-abc' was never in service in namespace 'shop'"):
        world.loader.pinned("shop", "20010101T000000-abc")
    with pytest.raises(NoModelError, match="'nowhere'"):
        world.loader.pinned("nowhere", world.versions[0])
    world.artifacts.remove("shop", world.versions[0])
    with pytest.raises(NoModelError, match=world.versions[0]):
        world.loader.pinned("shop", world.versions[0])


def test_what_comes_into_service_again_is_not_kept_twice(world):
    pinned = world.loader.pinned("shop", world.versions[-2])
    world.registry.rollback("shop", expected=5)
    current = world.loader.current("shop")
    assert current.manifest.version == pinned.manifest.version
    assert world.loader.pinned("shop", world.versions[-2]) is current
    assert not world.loader._slots["shop"].pinned
