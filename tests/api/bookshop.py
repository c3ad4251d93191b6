"""The shop that the examples of the OpenAPI document are about."""

import csv
import json
from pathlib import Path

from recsys.data import Dataset, clean, read_interactions, read_table
from recsys.models import FactorizationMachine, ImplicitALS

SAMPLE = Path(__file__).parents[2] / "data" / "sample"


def publish_bookshop(shop):
    """Publish quick models of the sample, with the catalogue, as the README does."""
    events = clean(read_interactions(SAMPLE / "interactions.csv"), weights="binary").interactions
    dataset = Dataset.from_interactions(events)
    items = read_table(SAMPLE / "items.csv")
    moods = dataset.with_features(items=items, item_fields=["genres"], context_fields=["month"])
    shop.publish(ImplicitALS(factors=8, iterations=2).fit(dataset))
    shop.publish(FactorizationMachine(factors=4, iterations=1).fit(moods), "moods")
    with (SAMPLE / "items.csv").open() as rows:
        known = {row.pop("item_id"): row | {"genres": row["genres"].split("|")} for row in csv.DictReader(rows)}
    for namespace in ("shop", "moods"):
        shop.service.put_fields(namespace, {"genres": "keywords", "year": "number", "launched": "timestamp"})
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
