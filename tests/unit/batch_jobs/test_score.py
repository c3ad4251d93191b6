"""Lists of all users: equal to what the service answers, cut into parts, made once, found again."""

import json
from contextlib import closing
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pyarrow.parquet as pq
import pytest
from crowd import publish
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from machine import N_USERS, Machine
from world import World

from batch_jobs import score as job
from batch_jobs.console import Screen
from batch_jobs.score import Order, Shard, score
from batch_jobs.stores import Stores
from recsys.artifacts import LocalArtifactStore, LocalModelRegistry
from recsys.errors import ConfigError, ConflictError, DataError
from recsys.models.fitted import FittedFactors
from recsys.serving import MemoryOnlineStore, SQLiteOnlineStore, UserState


@pytest.fixture
def small(monkeypatch):
    """Parts of 60 rows and row groups of 25."""
    monkeypatch.setattr(job, "PART_ROWS", 60)
    monkeypatch.setattr(job, "BLOCK_ROWS", 25)


@pytest.fixture
def stores(tmp_path):
    return of(tmp_path)


def of(folder, online=None):
    return Stores(
        LocalArtifactStore(folder / "a"), LocalModelRegistry(folder / "r"), online or MemoryOnlineStore(), None, None
    )


def order(folder, k=4, **changes):
    return replace(Order(k, {}, folder / "lists", to_store=False, shard=Shard(), threads=1), **changes)


def run(stores, asked):
    return score(stores, "shop", asked, Screen(as_json=True))


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def read(told):
    """Lists by user as (item, score) pairs, and strategies by user."""
    lists, strategies = {}, {}
    for row in pq.read_table(told["folder"]).to_pylist():  # as a reader does that knows nothing of the manifest
        so_far = lists.setdefault(row["user_id"], [])
        so_far.append((row["item_id"], row["score"]))
        assert row["rank"] == len(so_far)
        assert strategies.setdefault(row["user_id"], row["strategy"]) == row["strategy"]
    return lists, strategies


def assert_as_served(stores, told, users, context=None):
    lists, strategies = read(told)
    service = stores.service()
    for user in users:
        answer = service.recommend("shop", user, told["k"], context=context)
        assert lists.pop(user, []) == [(one.item, one.score) for one in answer.items]
        assert strategies.get(user, answer.strategy) == answer.strategy
        assert answer.model_version == told["version"]
    assert lists == {}


@given(
    seed=st.integers(0, 9999),
    users=st.integers(1, 30),
    items=st.integers(1, 25),
    width=st.sampled_from([0, 1, 3, 8, 17]),
    levels=st.sampled_from([None, 0, 1, 2]),
    cold=st.sampled_from([0.0, 0.3, 1.0]),
    k=st.integers(1, 30),
    part_rows=st.integers(1, 200),
    block_rows=st.integers(1, 200),
    threads=st.integers(1, 3),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_list_is_what_the_service_answers(
    tmp_path_factory, seed, users, items, width, levels, cold, k, part_rows, block_rows, threads
):
    folder = tmp_path_factory.mktemp("shop")
    stores = of(folder)
    publish(
        stores.artifacts, stores.registry, stores.online,
        users=users, items=items, width=width, levels=levels, cold=cold, seed=seed,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "PART_ROWS", part_rows)
        patch.setattr(job, "BLOCK_ROWS", block_rows)
        told = run(stores, order(folder, k, threads=threads, to_store=True))
    assert (told["users"], told["complete"]) == (users, True)
    assert_as_served(stores, told, [f"u{n}" for n in range(users)])
    lists, strategies = read(told)
    model = stores.service().models.current("shop")
    for user in lists:
        stored = stores.online.user_list("shop", told["version"], user)
        assert list(zip(model.items.ids(stored.items), stored.scores.tolist(), strict=True)) == lists[user]
        assert stored.strategy == strategies[user]


@pytest.fixture
def machine(tmp_path):
    """A factorization machine of users, items, devices and hours; user u3 has no vector."""
    world, machine = World(tmp_path), Machine()
    factors = machine.export()
    factors.user_vectors[3] = 0
    machine.export = lambda: factors
    world.publish(machine)
    return Stores(world.artifacts, world.registry, world.online, None, None), machine, factors


@pytest.mark.parametrize("context", [{"hour": "5"}, {"hour": "5", "device": "phone"}, {"hour": "5", "country": "at"}])
def test_a_context_counts_as_in_the_service_for_the_unknown_too(machine, tmp_path, small, context):
    stores, _, _ = machine
    told = run(stores, order(tmp_path, 7, context=context))
    assert_as_served(stores, told, [f"u{n}" for n in range(N_USERS)], context)
    assert (told["users_without_vector"], read(told)[1]["u3"]) == (1, "context")


def test_without_a_context_lists_are_those_of_a_notebook(machine, tmp_path, small):
    stores, machine, factors = machine
    screen = Screen(as_json=True)
    told = score(stores, "shop", order(tmp_path, 7), screen)
    lists, strategies = read(told)
    model = FittedFactors()
    model.kind, model.threads = "fm", 1
    model._keep(machine.dataset, factors)
    users = machine.dataset.users.ids()
    for user, expected in zip(users, model.recommend(users, 7).lists(), strict=True):
        assert (lists[user] == expected) == (user != "u3")
    assert strategies["u3"] == "popular"
    assert screen.notes[0].startswith("hour: not given")
    screen = Screen(as_json=True)
    score(stores, "shop", order(tmp_path / "other", 7, context={"hour": "5"}), screen)
    assert screen.notes == []


def test_a_context_the_model_cannot_read_is_refused_before_anything_is_written(machine, tmp_path):
    stores, _, _ = machine
    for context, reason in (({"devise": "tv"}, "no field 'devise'"), ({"age": "old"}, "'old' is no number")):
        with pytest.raises(DataError, match=reason):
            run(stores, order(tmp_path, context=context))
    assert not (tmp_path / "lists").exists()


def test_newer_events_change_nothing(stores, tmp_path, small):
    publish(stores.artifacts, stores.registry, stores.online, users=20, items=15)
    before = files(tmp_path / "lists") if run(stores, order(tmp_path))["complete"] else None
    from recsys.events import InteractionEvent

    stores.online.append_events("shop", [InteractionEvent(f"e{n}", f"u{n}", "é1", 1e9) for n in range(20)])
    run(stores, order(tmp_path / "again"))
    assert files(tmp_path / "again/lists") == before


@given(count=st.integers(1, 9), first=st.permutations(range(9)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
def test_shards_in_any_order_make_what_one_run_makes(stores, tmp_path_factory, small, count, first):
    folder = tmp_path_factory.mktemp("shards")
    if stores.registry.current("shop") is None:
        publish(stores.artifacts, stores.registry, stores.online, users=83, items=15)
    run(stores, order(folder))
    told = [
        run(stores, order(folder / "shards", shard=Shard(index, count), to_store=True))
        for index in first
        if index < count
    ]
    assert told[-1]["complete"]
    assert not any(one["complete"] for one in told[: min(count, 6) - 1])
    assert sum(one["users"] for one in told) == 83
    assert sum(one["parts"] for one in told) == 6
    assert files(folder / "shards/lists") == files(folder / "lists")


def test_shards_made_in_folders_of_their_own_are_put_together_by_one_more_run(stores, tmp_path, small):
    publish(stores.artifacts, stores.registry, stores.online, users=83, items=15)
    whole = run(stores, order(tmp_path))
    union = tmp_path / "union/lists/shop" / whole["version"]
    union.mkdir(parents=True)
    for index in range(3):
        told = run(stores, order(tmp_path / str(index), shard=Shard(index, 3)))
        assert not told["complete"]
        for name, data in files(tmp_path / str(index) / "lists/shop" / whole["version"]).items():
            (union / name).write_bytes(data)
    told = run(stores, order(tmp_path / "union"))
    assert (told["parts_found"], told["complete"]) == (6, True)
    assert files(union) == files(tmp_path / "lists/shop" / whole["version"])


def test_the_manifest_names_every_part_with_its_hash(stores, tmp_path, small):
    publish(stores.artifacts, stores.registry, stores.online, users=83, items=15)
    told = run(stores, order(tmp_path))
    folder = tmp_path / "lists/shop" / told["version"]
    manifest = json.loads((folder / "_manifest.json").read_bytes())
    assert {name: manifest[name] for name in ("namespace", "version", "kind", "k", "context", "users", "rows")} == {
        "namespace": "shop", "version": told["version"], "kind": "als", "k": 4, "context": {}, "users": 83,
        "rows": told["rows"],
    }  # fmt: skip
    assert [one["name"] for one in manifest["parts"]] == sorted(path.name for path in folder.glob("part-*"))
    for one in manifest["parts"]:
        data = (folder / one["name"]).read_bytes()
        assert (one["sha256"], one["bytes"]) == (sha256(data).hexdigest(), len(data))
        assert one["rows"] == pq.read_metadata(folder / one["name"]).num_rows <= 60
        settings_of_part = json.loads(pq.read_metadata(folder / one["name"]).metadata[b"recsys.lists"])
        assert (settings_of_part["version"], settings_of_part["k"]) == (told["version"], 4)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "deleted": lambda path: path.unlink(),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "a bit": flip,
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "another part": lambda path: path.write_bytes(sorted(path.parent.glob("part-*"))[-1].read_bytes()),
    "another hash": lambda path: path.rename(path.with_name("part-00002-0123456789abcdef.parquet")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_part_that_is_not_whole_is_made_again_and_the_others_are_kept(stores, tmp_path, small, damage):
    publish(stores.artifacts, stores.registry, stores.online, users=83, items=15)
    first = run(stores, order(tmp_path))
    whole = files(tmp_path / "lists")
    folder = tmp_path / "lists/shop" / first["version"]
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*")}
    DAMAGES[damage](next(folder.glob("part-00002-*")))
    (folder / ".draft-0123").write_bytes(b"of a run that was killed")
    told = run(stores, order(tmp_path))
    assert (first["parts_found"], told["parts_found"], told["rows"]) == (0, 5, first["rows"])
    assert files(tmp_path / "lists") == whole
    changed = [path.name for path in folder.glob("part-*") if path.stat().st_mtime_ns != kept[path.name]]
    assert all(name.startswith("part-00002-") for name in changed)


def test_other_settings_are_refused_and_another_version_has_a_folder_of_its_own(stores, tmp_path, small):
    publish(stores.artifacts, stores.registry, stores.online, users=20, items=15)
    first = run(stores, order(tmp_path))
    before = files(tmp_path)
    with pytest.raises(ConflictError, match=r"holds other lists: k is 4 there, not 5\. Choose another --output"):
        run(stores, order(tmp_path, 5))
    assert files(tmp_path) == before
    (tmp_path / "lists/shop" / first["version"] / "_settings.json").write_bytes(b"[" * 9999)
    with pytest.raises(ConflictError, match=r"its _settings\.json cannot be read"):
        run(stores, order(tmp_path))
    publish(stores.artifacts, stores.registry, stores.online, users=20, items=15, seed=1)
    second = run(stores, order(tmp_path, 5))
    assert second["folder"] != first["folder"]
    assert second["parts_found"] == 0


def test_parts_of_other_settings_are_not_taken_over(stores, tmp_path, small):
    publish(stores.artifacts, stores.registry, stores.online, users=40, items=15)
    told, other = run(stores, order(tmp_path)), run(stores, order(tmp_path / "other", 3))
    folder = tmp_path / "lists/shop" / told["version"]
    next(folder.glob("part-00001-*")).unlink()
    strange = next((tmp_path / "other/lists/shop" / other["version"]).glob("part-00001-*"))
    strange.rename(folder / strange.name)
    assert run(stores, order(tmp_path))["parts_found"] == told["parts"] - 1
    assert_as_served(stores, told, [f"u{n}" for n in range(40)])
    (folder / "_settings.json").unlink()
    with pytest.raises(ConflictError, match=r"its _settings\.json cannot be read"):
        run(stores, order(tmp_path, 3))


def test_a_run_that_ends_after_the_pointer_moved_says_so(stores, tmp_path, small, monkeypatch):
    publish(stores.artifacts, stores.registry, stores.online, users=20, items=15)
    make, moved = job.ListMaker.make, []

    def and_publish(self, users):
        if not moved:
            moved.append(publish(stores.artifacts, stores.registry, stores.online, users=20, items=15, seed=1))
        return make(self, users)

    monkeypatch.setattr(job.ListMaker, "make", and_publish)
    screen = Screen(as_json=True)
    told = score(stores, "shop", order(tmp_path, to_store=True), screen)
    assert told["version"] != moved[0].version
    assert "no longer in service" in screen.notes[-1]
    assert stores.online.user_list("shop", moved[0].version, "u1") is None


def test_lists_in_the_store_are_complete_after_a_second_run_and_go_with_their_version(tmp_path, small):
    with closing(SQLiteOnlineStore(tmp_path / "o.db")) as online:
        stores = of(tmp_path, online)
        publish(stores.artifacts, stores.registry, online, users=83, items=15, cold=0.2)
        assert online.user_list("shop", run(stores, order(tmp_path))["version"], "u5") is None
        told = run(stores, order(tmp_path, to_store=True))  # every part is there already
        assert told["parts_found"] == told["parts"] == 6
        lists, strategies = read(told)
        items = stores.service().models.current("shop").items
        for user in lists:
            stored = online.user_list("shop", told["version"], user)
            assert list(zip(items.ids(stored.items), stored.scores.tolist(), strict=True)) == lists[user]
            assert stored.strategy == strategies[user]
        assert set(strategies.values()) == {"als", "popular"}
        assert isinstance(online.user_state("shop", told["version"], "u5"), UserState)
        online.drop_version("shop", told["version"])
        assert online.user_list("shop", told["version"], "u5") is None


@pytest.mark.parametrize("text", ["", "1", "4/4", "-1/4", "1/0", "a/b", "1/2/3", "0/4 ", "٠/٤x"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="--shard takes I/N"):
        Shard.parse(text)


def test_shards_are_numbered_from_nothing():
    assert [Shard.parse(text) for text in ("0/1", "3/4")] == [Shard(0, 1), Shard(3, 4)]


def test_the_bar_goes_from_nothing_to_all_users(stores, tmp_path, small, monkeypatch):
    publish(stores.artifacts, stores.registry, stores.online, users=83, items=15)
    steps = []
    screen = Screen(as_json=True)
    monkeypatch.setattr(screen, "bar", lambda title: closing_over(steps))
    score(stores, "shop", order(tmp_path), screen)
    assert steps == sorted(steps)
    assert steps[-1] == (83, 83)
    assert len(set(steps)) > 6
    steps.clear()
    score(stores, "shop", order(tmp_path), screen)
    assert [done for done, _ in steps] == [15, 30, 45, 60, 75, 83]


def closing_over(steps):
    from contextlib import nullcontext

    return nullcontext(lambda done, total: steps.append((done, total)))


def test_numbers_of_lists_are_those_of_float32(stores, tmp_path):
    publish(stores.artifacts, stores.registry, stores.online, users=5, items=9)
    table = pq.read_table(run(stores, order(tmp_path))["folder"])
    assert [str(field.type) for field in table.schema] == ["string", "int16", "string", "float", "string"]
    assert table["score"].to_numpy().dtype == np.float32
    assert table.column_names == ["user_id", "rank", "item_id", "score", "strategy"]
