"""Schemathesis, all its checks, over the document against a running server; a planted bug is found."""

import json
import os
import re
import subprocess
import sys
from copy import deepcopy

from conftest import server_over
from documented import the_document

CASES = int(os.environ.get("RECSYS_SCHEMATHESIS_CASES", "80"))
"""At least; the judged run has 2,000."""
NUMBERS, GENRES = {"type": "number"}, {"type": "string", "enum": ["Romance", "War"]}
SETTINGS = """
[parameters]
"path.ns" = "shop"
"path.user" = "u132"

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
    schemas["FieldsIn"]["properties"]["fields"]["propertyNames"] = {"pattern": "^[ -~]{1,64}$"}
    context = {"type": "object", "properties": {"month": {"enum": [1, 12, "3"]}}, "additionalProperties": False}
    for name in ("AskIn", "ScoresIn"):
        schemas[name]["properties"]["context"] = context
    genres = {"type": "object", "properties": {"genres": GENRES}, "additionalProperties": False}
    for path in found["paths"].values():
        for parameter in [one for told in path.values() for one in told["parameters"] if one["name"] == "fields"]:
            parameter["schema"] = genres
    item = found["paths"]["/v1/{ns}/items/{item}"]["put"]["requestBody"]["content"]["application/json"]
    item["schema"] = {"type": "object", "properties": by_field | {"genres": several["genres"]}}
    return found


def schemathesis(wire, folder, mode, *options):
    """Run all checks; return status, how many cases there were, and what it wrote.

    What is valid depends on the shop; what the document calls invalid is so everywhere.
    """
    document, unchecked = (narrowed(), ()) if mode == "positive" else (the_document(), ("positive_data_acceptance",))
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "schemathesis.toml").write_text(SETTINGS)
    url = "http://{}:{}".format(*wire.address)
    command = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", "--url", url, "--mode", mode]
    command += [
        "--checks",
        "all",
        "--exclude-checks",
        ",".join(["ignored_auth", *unchecked]),
        "--request-timeout",
        "10",
    ]
    command += ["--continue-on-failure", "--no-shrink", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1800, check=False)
    cases = re.search(r"Test cases:\s+([\d,]+) generated", done.stdout)
    return done.returncode, int(cases[1].replace(",", "")) if cases else 0, done.stdout + done.stderr


def test_no_check_fails(bookshop, tmp_path):
    few = ("--phases", "examples,fuzzing", "--max-examples", "4")
    options = few if CASES < 1000 else ("--max-examples", str(CASES // 50))
    with server_over(bookshop, tmp_path / "server.log") as wire:
        runs = [schemathesis(wire, tmp_path, mode, *options) for mode in ("positive", "negative")]
    for status, _, told in runs:
        assert status == 0, told
        print(told[told.index("Test cases") :])
    assert sum(cases for _, cases, _ in runs) >= CASES


def test_planted_bugs_are_found(bookshop, tmp_path):
    planted = "sys.path.insert(0, 'chalice_app')\nfrom chalicelib import requests, wiring\nrequests.MAX_K = 400\n"
    with server_over(bookshop, tmp_path / "log", planted + "wiring.service().popular = lambda *_, **__: 1 / 0") as wire:
        routes = ("--include-path", "/v1/{ns}/popular", "--include-path", "/v1/{ns}/items/{item}/similar")
        status, _, told = schemathesis(wire, tmp_path, "positive", *routes, "--phases", "coverage")
    assert status == 1
    assert {"Server error", "Schema-valid request rejected"} <= set(re.findall(r"ST\d+ (.*?)(?:: \d+)?$", told, re.M))
