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
    """Publish a quick model of the sample, with the catalogue; `other` is there to be changed."""
    events = clean(read_interactions(SAMPLE / "interactions.csv"), weights="binary").interactions
    items = read_table(SAMPLE / "items.csv")
    dataset = Dataset.from_interactions(events).with_features(
        items=items, item_fields=["genres"], context_fields=["month"]
    )
    model = FactorizationMachine(factors=4, iterations=1).fit(dataset)
    with (SAMPLE / "items.csv").open() as rows:
        known = {row.pop("item_id"): row | {"genres": row["genres"].split("|")} for row in csv.DictReader(rows)}
    for namespace in NAMESPACES:
        shop.publish(model, namespace)
        shop.service.put_fields(namespace, FIELDS)
        shop.online.put_items(namespace, known)


def example_request(operation, example):
    """Return method, path, body and headers of an example."""
    path = operation.path.format(**{"ns": "shop", **example.path})
    body = None if example.body is None else json.dumps(example.body)
    return (
        operation.method,
        f"{path}?{example.query}" if example.query else path,
        body,
        {"content-type": "application/json"} if body else {},
    )
