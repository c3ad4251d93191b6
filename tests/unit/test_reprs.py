"""What a notebook shows of a value: its size, not its arrays."""

import numpy as np

from recsys.data import Dataset, Interactions
from recsys.ids import IdMap
from recsys.recommendations import Recommendations

USERS, ITEMS = IdMap.from_ids(["anna", "bo"]), IdMap.from_ids(["tea", "milk", "rice", "oil"])
EVENTS = Interactions(
    USERS, ITEMS, np.array([0, 1], np.int32), np.array([1, 2], np.int32), np.ones(2, np.float32), np.array([0, 86400])
)


def test_maps_and_events():
    assert repr(USERS) == "IdMap(2 ids: 'anna', 'bo')"
    assert repr(ITEMS) == "IdMap(4 ids: 'tea', 'milk', 'rice', ...)"
    assert repr(IdMap.from_ids([])) == "IdMap(0 ids)"
    assert repr(EVENTS) == "Interactions(2 events, 2 users x 4 items, 1970-01-01 to 1970-01-02)"
    assert repr(Dataset.from_interactions(EVENTS)) == "Dataset(2 events, 2 users x 4 items, 1970-01-01 to 1970-01-02)"


def test_lists():
    rows = np.array([[1, 0], [2, -1], [-1, -1], [3, 0]], np.int32)
    lists = Recommendations(rows, np.where(rows < 0, -np.inf, 0.5).astype(np.float32), ITEMS)
    assert repr(lists).splitlines() == [
        "Recommendations(4 lists, k=2)",
        "  milk 0.5, tea 0.5",
        "  rice 0.5",
        "  (empty)",
        "  ...",
    ]
