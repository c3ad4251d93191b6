"""Whatever the queue does: an event is in the model or among the recent ones, never in both, and none is lost."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import records, stored

from batch_jobs import consumer, event_log
from batch_jobs.consumer import take_in
from batch_jobs.event_log import EventLog
from batch_jobs.ingest import _table
from batch_jobs.log_files import LocalLogFiles
from recsys.errors import InsufficientDataError
from recsys.serving import MemoryOnlineStore
from recsys.serving.online import POSITIONS_A_SECOND

SETTLE_S = 60
GAPS = st.sampled_from([0, 1, 59, 60, 61, 500])
STEPS = st.one_of(
    st.tuples(st.just("send"), GAPS, st.integers(1, 3)),
    st.tuples(st.just("deliver"), st.lists(st.integers(0, 9), min_size=1, max_size=5)),
    st.tuples(st.just("file"), st.integers(0, 9)),
    st.tuples(st.just("compact")),
    st.tuples(st.just("cut")),
)
RUNS = st.lists(STEPS, min_size=10, max_size=25)


class Way:
    """Events on their way: in the online store once they are sent, in the log once their message is delivered."""

    def __init__(self, folder):
        self.folder = folder
        self.log = EventLog(LocalLogFiles(folder / "events"))
        self.at_s = 0.0
        self.online, self.messages, self.delivered = {}, [], set()

    def send(self, gap_s, n):
        events = []
        for _ in range(n):
            self.at_s += gap_s + 0.001
            events.append(stored("u", "i", self.at_s, event_id=f"e{len(self.online)}"))
            self.online[events[-1].event.event_id] = events[-1]
        self.messages.append((records("shop", *events), {one.event.event_id for one in events}))

    def deliver(self, numbers):
        """Deliver messages as one batch: in any order, again, or twice at once."""
        batch = [self.messages[n % len(self.messages)] for n in numbers if self.messages]
        assert (
            take_in(self.log.files, MemoryOnlineStore(), [record for message, _ in batch for record in message]) == []
        )
        self.delivered |= {event_id for _, ids in batch for event_id in ids}

    def file(self, number):
        """Take in a file that holds an event which was sent as well; before its message came, nobody could know."""
        if known := sorted(self.delivered)[number:]:
            source = self.folder / known[0]
            source.write_text(known[0])
            self.log.append_file("shop", source, [_table([self.online[known[0]]])])

    def compact(self):
        self.log.compact("shop")

    def cut(self):
        if not self.log.files.names("shop"):
            return
        read = self.log.read("shop", settle_s=SETTLE_S)
        trained, recent = read.events["event_id"].to_pylist(), self.beyond(read.events_through)
        assert len(trained) == len(set(trained)), "counted twice"
        assert not recent & set(trained), "in the model and among the recent ones"
        newest = max((self.online[one].position for one in self.delivered), default=0)
        in_time = self.beyond(newest - SETTLE_S * POSITIONS_A_SECOND - 1)
        neither = self.online.keys() - recent - set(trained)
        assert not neither & self.delivered, "delivered, and in neither"
        assert not neither & in_time, "its message is not late, and it is in neither"

    def beyond(self, position):
        return {name for name, one in self.online.items() if one.position > position}

    def end(self):
        """All messages have arrived; then all events are in the log, once."""
        self.deliver([n for n, (_, ids) in enumerate(self.messages) if not ids & self.delivered])
        self.cut()
        if self.online:
            logged = self.log.read("shop").events["event_id"].to_pylist()
            assert sorted(logged) == sorted(self.online), "lost, or there twice"


def run(steps):
    with TemporaryDirectory() as folder:
        path = Way(Path(folder))
        for name, *arguments in steps:
            getattr(path, name)(*arguments)
        path.end()


@given(RUNS)
def test_every_event_is_in_the_model_or_recent_and_none_is_lost(steps):
    run(steps)


def forgetting(self, namespace, tables):
    self.files.remove(namespace, list(tables)[1:])
    _pack(self, namespace, {name: tables[name] for name in list(tables)[:1]})


_pack, _read, _through = EventLog._pack, EventLog.read, event_log.through


def positions_alone(events, position):
    kept = [at is None or at <= position for at in events["position"].to_pylist()]
    return events.filter(kept)


ONE, CUT = ("send", 1, 1), ("cut",)
PLANTED = {
    "nothing settles": (
        (EventLog, "read", lambda self, namespace, settle_s=0: _read(self, namespace)),
        [ONE, ONE, ("deliver", [1]), CUT],
    ),
    "what has not settled is learned": (
        (event_log, "through", lambda events, position: events),
        [ONE, ("deliver", [0]), CUT],
    ),
    "by position, not by event": (
        (event_log, "through", positions_alone),
        [ONE, ("deliver", [0]), ("file", 0), CUT],
    ),
    "one second late": (
        (event_log, "through", lambda events, at: _through(events, at + POSITIONS_A_SECOND)),
        [ONE, ("send", 59, 1), ("deliver", [0, 1]), CUT],
    ),
    "repeats count": (
        (event_log, "without_repeats", lambda events: events),
        [ONE, ONE, ("deliver", [0]), ("deliver", [0, 1])],
    ),
    "compaction forgets": (
        (EventLog, "_pack", forgetting),
        [ONE, ONE, ("deliver", [0]), ("deliver", [1]), ("compact",)],
    ),
    "acknowledged before it is added": ((consumer, "_add", lambda *_: None), [ONE, ("deliver", [0])]),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_planted_bugs_are_found(planted, monkeypatch):
    bug, steps = PLANTED[planted]
    run(steps)
    monkeypatch.setattr(*bug)
    with pytest.raises((AssertionError, InsufficientDataError)):
        run(steps)
