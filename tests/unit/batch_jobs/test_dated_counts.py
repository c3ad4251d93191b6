"""What a training run says of when the items of its model came up."""

from dataclasses import replace

import numpy as np
from nights import EVENTS

from batch_jobs.train import dated_counts_of
from recsys.ids import IdMap


def test_dated_counts_are_of_all_events_of_the_items_of_the_model_by_its_rows():
    items = IdMap.from_ids([*EVENTS.items.ids()[60:0:-1], "nobody's"])
    found = dated_counts_of(EVENTS, items)
    rows = items.encode(EVENTS.items.ids())[EVENTS.item]
    times = EVENTS.timestamp[rows >= 0] / 3600
    counted = np.bincount(found.items, weights=found.counts, minlength=len(items))
    assert counted.tolist() == np.bincount(rows[rows >= 0], minlength=len(items)).tolist()
    assert np.isclose((found.hours * found.counts).sum(), times.sum(), rtol=1e-12)
    assert (found.hours.min() >= times.min(), found.hours.max()) == (True, times.max())


def test_events_without_times_say_nothing_and_those_of_a_later_time_are_of_now(monkeypatch):
    assert dated_counts_of(replace(EVENTS, timestamp=None), EVENTS.items) is None
    monkeypatch.setattr("batch_jobs.train.time.time", lambda: 1e6)
    found = dated_counts_of(EVENTS, EVENTS.items)
    assert set(found.hours.tolist()) == {1e6 / 3600}
    assert found.counts.sum() == len(EVENTS)
