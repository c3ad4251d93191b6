"""The OpenAPI document: valid, true of every route and answer, and its examples work."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
from app import app
from bookshop import example_request
from documented import BY_ROUTE, check_answer, responses, the_document
from openapi_spec_validator import OpenAPIV31SpecValidator

from chalicelib.openapi.operations import OPERATIONS
from chalicelib.openapi.parameters import OTHERS

ROOT = Path(__file__).parents[2]
DESIGN = ROOT.parent / "shared" / "API.md"
EXAMPLES = [(one, example) for one in OPERATIONS for example in one.examples]


def documented():
    return {(method.upper(), path) for path, told in the_document()["paths"].items() for method in told}


def schema_errors(schema, value):
    """Validate a value against a schema of the document."""
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    whole["components"] = the_document()["components"]
    return list(jsonschema.Draft202012Validator(whole).iter_errors(value))


def test_it_is_an_openapi_document():
    assert list(OpenAPIV31SpecValidator(the_document()).iter_errors()) == []
    for name, schema in the_document()["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["description"], name


def test_it_has_every_route_of_the_app_and_no_other(api):
    assert documented() == {(method, path) for path, views in api.app.routes.items() for method in views}
    assert len(BY_ROUTE) == len(OPERATIONS)
    names = [told["operationId"] for paths in the_document()["paths"].values() for told in paths.values()]
    assert len(names) == len(set(names))


def test_it_is_served_as_it_is(api):
    answer = api.get("/v1/openapi.json")
    assert answer.status == 200
    assert answer.json == the_document()


@pytest.mark.parametrize(("method", "path"), sorted(documented()))
def test_every_operation_is_complete(method, path):
    told = the_document()["paths"][path][method.lower()]
    assert told["summary"]
    assert {one["name"] for one in told["parameters"] if one["in"] == "path"} == set(re.findall(r"{(\w+)}", path))
    assert bool(told["security"]) == (app.scopes[method, path] is not None)
    statuses = set(map(int, told["responses"]))
    assert len([one for one in statuses if one < 300]) == 1
    if told["security"]:
        assert {401, 403, 429, 503} <= statuses
        assert all(told["responses"][one]["headers"]["Retry-After"] for one in ("429", "503"))
        assert [one for scopes in told["security"] for one in scopes.values()] == [[app.scopes[method, path]]] * 2
    assert (method in ("POST", "PUT")) == ("requestBody" in told)
    if "requestBody" in told:
        assert {413, 415, 422} <= statuses


@pytest.mark.parametrize(("operation", "example"), EXAMPLES)
def test_examples_are_what_the_schemas_say(operation, example):
    told = the_document()["paths"][operation.path][operation.method.lower()]
    shown = told["responses"][str(operation.status)]["content"]["application/json"]
    for one in shown["examples"].values():
        assert schema_errors(shown["schema"], one["value"]) == []
    if example.body is not None:
        content = told["requestBody"]["content"]["application/json"]
        assert schema_errors(content["schema"], example.body) == []
        assert schema_errors(content["schema"], [example.body])


def test_examples_work(bookshop, start_server):
    with start_server(bookshop) as wire:
        for operation, example in EXAMPLES:
            now = wire.get("/v1/shop/models/current").json
            answer = wire.request(*example_request(operation, example, now["version"], now["sequence"]))
            assert answer.status == operation.status, (operation, answer)
            check_answer(operation.method, operation.path, answer)
            content = responses(operation.method, operation.path)[str(answer.status)]["content"]
            if "application/json" in answer.headers["content-type"]:
                assert schema_errors(content["application/json"]["schema"], answer.json) == []


@pytest.mark.parametrize("more", [{"surprise": 1}, {"items": None}, {"degraded": "no"}])
def test_an_answer_that_is_not_as_documented_is_noticed(api, more):
    answer = api.get("/v1/shop/popular")
    spoilt = type(answer)(answer.status, answer.headers, json.dumps(answer.json | more).encode())
    with pytest.raises(ValueError, match=r"unknown field|Expected"):
        check_answer("GET", "/v1/{ns}/popular", spoilt)


def routes_of(table):
    """Return methods and routes of a table whose first column has them."""
    found = set()
    for row in re.findall(r"^\| (.*?) \|", table, re.MULTILINE):
        methods, _, paths = row.partition(" `")
        for path in re.findall(r"`?(/[^`]+)`", f"`{paths}"):
            found |= {(method, path.split("?")[0]) for method in re.findall("[A-Z]{3,}", methods) if "/" in path}
    return found


@pytest.mark.skipif(not DESIGN.exists(), reason="the design is not part of the repository")
def test_the_table_of_the_design_is_true():
    table = routes_of(DESIGN.read_text())
    assert len(table) >= 22
    assert table - documented() == set()


@pytest.mark.skipif(not DESIGN.exists(), reason="the design is not part of the repository")
def test_what_the_design_says_of_bodies_is_true():
    design, schemas = " ".join(DESIGN.read_text().split()), the_document()["components"]["schemas"]
    (added,) = re.findall(r"POST adds ((?:`\w+`(?:, )?)+)", design)
    assert set(re.findall(r"\w+", added)) <= set(schemas["AskIn"]["properties"])
    (of_item, of_list) = re.findall(r"`items: \[{(.*?)}\]`, (.*?)\.", design)[0]
    assert set(re.findall(r"\w+", of_item)) <= set(schemas["ListedOut"]["required"])
    told = {name for name in re.findall(r"`(\w+)`", of_list) if "(" not in name}
    assert told | {"items"} <= set(schemas["ListOut"]["required"])
    least, most, default = map(int, re.findall(r"`k` is (\d+) to (\d+), default (\d+)", design)[0])
    for k in (schemas["AskIn"]["properties"]["k"], OTHERS["k"]["schema"]):
        assert (k["minimum"], k["maximum"], k["default"]) == (least, most, default)
    up_to = dict(re.findall(r"`/v1/{ns}/(\w+)` \| up to (\d+)", design))
    assert schemas["BatchIn"]["properties"]["requests"]["maxItems"] == int(up_to["batch"])
    assert schemas["EventsIn"]["properties"]["events"]["maxItems"] == int(up_to["events"])


def test_the_table_of_the_readme_is_true():
    readme = (ROOT / "README.md").read_text()
    table = readme[readme.index("<!-- routes -->") : readme.index("<!-- /routes -->")]
    assert routes_of(table) == documented()
