"""A store is down: a cold process says so and when to come back, a warm one goes on answering; never 500."""

import os
import shutil
import time
from contextlib import contextmanager

import pytest
from api_client import body_of, check_problem, event, path_of, user_path
from conftest import app_over, fitted, forget_wiring

LISTS = (user_path("u1"), user_path("stranger"), path_of("v1", "shop", "items", "i1", "similar"), "/v1/shop/popular")


def garbage(path):
    path.write_bytes(b"garbage" * 1000)


def a_folder_in_place_of(path):
    path.unlink()
    path.mkdir()


def a_file_in_place_of(folder):
    shutil.rmtree(folder)
    folder.write_bytes(b"")


def database(shop):
    """Return the database file alone, without the log that SQLite keeps beside it while it is open."""
    for extra in ("-wal", "-shm"):
        (shop.folder / f"online.db{extra}").unlink(missing_ok=True)
    return shop.folder / "online.db"


def version_folder(shop):
    return shop.folder / "artifacts" / "shop" / shop.registry.current("shop").version


BREAK_ONLINE = {
    "garbage": lambda shop: garbage(database(shop)),
    "folder": lambda shop: a_folder_in_place_of(database(shop)),
    "another database": lambda shop: database(shop).write_bytes(b"SQLite format 3\0" + b"\xff" * 4080),
}
BREAK_MODEL = {
    "pointer": lambda shop: garbage(shop.folder / "registry" / "shop" / "current.json"),
    "pointer of another kind": lambda shop: (shop.folder / "registry" / "shop" / "current.json").write_text("[1]"),
    "registry": lambda shop: a_file_in_place_of(shop.folder / "registry" / "shop"),
    "version lost": lambda shop: shutil.rmtree(version_folder(shop)),
    "manifest lost": lambda shop: (version_folder(shop) / "manifest.json").unlink(),
    "manifest": lambda shop: garbage(version_folder(shop) / "manifest.json"),
    "array lost": lambda shop: (version_folder(shop) / "item_vectors.npy").unlink(),
    "array": lambda shop: garbage(version_folder(shop) / "item_vectors.npy"),
    "one bit": lambda shop: flip(version_folder(shop) / "item_vectors.npy"),
    "artefacts": lambda shop: a_file_in_place_of(shop.folder / "artifacts" / "shop"),
}


POINTER = ("pointer", "pointer of another kind", "registry")


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("breakage", BREAK_MODEL)
def test_a_cold_process_without_its_model_says_503(shop, breakage):
    shop.online.close()
    BREAK_MODEL[breakage](shop)
    with app_over(shop) as api:
        for _ in range(2):
            for path in LISTS:
                check_problem(api.get(path), 503)
                assert str(shop.folder) in api.line["error"]  # we are told the place, the client is not
            # An event needs to know that the namespace exists, and so the pointer, but no artefact.
            sent = api.post(body_of(event()))
            assert sent.status == (503 if breakage in POINTER else 202), sent
        assert api.get("/health/live").status == 200


@pytest.mark.parametrize("breakage", [one for one in BREAK_MODEL if one not in {"one bit", "array"}])
def test_a_warm_process_that_loses_the_next_model_goes_on_with_the_last(shop, api, breakage):
    before = [api.get(path) for path in LISTS]
    old = version_folder(shop)
    shop.publish(fitted(seed=1))
    keep = shop.folder / "keep"
    old.rename(keep)
    BREAK_MODEL[breakage](shop)
    for path, good in zip(LISTS, before, strict=True):
        answer = api.get(path)
        assert (answer.status, answer.json["degraded"], answer.items) == (200, True, good.items)
    assert api.post(body_of(event())).status == 202


@pytest.mark.parametrize("breakage", BREAK_ONLINE)
def test_without_the_online_store_lists_are_degraded_and_events_refused(shop, breakage, monkeypatch):
    shop.online.close()
    BREAK_ONLINE[breakage](shop)
    with app_over(shop) as api:  # nobody can tell whether there are keys
        check_problem(api.get("/v1/shop/popular"), 503)
    monkeypatch.setenv("RECSYS_AUTH", "open")
    with app_over(shop) as api:
        popular = api.get("/v1/shop/popular")
        for _ in range(2):
            for user in ("u1", "stranger"):
                answer = api.get(user_path(user))
                assert (answer.status, answer.json["degraded"], answer.items) == (200, True, popular.items)
            check_problem(api.post(body_of(event())), 503)
            check_problem(api.get("/health/ready"), 503)
        assert popular.json["degraded"] is True  # nobody knows what was deleted


def test_a_warm_process_whose_database_turns_to_garbage_recovers_with_it(shop, api):
    good = [api.get(path).items for path in LISTS]
    shop.online.close()
    copy = (shop.folder / "online.db").read_bytes()
    for _ in range(2):
        garbage(shop.folder / "online.db")
        for path in LISTS:
            assert api.get(path).status == 200
        assert api.post(body_of(event("lost?", "nobody"))).status in (202, 503)
        (shop.folder / "online.db").write_bytes(copy)
        assert [api.get(path).items for path in LISTS] == good


def test_a_damaged_user_state_costs_that_user_the_personal_list_and_nobody_else(shop, api):
    with shop.online._transaction("damage") as db:
        db.execute("UPDATE users SET state = x'00112233' WHERE user = 'u1'")
    popular = api.get("/v1/shop/popular").items
    answer = api.get(user_path("u1"))
    assert (answer.status, answer.json["degraded"], answer.items) == (200, True, popular)
    assert api.get(user_path("u2")).json["strategy"] == "als"


def test_a_user_state_whose_numbers_changed_is_one_too(shop, api):
    """Of right length, but pointing outside the catalogue: an answer of 500, once."""
    popular = api.get("/v1/shop/popular").items
    with shop.online._transaction("damage") as db:
        [[state]] = db.execute("SELECT state FROM users WHERE namespace = 'shop' AND user = 'u1'").fetchall()
        db.execute("UPDATE users SET state = ? WHERE user = 'u1'", (state[:-8] + b"\xff" * 8,))
    for _ in range(2):
        answer = api.get(user_path("u1"))
        assert (answer.status, answer.json["degraded"], answer.items) == (200, True, popular)
        api.post(body_of(event()))


def test_a_registry_that_cannot_be_read_is_not_ready_and_an_empty_one_is(shop, api):
    assert api.get("/health/ready").status == 200
    shutil.rmtree(shop.folder / "registry")
    assert api.get("/health/ready").status == 200
    (shop.folder / "registry").write_bytes(b"")
    check_problem(api.get("/health/ready"), 503)


@contextmanager
def unreadable(folder):
    folder.chmod(0)
    yield
    folder.chmod(0o755)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
@pytest.mark.parametrize("part", ["registry", "artifacts", "."])
def test_unreadable_folders_are_503(shop, part):
    shop.online.close()
    with unreadable(shop.folder / part), app_over(shop) as api:
        check_problem(api.get("/v1/shop/popular"), 503)


def test_settings_that_cannot_be_used_are_no_fault_of_the_client(shop, api, monkeypatch):
    from chalicelib import wiring

    wiring.stores().online.close()
    forget_wiring()
    monkeypatch.setenv("RECSYS_ARTIFACTS", "s3://bucket")
    answer = check_problem(api.get("/v1/shop/popular"), 503)
    assert "bucket" not in answer["detail"]
    monkeypatch.undo()
    assert wiring.stores().online is not None


def test_the_server_process_survives_outages_too(shop, start_server):
    """Over the wire: cold without a model, then served, then the pointer and the database break under it."""
    pointer = shop.folder / "registry" / "shop" / "current.json"
    good = pointer.read_bytes()
    shop.online.close()
    pointer.write_bytes(b"garbage")
    with start_server(shop) as server:
        check_problem(server.get("/v1/shop/popular"), 503)
        check_problem(server.post(body_of(event())), 503)
        pointer.write_bytes(good)
        expected = server.get(user_path("u1"))
        assert expected.json["strategy"] == "als"
        pointer.write_bytes(b"garbage")
        time.sleep(1.1)
        answer = server.get(user_path("u1"))
        assert (answer.status, answer.json["degraded"], answer.items) == (200, True, expected.items)
        garbage(database(shop))
        for _ in range(20):
            assert server.get(user_path("u2")).status == 200
            assert server.post(body_of(event())).status in (202, 503)


def test_error_logs_fill_no_pipe(shop, start_server):
    """Nobody reads the server's standard output after its first line: a full pipe would stop it."""
    shop.online.close()
    garbage(database(shop))
    with start_server(shop) as server:
        for _ in range(1000):
            check_problem(server.get("/health/ready"), 503)
