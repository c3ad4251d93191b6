"""Schemathesis, all its checks, over the document against a running server; a planted bug is found."""

import json
import os
import re
import subprocess
import sys
from copy import deepcopy
from hashlib import sha256

import pytest
from conftest import server_over
from documented import the_document

from recsys.serving.online.keys import ApiKey

CASES = int(os.environ.get("RECSYS_SCHEMATHESIS_CASES", "40"))
"""At least; the judged run has 2,000."""
NUMBERS, GENRES = {"type": "number"}, {"type": "string", "enum": ["Romance", "War"]}
SECRET = "5ec4e7" * 10 + "abcd"
KEY = f"rs_{1:012x}_{SECRET}"
SETTINGS = """
[parameters]
"path.ns" = "shop"
"path.user" = "u132"

[checks]
negative_data_rejection.expected-statuses = ["4xx"]

[[operations]]
include-operation-id = "put_catalogue"
parameters = { "path.ns" = "other" }
"""


def narrowed():
    """Return the document for one shop: no schema knows which fields a catalogue declares or a model takes."""
    found = deepcopy(the_document())
    schemas = found["components"]["schemas"]
    clause = {"type": "object", "additionalProperties": False, "oneOf": schemas["ClauseIn"]["oneOf"]}
    by_field = {"genres": GENRES, "year": NUMBERS, "launched": NUMBERS}
    one = {"type": "object", "additionalProperties": False, "minProperties": 1, "maxProperties": 1}
    several = {name: {"type": "array", "items": told, "minItems": 1} for name, told in by_field.items()}
    ranges = {name: {"$ref": "#/components/schemas/BoundsIn"} for name in ("year", "launched")}
    conditions = {
        "match": one | {"properties": by_field},
        "any": one | {"properties": several},
        "range": one | {"properties": ranges},
        "exists": {"enum": list(by_field)},
    }
    schemas["BoundsIn"]["properties"] = dict.fromkeys(("gt", "gte", "lt", "lte"), NUMBERS)
    schemas["ConditionIn"] = clause | {"properties": conditions}
    sides = {"type": "array", "maxItems": 5, "items": {"$ref": "#/components/schemas/ConditionIn"}}
    schemas["ClauseIn"] = clause | {"properties": conditions | dict.fromkeys(("must", "should", "must_not"), sides)}
    schemas["CapIn"]["properties"]["field"] = {"enum": list(by_field)}
    schemas["FreshnessIn"]["properties"]["field"] = {"enum": ["launched"]}
    schemas["FieldsIn"]["properties"]["fields"]["propertyNames"] |= {"pattern": "^[ -~]{1,64}$"}
    context = {"type": "object", "properties": {"month": {"enum": [1, 12, "3"]}}, "additionalProperties": False}
    for name in ("AskIn", "ScoresIn", "RerankIn"):
        schemas[name]["properties"]["context"] = context
    for told in schemas.values():
        told.get("properties", {}).pop("cursor", None)  # nobody can make one up
    alone = {"name": {"const": "one"}, "share": {"const": 1}, "version": {"const": "current"}}
    schemas["VariantIn"]["properties"] |= alone
    schemas["ExperimentIn"]["properties"]["variants"]["maxItems"] = 1
    schemas["ImpressionIn"]["properties"]["items"]["maxItems"] = 1  # each item once
    genres = {"type": "object", "properties": {"genres": GENRES}, "additionalProperties": False}
    for told in (told for path in found["paths"].values() for told in path.values()):
        told["parameters"] = [one for one in told["parameters"] if one["name"] != "cursor"]
        for one in told["parameters"]:
            one["schema"] = genres if one["name"] == "fields" else one["schema"]
    item = found["paths"]["/v1/{ns}/items/{item}"]["put"]["requestBody"]["content"]["application/json"]
    item["schema"] = {"type": "object", "properties": by_field | {"genres": several["genres"]}}
    return found


def schemathesis(wire, folder, mode, *options, unchecked=()):
    """Run all checks; return status, how many cases there were, and what it wrote.

    What is valid depends on the shop; what the document calls invalid is so everywhere.
    """
    document = narrowed() if mode == "positive" else the_document()
    unchecked = ",".join([*unchecked, *(["positive_data_acceptance"] if mode == "negative" else [])])
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "schemathesis.toml").write_text(SETTINGS)
    url = "http://{}:{}".format(*wire.address)
    command = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", "--url", url, "--mode", mode]
    command += ["--checks", "all", *(["--exclude-checks", unchecked] if unchecked else [])]
    command += ["--header", f"x-api-key: {KEY}", "--request-timeout", "10", "--continue-on-failure", "--no-shrink"]
    command += options
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1800, check=False)
    cases = re.search(r"Test cases:\s+([\d,]+) generated", done.stdout)
    return done.returncode, int(cases[1].replace(",", "")) if cases else 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def shut(bookshop):
    """Let nobody in without a key."""
    everything = ("read", "write", "admin"), ("*",)
    bookshop.online.keys.add(ApiKey(f"{1:012x}", sha256(SECRET.encode()).hexdigest(), *everything))
    return bookshop


def test_no_check_fails(shut, tmp_path):
    few = ("--phases", "fuzzing", "--max-examples", "1", "--seed", "1")
    many, erase = ("--max-examples", str(CASES // 100)), "erase_user"
    with server_over(shut, tmp_path / "server.log") as wire:
        runs = []
        for mode in ("positive", "negative"):
            if CASES < 1000:
                runs.append(schemathesis(wire, tmp_path, mode, *few))
                continue
            runs.append(schemathesis(wire, tmp_path, mode, *many, "--exclude-operation-id", erase))
            # Nobody is unknown: who was erased has what a new user has.
            only = (*many, "--include-operation-id", erase)
            runs.append(schemathesis(wire, tmp_path, mode, *only, unchecked=["use_after_free"]))
    for status, _, told in runs:
        assert status == 0, told
        print(told[told.index("Test cases") :])
    assert sum(cases for _, cases, _ in runs) >= CASES


def test_planted_bugs_are_found(shut, tmp_path):
    planted = "sys.path.insert(0, 'chalice_app')\nfrom chalicelib import requests, wiring\nrequests.MAX_K = 400\n"
    with server_over(shut, tmp_path / "log", planted + "wiring.service().popular = lambda *_, **__: 1 / 0") as wire:
        routes = ("--include-operation-id", "popular", "--include-operation-id", "similar_items")
        status, _, told = schemathesis(wire, tmp_path, "positive", *routes, "--phases", "coverage")
    assert status == 1
    assert {"Server error", "Schema-valid request rejected"} <= set(re.findall(r"ST\d+ (.*?)(?:: \d+)?$", told, re.M))
