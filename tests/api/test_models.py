"""Versions over REST: which there are, which is in service, and putting another one there."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from api_client import check_problem, path_of, user_path
from conftest import fitted

from recsys.serving.versions import MOST_LISTED

MODELS, CURRENT, ROLLBACK = "/v1/shop/models", "/v1/shop/models/current", "/v1/shop/models/rollback"


def activate(api, version, body=None):
    return api.request("POST", path_of("v1", "shop", "models", version, "activate"), **sent(body))


def roll_back(api, body=None):
    return api.request("POST", ROLLBACK, **sent(body))


def sent(body):
    return {"headers": {"content-type": "application/json"}, "body": json.dumps(body)} if body is not None else {}


@pytest.fixture
def versions(shop):
    """Three versions by age; the last one is in service."""
    first = shop.registry.current("shop").version
    return [first, *(shop.publish(fitted(seed)).version for seed in (1, 2))]


def test_versions_are_listed_newest_first_and_one_is_in_service(api, shop, versions):
    told = api.get(MODELS).json["models"]
    assert {one["version"] for one in told} == set(versions)
    assert [one["version"] for one in told] == sorted(versions, reverse=True)
    assert [one["version"] for one in told if one["in_service"]] == versions[2:]
    assert {frozenset(one) for one in told} == {frozenset(("version", "kind", "created_at", "metrics", "in_service"))}
    now = api.get(CURRENT).json
    assert (now["version"], now["kind"], now["metrics"], now["in_service"]) == (versions[2], "als", {}, True)
    assert (now["sequence"], now["previous"]) == (3, 2)
    shop.artifacts.remove("shop", versions[0])
    assert len(api.get(MODELS).json["models"]) == 2


def test_the_list_is_bounded(api, shop, model):
    for seed in range(MOST_LISTED + 3):
        shop.publish(fitted(seed, factors=1))
    assert len(api.get(MODELS).json["models"]) == MOST_LISTED


def test_a_version_is_put_into_service_and_taken_back(api, versions):
    answer = activate(api, versions[0])
    assert (answer.status, answer.json["version"], answer.json["sequence"]) == (200, versions[0], 4)
    assert api.get(user_path("u1")).json["model_version"] == versions[0]
    assert activate(api, versions[0], {"expected": 4}).json["sequence"] == 4  # it is there already
    assert roll_back(api, {"expected": 4}).json["version"] == versions[2]
    assert roll_back(api).json["version"] == versions[1]
    assert api.get(user_path("u1")).json["model_version"] == versions[1]


def test_who_expects_another_number_moves_nothing(api, versions):
    for body in ({"expected": 2}, {"expected": 4}):
        check_problem(activate(api, versions[0], body), 409)
        check_problem(roll_back(api, body), 409)
    for body, status in (({"expected": "3"}, 422), ({"expected": 0}, 422), ({"expect": 3}, 422), ([], 400)):
        check_problem(activate(api, versions[0], body), status)
        check_problem(roll_back(api, body), status)
    assert api.get(CURRENT).json["sequence"] == 3


def test_a_version_without_its_users_is_not_put_into_service(api, shop, versions):
    shop.online.drop_version("shop", versions[1])
    assert "recsys publish" in check_problem(activate(api, versions[1]), 409)["detail"]
    assert "recsys rollback" in check_problem(roll_back(api), 409)["detail"]
    shop.artifacts.remove("shop", versions[1])
    assert "no longer stored" in check_problem(roll_back(api), 409)["detail"]
    check_problem(activate(api, versions[1]), 404, "version")
    for unknown in ("20200101T000000Z-00000000", "../x", "é", "x" * 65):
        check_problem(activate(api, unknown), 404, "version")
    assert api.get(CURRENT).json["sequence"] == 3


def test_states_that_go_while_the_pointer_moves_take_it_back(api, shop, versions, monkeypatch):
    from recsys.artifacts import LocalModelRegistry

    promote = LocalModelRegistry.promote

    def promoted(self, manifest, *, expected):
        shop.online.drop_version("shop", manifest.version)
        return promote(self, manifest, expected=expected)

    monkeypatch.setattr(LocalModelRegistry, "promote", promoted)
    check_problem(activate(api, versions[0]), 409)
    now = api.get(CURRENT).json
    assert (now["version"], now["sequence"]) == (versions[2], 5)


def test_of_many_who_move_it_from_one_number_one_does(api, versions):
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: activate(api, versions[n % 2], {"expected": 3}), range(12)))
    assert sorted(one.status for one in answers) == [200] + [409] * 11
    assert api.get(CURRENT).json["sequence"] == 4


def test_where_nothing_is_published_there_are_no_models(api):
    for path in ("/v1/nowhere/models", "/v1/nowhere/models/current"):
        check_problem(api.get(path), 404, "ns")
    for path in ("/v1/nowhere/models/v1/activate", "/v1/nowhere/models/rollback"):
        check_problem(api.request("POST", path), 404, "ns")
    assert roll_back(api).status == 409  # there is no earlier one
