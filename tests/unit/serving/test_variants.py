"""Several versions behind one namespace: everybody gets the list of their own, and nothing is read without need."""

import subprocess
import sys

import pytest
from world import World

from batch_jobs.console import Screen
from batch_jobs.publish import publish
from batch_jobs.stores import Stores
from recsys.data import Dataset, interactions_from_tuples
from recsys.errors import DataError, NoModelError, NotFoundError, StorageError
from recsys.models import ImplicitALS
from recsys.serving import RecommendationService
from recsys.serving.experiments import Experiment
from recsys.serving.paging import Reading
from recsys.serving.rules import Rules

ROWS = [(f"u{n}", f"i{(n * m) % 30}", 1.0) for n in range(40) for m in (1, 2, 3, 5)]
DATA = Dataset.from_interactions(interactions_from_tuples(sorted(set(ROWS))))
USERS = [f"u{n}" for n in range(40)]


def fitted(seed):
    return ImplicitALS(factors=4, iterations=2, seed=seed).fit(DATA)


@pytest.fixture(scope="module")
def models():
    return fitted(0), fitted(1)


@pytest.fixture
def world(tmp_path, models):
    """Give a world that has an old version and a new one in service."""
    world = World(tmp_path)
    world.old, world.new = (world.publish(model).version for model in models)
    return world


def split(old, **more):
    variants = [{"name": "new", "share": 0.5}, {"name": "old", "share": 0.5, "version": old, **more}]
    return {"name": "old or new", "variants": variants}


def variants(world):
    experiment = Experiment.of(world.registry.experiment("shop"))
    return {user: experiment.variant_of("shop", user).name for user in USERS}


def test_everybody_gets_the_list_of_their_variant(world):
    before = {user: world.service.recommend("shop", user, 5) for user in USERS}
    assert {(one.variant, one.model_version) for one in before.values()} == {(None, world.new)}
    document = world.service.put_experiment("shop", split(world.old))
    assert document == world.service.experiment("shop")
    of = variants(world)
    assert set(of.values()) == {"new", "old"}
    elsewhere = RecommendationService(type(world.loader)(world.artifacts, world.registry), world.online)
    for user in USERS:
        found = world.service.recommend("shop", user, 5)
        assert found == elsewhere.recommend("shop", user, 5)
        assert (found.variant, found.model_version) == (of[user], getattr(world, of[user]))
        assert (found.items == before[user].items) == (of[user] == "new")
        scores = world.service.scores("shop", user, [one.item for one in found.items])
        assert (scores.variant, scores.model_version) == (found.variant, found.model_version)
        assert [one.score for one in scores.items] == pytest.approx([one.score for one in found.items], rel=1e-5)
    assert world.service.recommend("shop", None, 5).variant == "new"
    assert world.service.end_experiment("shop")["ended_at"]
    assert {user: world.service.recommend("shop", user, 5) for user in USERS} == before


def test_rules_and_deletions_hold_in_every_variant(world):
    world.service.put_experiment("shop", split(world.old))
    world.service.delete_item("shop", "i3")
    for user in USERS * 2:
        rules = Rules(exclude=("i4",))
        shown = {one.item for one in world.service.recommend("shop", user, 30, rules=rules).items}
        assert not shown & {"i3", "i4"}
        assert "i3" not in {one.item for one in world.service.recommend("shop", user, 30).items}


def test_who_should_have_a_version_that_is_gone_gets_the_one_in_service_and_is_told(world):
    world.service.put_experiment("shop", split(world.old))
    world.artifacts.remove("shop", world.old)
    fresh = RecommendationService(type(world.loader)(world.artifacts, world.registry), world.online)
    of = variants(world)
    for user in USERS:
        found = fresh.recommend("shop", user, 5)
        assert found.model_version == world.new
        assert (found.variant, found.degraded) == (("new", False) if of[user] == "new" else (None, True))


def test_a_version_that_cannot_answer_is_refused(world):
    for version in ("20200101T000000Z-0000", "current "):
        with pytest.raises(DataError, match="never in service") as error:
            world.service.put_experiment("shop", split(version))
        assert error.value.field == "variants[1].version"
    world.online.drop_version("shop", world.old)
    with pytest.raises(DataError, match="no user of version"):
        world.service.put_experiment("shop", split(world.old))
    with pytest.raises(NotFoundError):
        world.service.end_experiment("shop")
    with pytest.raises(NoModelError):
        world.service.put_experiment("nowhere", split(world.old))


def test_publishing_keeps_the_states_that_a_running_experiment_names(world, models):
    stores = Stores(world.artifacts, world.registry, world.online, None, None)
    world.service.put_experiment("shop", split(world.old))
    for n in range(1, 4):
        publish(stores, "shop", world.publish(models[1], n).version, Screen(as_json=True))
    found = {world.service.recommend("shop", user, 5).model_version for user in USERS}
    assert found == {world.old, world.registry.current("shop").version}
    assert world.online.user_state("shop", world.old, "u1") is not None
    world.service.end_experiment("shop")
    publish(stores, "shop", world.publish(models[1], 4).version, Screen(as_json=True))
    assert world.online.user_state("shop", world.old, "u1") is None


def test_a_registry_out_of_reach_leaves_the_experiment_as_it_was(world, monkeypatch):
    world.service.put_experiment("shop", split(world.old))
    before = [world.service.recommend("shop", user, 5) for user in USERS]

    def refused(namespace):
        raise StorageError("no")

    for method in ("current", "experiment"):
        monkeypatch.setattr(world.registry, method, refused)
        found = [world.service.recommend("shop", user, 5) for user in USERS]
        assert [one._replace(degraded=False) for one in found] == before
        assert all(one.degraded for one in found)


def test_explored_lists_obey_the_rules_and_repeat_with_their_request(world):
    exploration = {"kind": "epsilon", "epsilon": 0.5, "pool": 20}
    everyone = {"name": "all", "variants": [{"name": "one", "share": 1, "exploration": exploration}]}
    world.service.put_experiment("shop", everyone)
    world.service.delete_item("shop", "i3")
    rules, explored = Rules(exclude=("i4",)), 0
    for user in USERS:
        plain = [one.item for one in world.service.recommend("shop", user, 20, rules=rules).items]
        found = world.service.recommend("shop", user, 8, rules=rules, request_id=f"r{user}")
        assert found == world.service.recommend("shop", user, 8, rules=rules, request_id=f"r{user}")
        items = [one.item for one in found.items]
        assert len(set(items)) == 8
        assert set(items) <= set(plain)
        assert all(0 < one.propensity <= 1 for one in found.items)
        explored += sum(a != b for a, b in zip(items, plain, strict=False))
    assert 0.3 * 320 < explored < 0.6 * 320


def test_pages_of_an_explored_list_do_not_overlap_and_have_no_tag(world):
    exploration = {"kind": "epsilon", "epsilon": 0.5, "pool": 12}
    everyone = {"name": "all", "variants": [{"name": "one", "share": 1, "exploration": exploration}]}
    plain = {user: {one.item for one in world.service.recommend("shop", user, 30).items} for user in USERS}
    world.service.put_experiment("shop", everyone)
    for user in USERS:
        page, walked = None, []
        while page is not None or not walked:
            reading = Reading(page=page, asked=b"asked", unless=frozenset({"*"}))
            found = world.service.recommend("shop", user, 7, reading=reading, request_id=f"r{len(walked)}")
            assert (found.tag, found.unchanged, found.variant) == ("", False, "one")
            walked, page = walked + [one.item for one in found.items], found.next
        assert len(walked) == len(plain[user])
        assert set(walked) == plain[user]


def test_a_walk_stays_on_its_version_and_says_no_variant_it_is_not_of(world):
    first = {user: world.service.recommend("shop", user, 5) for user in USERS}
    world.service.put_experiment("shop", split(world.old))
    of = variants(world)
    for user, begun in first.items():
        found = world.service.recommend("shop", user, 5, reading=Reading(page=begun.next))
        assert (found.model_version, found.variant) == (world.new, "new" if of[user] == "new" else None)


def test_variants_have_tags_of_their_own(world):
    tags = set()
    for name in "ab":
        world.service.put_experiment("shop", {"name": name, "variants": [{"name": name, "share": 1}]})
        tags.add(world.service.recommend("shop", "u1", 5, reading=Reading(asked=b"asked")).tag)
    assert len(tags) == 2


def test_without_an_experiment_nothing_is_imported_and_the_registry_is_asked_once_a_look(world, monkeypatch):
    asked = []
    of_registry = world.registry.experiment
    monkeypatch.setattr(world.registry, "experiment", lambda one: asked.append(one) or of_registry(one))
    world.loader._refresh_s = 60.0
    for user in USERS:
        world.service.recommend("shop", user, 5, request_id="r")
    assert asked == ["shop"]
    code = (
        "import sys; from pathlib import Path; from recsys.artifacts import *; from recsys.serving import *;"
        f"p = Path({str(world.artifacts.root.parent)!r});"
        "models = ModelLoader(LocalArtifactStore(p / 'artifacts'), LocalModelRegistry(p / 'registry'));"
        "RecommendationService(models, SQLiteOnlineStore(p / 'o.db')).recommend('shop', 'u1', 5, request_id='r');"
        "print([one for one in sys.modules if 'experiment' in one or 'explor' in one or 'impression' in one])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
