"""The shop that the examples of the OpenAPI document are about."""

import csv
import json
from pathlib import Path

from recsys.data import Dataset, clean, read_interactions, read_table
from recsys.models import FactorizationMachine

SAMPLE = Path(__file__).parents[2] / "data" / "sample"


NAMESPACES = ("shop", "moods", "other")
FIELDS = {"genres": "keywords", "year": "number", "launched": "timestamp"}


def publish_bookshop(shop):
    """Publish quick models of the sample, with the catalogue; `other` is there to be changed."""
    events = clean(read_interactions(SAMPLE / "interactions.csv"), weights="binary").interactions
    items = read_table(SAMPLE / "items.csv")
    dataset = Dataset.from_interactions(events).with_features(
        items=items, item_fields=["genres"], context_fields=["month"]
    )
    models = [FactorizationMachine(factors=factors, iterations=1).fit(dataset) for factors in (3, 4)]
    with (SAMPLE / "items.csv").open() as rows:
        known = {row.pop("item_id"): row | {"genres": row["genres"].split("|")} for row in csv.DictReader(rows)}
    for namespace in NAMESPACES:
        for model in models:  # the first is there to go back to
            shop.publish(model, namespace)
        shop.service.put_fields(namespace, FIELDS)
        shop.online.put_items(namespace, known)


def example_request(operation, example, version="", sequence=0):
    """Return method, path, body and headers of an example; those that move the model name the one that is there."""
    path = operation.path.format(**{"ns": "shop", **example.path, **({"version": version} if version else {})})
    body = example.body
    if body is not None and "expected" in body:
        body = {"expected": sequence} if sequence else {}
    headers = {} if body is None else {"content-type": "application/json"}
    target = f"{path}?{example.query}" if example.query else path
    return operation.method, target, None if body is None else json.dumps(body), headers
