"""What a training run says of when the items of its model came up."""

from dataclasses import replace

import numpy as np
from nights import EVENTS

from batch_jobs.train import dated_counts_of
from recsys.artifacts.dated_counts import AHEAD_S
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


def test_events_without_times_say_nothing_those_dated_a_little_ahead_are_of_now_and_far_ahead_of_no_time(monkeypatch):
    assert dated_counts_of(replace(EVENTS, timestamp=None), EVENTS.items) is None
    monkeypatch.setattr("batch_jobs.train.time.time", lambda: 1e6)
    ahead = np.full(len(EVENTS), int(1e6 + AHEAD_S))
    found = dated_counts_of(replace(EVENTS, timestamp=ahead), EVENTS.items)
    assert set(found.hours.tolist()) == {1e6 / 3600}
    assert found.counts.sum() == len(EVENTS)
    ahead[1:] += 1
    assert dated_counts_of(replace(EVENTS, timestamp=ahead), EVENTS.items).counts.tolist() == [1]
    ahead[0] += 1
    assert len(dated_counts_of(replace(EVENTS, timestamp=ahead), EVENTS.items).counts) == 0
