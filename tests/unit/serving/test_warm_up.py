"""What is loaded and asked before the first client comes, and what ready says meanwhile."""

import shutil
import threading
from dataclasses import replace

import pytest
from world import World

from recsys.data import Dataset, interactions_from_tuples
from recsys.errors import ArtifactError
from recsys.models import Popularity
from recsys.serving import WarmUp


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def warm_up(world):
    return WarmUp(world.service, world.registry)


def model(items=3):
    pairs = [(f"u{n}", f"i{n % items}", 1.0) for n in range(9)]
    return Popularity().fit(Dataset.from_interactions(interactions_from_tuples(pairs)))


def test_where_nothing_is_published_there_is_nothing_to_wait_for(world, warm_up):
    assert warm_up.ready()
    world.publish(model())
    assert warm_up.ready()
    assert set(world.loader._slots) == {"shop"}


@pytest.mark.parametrize("items", [1, 2, 3, 9])
def test_every_kind_of_list_is_asked_for_of_the_models_own_items(world, warm_up, items, monkeypatch):
    world.publish(model(items))
    asked = []
    for name in ("recommend", "popular", "similar"):
        original = getattr(world.service, name)
        monkeypatch.setattr(
            world.service, name, lambda *a, _name=name, _of=original, **k: (asked.append(_name), _of(*a, **k))[1]
        )
    assert warm_up.ready()
    assert set(asked) == {"recommend", "popular", "similar"}
    once = len(asked)
    assert warm_up.ready()
    assert len(asked) == once


def test_while_one_thread_warms_up_the_others_hear_not_yet(world, warm_up):
    world.publish(model())
    opening, may_open, original = threading.Event(), threading.Event(), world.artifacts.open

    def slow(*arguments, **named):
        opening.set()
        assert may_open.wait(20)
        return original(*arguments, **named)

    world.artifacts.open = slow
    first = []
    thread = threading.Thread(target=lambda: first.append(warm_up.ready()))
    thread.start()
    assert opening.wait(20)
    assert not warm_up.ready()
    may_open.set()
    thread.join()
    assert first == [True]
    assert warm_up.ready()


def test_a_model_that_cannot_be_loaded_is_not_ready_until_it_can(world, warm_up):
    version = world.publish(model()).version
    folder = world.artifacts.root / "shop" / version
    folder.rename(folder.with_name("away"))
    for _ in range(2):
        with pytest.raises(ArtifactError, match="no version"):
            warm_up.ready()
    folder.with_name("away").rename(folder)
    assert warm_up.ready()


def test_a_namespace_that_cannot_be_loaded_does_not_keep_the_others_out_of_service(world, warm_up):
    world.registry.promote(replace(world.publish(model()), namespace="another"), expected=0)
    shutil.rmtree(world.artifacts.root / "another", ignore_errors=True)
    assert warm_up.ready()
    assert world.service.popular("shop", 1).items
    with pytest.raises(ArtifactError):
        world.service.popular("another", 1)
