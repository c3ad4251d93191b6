"""/health/ready: yes once the models in service have answered; and many first requests at once."""

import shutil
import threading
import time
from contextlib import nullcontext

import pytest
from api_client import check_problem, user_path
from conftest import app_over, forget_wiring

from recsys.artifacts import LocalArtifactStore
from recsys.stores import ServingStores

READY = "/health/ready"


def mapped(process):
    """Artefacts a process has open."""
    with open(f"/proc/{process.pid}/maps") as maps:  # noqa: PTH123 - the kernel's, not a file of ours
        return {line.split("/")[-2] for line in maps if line.rstrip().endswith("item_vectors.npy")}


def test_the_server_loads_what_is_in_service_before_anybody_asks(shop, start_server):
    versions = {shop.registry.current(namespace).version for namespace in ("shop", "films")}
    with start_server(shop) as server:
        for _ in range(200):
            if mapped(server.process) == versions:
                break
            time.sleep(0.05)
        assert mapped(server.process) == versions
        while server.get(READY).status != 200:
            time.sleep(0.05)
        assert server.get(user_path("u1")).json["strategy"] == "als"


def test_ready_is_what_loads_the_models_where_there_is_no_such_server(api):
    from chalicelib import wiring

    assert not wiring.service().models._slots
    assert api.get(READY).status == 200
    assert all(slot.model for slot in wiring.service().models._slots.values())
    assert set(wiring.service().models._slots) == {"shop", "films"}


def test_until_they_are_loaded_the_answer_is_503(api, monkeypatch):
    opening, may_open, original = threading.Event(), threading.Event(), LocalArtifactStore.open

    def slow(*arguments, **named):
        opening.set()
        assert may_open.wait(20)
        return original(*arguments, **named)

    monkeypatch.setattr(LocalArtifactStore, "open", slow)
    first = []
    thread = threading.Thread(target=lambda: first.append(api.get(READY).status))
    thread.start()
    assert opening.wait(20)
    assert "loaded" in check_problem(api.get(READY), 503)["detail"]
    assert api.get("/health/live").status == 200
    may_open.set()
    thread.join()
    assert first == [200]
    assert api.get(READY).status == 200


def test_artefacts_that_are_lost_are_503_until_they_are_back(shop):
    (shop.folder / "artifacts").rename(shop.folder / "away")
    with app_over(shop) as api:
        check_problem(api.get(READY), 503)
        (shop.folder / "away").rename(shop.folder / "artifacts")
        assert api.get(READY).status == 200


def test_one_tenants_lost_artefact_keeps_nobody_else_waiting(shop):
    shutil.rmtree(shop.folder / "artifacts" / "films")
    with app_over(shop) as api:
        assert api.get(READY).status == 200
        assert api.get(user_path("u1")).status == 200
        check_problem(api.get("/v1/films/popular"), 503)


def first_requests(api, monkeypatch):
    """Sixteen at once; return how many sets of stores and opened artefacts there were."""
    made, opened, together, answers = [], [], threading.Barrier(16), []
    make, open_one = ServingStores.from_environment, LocalArtifactStore.open
    monkeypatch.setattr(ServingStores, "from_environment", lambda: (made.append(1), time.sleep(0.1), make())[-1])
    monkeypatch.setattr(
        LocalArtifactStore, "open", lambda *a, **k: (opened.append(1), time.sleep(0.1), open_one(*a, **k))[-1]
    )
    forget_wiring()

    def ask():
        together.wait()
        answers.append(api.get(user_path("u1")).items)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [answers[0]] * 16
    return len(made), len(opened)


def test_sixteen_first_requests_make_the_stores_and_load_the_model_once(api, monkeypatch):
    assert first_requests(api, monkeypatch) == (1, 1)


def test_without_the_lock_they_would_do_it_more_often(api, monkeypatch):
    """Planted: the test above would prove nothing if this passed."""
    from chalicelib import wiring

    monkeypatch.setattr(wiring, "_making", nullcontext())
    assert first_requests(api, monkeypatch)[0] > 1
    monkeypatch.setattr("app.service", lambda: wiring.stores().service())  # a service for each request
    assert first_requests(api, monkeypatch)[1] > 1


@pytest.mark.parametrize("published", [True, False])
def test_a_store_that_cannot_be_read_is_not_ready_warm_or_not(shop, published):
    if not published:
        shutil.rmtree(shop.folder / "registry")
    with app_over(shop) as api:
        assert api.get(READY).status == 200
        shutil.rmtree(shop.folder / "registry", ignore_errors=True)
        (shop.folder / "registry").write_bytes(b"")
        check_problem(api.get(READY), 503)
