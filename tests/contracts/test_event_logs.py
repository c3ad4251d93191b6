"""The promises of an event log, for every place its files may lie in."""

import csv

import pyarrow as pa
import pytest
from clouds import CLOUDS
from hypothesis import given
from hypothesis import strategies as st
from messages import NOON_S, records, shown_records, stored

from batch_jobs.config import IngestConfig
from batch_jobs.consumer import take_in
from batch_jobs.event_log import EventLog
from batch_jobs.ingest import _table
from batch_jobs.log_files import LocalLogFiles, log_files
from batch_jobs.log_tables import IMPRESSION_SCHEMA, LOG_SCHEMA, impressions_table
from recsys.aws import objects
from recsys.aws.client import BotoClient
from recsys.aws.log_files import S3LogFiles
from recsys.data.events_table import EVENT_SCHEMA
from recsys.data.sources import Rejected, read_events
from recsys.errors import ConfigError, DataError, InsufficientDataError, NotFoundError, StorageError
from recsys.impressions import ImpressionEvent, Shown
from recsys.serving import MemoryOnlineStore
from recsys.serving.online import POSITIONS_A_SECOND
from recsys.serving.online.erasures import Erasure, digest_of

NUMBERS = pa.schema([pa.field("ts", pa.int64()) if one.name == "ts" else one for one in IMPRESSION_SCHEMA][:-1])


@pytest.fixture(params=["local", *CLOUDS])
def log(request, tmp_path, monkeypatch):
    if request.param == "local":
        return EventLog(LocalLogFiles(tmp_path / "events"))
    aws = request.getfixturevalue("aws")(request.param)
    monkeypatch.setenv("RECSYS_EVENTS", f"s3://{aws.bucket()}/some/events")
    return EventLog(log_files())


def items(log, **how):
    return log.read("shop", **how).events["item_id"].to_pylist()


def append(log, path, rows):
    with path.open("w") as file:
        csv.writer(file).writerows([("user_id", "item_id", "event_id"), *rows])
    return log.append_file("shop", path, read_events(path, IngestConfig().spec(), Rejected("raise"), lambda _: None))


def test_an_empty_log_says_so(log):
    assert log.online_position("shop") == 0
    assert log.compact("shop") == 0
    with pytest.raises(InsufficientDataError, match="recsys ingest"):
        log.read("shop")


def test_a_file_is_taken_in_once_whatever_it_is_called(log, tmp_path):
    assert append(log, tmp_path / "a.csv", [("u", "i1", ""), ("u", "i2", "")]) == 2
    assert append(log, tmp_path / "b.csv", [("u", "i1", ""), ("u", "i2", "")]) is None
    assert append(log, tmp_path / "c.csv", [("u", "i3", "")]) == 1
    assert sorted(items(log)) == ["i1", "i2", "i3"]


def test_a_broken_source_adds_nothing(log, tmp_path):
    def breaking():
        yield _table([stored("u", "i")])
        raise DataError("broken")

    (tmp_path / "a").write_text("a")
    with pytest.raises(DataError, match="broken"):
        log.append_file("shop", tmp_path / "a", breaking())
    assert log.append_file("shop", tmp_path / "a", [EVENT_SCHEMA.empty_table()]) == 0
    assert log.files.names("shop") == []


def test_one_content_added_on_two_days_counts_once(log, tmp_path):
    """Two processes at once cannot see each other where there is no lock; of a file without ids no event would tell."""
    append(log, tmp_path / "a.csv", [("u", "i1", "")])
    [name] = log.files.names("shop")
    with log.files.open("shop", name) as file:
        content = file.read()
    with log.locked("shop"):
        log.files.create("shop", f"dt=2001-01-01/{name.partition('/')[2]}", lambda file: file.write(content))
    assert len(log.files.names("shop")) == 2
    assert items(log) == ["i1"]


def test_what_is_there_is_never_overwritten(log):
    with log.locked("shop"):
        log.files.create("shop", "dt=2001-01-01/a.parquet", lambda file: file.write(b"first"))
        log.files.create("shop", "dt=2001-01-01/a.parquet", lambda file: file.write(b"second"))
    with log.files.open("shop", "dt=2001-01-01/a.parquet") as file:
        assert file.read() == b"first"


def test_drained_events_carry_their_position_in_the_name(log):
    log.append_online("shop", 1, 7, _table([stored("u", "i1")]))
    log.append_online("shop", 8, 9, _table([stored("u", "i2")]))
    assert log.online_position("shop") == 9
    assert log.read("shop", settle_s=60).events_through == 9
    assert items(log) == ["i1", "i2"]


def test_messages_of_the_queue_count_once_however_they_come(log):
    a, b, c = (stored("u", f"i{n}", n) for n in range(3))
    first, second = records("shop", a, b), records("shop", c, b)
    for batch in (first, second, first, [*second, *first], [*first, *second]):
        assert take_in(log.files, MemoryOnlineStore(), batch) == []
    assert sorted(items(log)) == ["i0", "i1", "i2"]
    assert len(log.files.names("shop")) == 3
    assert log.read("shop").events_through == c.position


def test_namespaces_stay_apart(log):
    assert (
        take_in(
            log.files, MemoryOnlineStore(), [*records("shop", stored("u", "i")), *records("other", stored("u", "j"))]
        )
        == []
    )
    assert items(log) == ["i"]
    assert log.read("other").events["item_id"].to_pylist() == ["j"]
    assert log.files.namespaces() == ["other", "shop"]
    with pytest.raises(ConfigError):
        log.read("../shop")


def test_compaction_leaves_the_events_and_one_file_a_day(log):
    days = ("dt=2001-01-01", "dt=2001-01-02")
    for n, day in enumerate(days * 2):
        take_in(log.files, MemoryOnlineStore(), records("shop", stored("u", f"i{n}", n)))
        _move(log, log.files.names("shop")[-1], day)
    before = log.read("shop")
    assert log.compact("shop") == 4
    assert [name.partition("/")[0] for name in log.files.names("shop")] == list(days)
    after = log.read("shop")
    assert sorted(after.events.to_pylist(), key=str) == sorted(before.events.to_pylist(), key=str)
    assert (after.events_through, before.files != after.files) == (before.events_through, True)
    assert log.compact("shop") == 0


def _move(log, name, day):
    with log.files.open("shop", name) as file:
        content = file.read()
    with log.locked("shop"):
        log.files.create("shop", f"{day}/{name.partition('/')[2]}", lambda file: file.write(content))
        log.files.remove("shop", [name])


def test_compaction_ended_in_between_counts_nothing_twice_and_the_next_ends_it(log, monkeypatch):
    take_in(log.files, MemoryOnlineStore(), records("shop", stored("u", "i1")))
    take_in(log.files, MemoryOnlineStore(), records("shop", stored("u", "i2")))
    with monkeypatch.context() as cut:
        cut.setattr(log.files, "remove", lambda *_: None)
        log.compact("shop")
    assert len(log.files.names("shop")) == 3
    assert (sorted(items(log)), log.read("shop").repeated) == (["i1", "i2"], 2)
    assert log.compact("shop") == 3
    assert (sorted(items(log)), len(log.files.names("shop"))) == (["i1", "i2"], 1)


def while_it_reads(log, monkeypatch, work):
    """Run `work` once, between the first listing and what is read after it."""
    listed, pending = log.files.names, [work]

    def names(namespace):
        found = listed(namespace)
        if pending:
            pending.pop()()
        return found

    monkeypatch.setattr(log.files, "names", names)


def test_a_compaction_between_listing_and_reading_hides_nothing(log, monkeypatch):
    for n in range(3):
        take_in(log.files, MemoryOnlineStore(), records("shop", stored("u", f"i{n}", n)))
    while_it_reads(log, monkeypatch, lambda: EventLog(log.files).compact("shop"))
    assert items(log) == ["i0", "i1", "i2"]
    assert len(log.files.names("shop")) == 1


def test_a_reader_that_leaves_out_what_vanished_would_be_found(log, monkeypatch):
    """The planted bug of the test above: it reads on where it should list again."""
    original = log._table

    def skipping(namespace, name):
        try:
            return original(namespace, name)
        except NotFoundError:
            return LOG_SCHEMA.empty_table()

    monkeypatch.setattr(log, "_table", skipping)
    with pytest.raises(AssertionError):
        test_a_compaction_between_listing_and_reading_hides_nothing(log, monkeypatch)


def test_two_compactions_at_once_lose_nothing(log, monkeypatch):
    if isinstance(log.files, LocalLogFiles):
        pytest.skip("the lock keeps them apart")
    for n in range(3):
        take_in(log.files, MemoryOnlineStore(), records("shop", stored("u", f"i{n}", n)))

    def beside():
        take_in(log.files, MemoryOnlineStore(), records("shop", stored("u", "i3", 3)))
        assert EventLog(log.files).compact("shop") == 4

    while_it_reads(log, monkeypatch, beside)
    assert log.compact("shop") == 0
    assert items(log) == ["i0", "i1", "i2", "i3"]


def test_files_that_vanish_for_ever_end_in_an_error(log, monkeypatch):
    monkeypatch.setattr(log.files, "names", lambda namespace: ["dt=2001-01-01/a.parquet"])
    with pytest.raises(StorageError, match="vanish"):
        log.read("shop")


@pytest.mark.parametrize("compacted", [False, True])
def test_a_damaged_file_is_named(log, monkeypatch, compacted):
    take_in(log.files, MemoryOnlineStore(), records("shop", *(stored("u", f"i{n}", n) for n in range(100))))
    if compacted:
        log.compact("shop")
    [name] = log.files.names("shop")
    with log.files.open("shop", name) as file:
        content = bytearray(file.read())
    content[len(content) // 2] ^= 1
    with log.locked("shop"):
        log.files.remove("shop", [name])
        log.files.create("shop", name, lambda file: file.write(content))
    with pytest.raises(DataError, match=r"ns=shop/dt=.*damaged"):
        log.read("shop")


def test_a_disk_that_fails_is_not_taken_for_a_damaged_file(tmp_path):
    """Nobody should restore a backup for it."""
    log = EventLog(LocalLogFiles(tmp_path))
    (tmp_path / "ns=shop/dt=2001-01-01").mkdir(parents=True)
    (tmp_path / "ns=shop/dt=2001-01-01/queue-a.jsonl").symlink_to("/proc/self/mem")  # whose first byte cannot be read
    with pytest.raises(StorageError, match=r"reading dt=2001-01-01/queue-a.jsonl .* failed: input/output error"):
        log.read("shop")


def test_the_newest_events_settle_before_a_model_learns_of_them(log):
    a, b, c = stored("u", "i0", 0), stored("u", "i60", 60), stored("u", "i61", 61)
    take_in(log.files, MemoryOnlineStore(), records("shop", c))
    take_in(log.files, MemoryOnlineStore(), records("shop", a, b))
    assert sorted(items(log)) == ["i0", "i60", "i61"]
    read = log.read("shop", settle_s=1)
    assert (read.events_through, read.unsettled) == (b.position, 1)
    assert sorted(items(log, settle_s=1)) == ["i0", "i60"]
    assert items(log, settle_s=60) == ["i0"]


def test_an_event_that_is_also_in_a_file_is_not_learned_before_it_settles(log, tmp_path):
    """It is served as recent: a model that had learned of it from the file would have it twice."""
    append(log, tmp_path / "a.csv", [("u", "same", "x"), ("u", "other", "y"), ("u", "without", "")])
    take_in(log.files, MemoryOnlineStore(), records("shop", stored("u", "old"), stored("u", "same", 90, event_id="x")))
    assert sorted(items(log, settle_s=60)) == ["old", "other", "without"]
    assert sorted(items(log)) == ["old", "other", "same", "without"]


def test_other_files_are_another_digest_and_the_same_files_the_same(log):
    digests = []
    for n in range(3):
        take_in(log.files, MemoryOnlineStore(), records("shop", stored("u", f"i{n % 2}", n % 2, event_id=f"x{n % 2}")))
        digests.append(log.read("shop").files)
    assert digests[0] != digests[1] == digests[2]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NUMBER = st.floats(0, 1e30) | st.integers(0, 10**30).map(float) | st.sampled_from([0.0, 5e-324, 1e-40, 1e30])
EVENTS = st.builds(
    stored,
    user=TEXT,
    item=TEXT,
    at_s=st.integers(0, 1000),
    timestamp_s=st.floats(0, 4_102_444_799),
    value=NUMBER,
    event=TEXT,
    event_id=st.uuids().map(str),
    context=st.none() | st.dictionaries(TEXT, TEXT | st.integers(-(10**9), 10**9) | st.booleans() | st.lists(TEXT)),
)


@given(st.lists(EVENTS, min_size=1, max_size=8))
def test_what_comes_through_the_queue_is_what_would_have_been_drained(tmp_path_factory, events):
    log = EventLog(LocalLogFiles(tmp_path_factory.mktemp("log")))
    assert take_in(log.files, MemoryOnlineStore(), records("shop", *events)) == []
    expected = sorted(_table(events).to_pylist(), key=str)
    assert sorted(log.read("shop").events.to_pylist(), key=str) == expected
    log.compact("shop")
    assert sorted(log.read("shop").events.to_pylist(), key=str) == expected


def test_a_listing_of_many_pages_is_read_to_its_end(aws, monkeypatch):
    """S3 lists a thousand at once, and less where it likes: here three."""
    files = S3LogFiles(f"{aws('moto').bucket()}/events", client := BotoClient("s3"))
    for n in range(8):
        take_in(files, MemoryOnlineStore(), records("shop", stored("u", f"i{n}", n)))
    events = client._client.meta.events
    events.register("provide-client-params.s3.ListObjectsV2", lambda params, **_: params | {"MaxKeys": 3})
    assert len(files.names("shop")) == 8
    monkeypatch.setattr(objects, "_AT_ONCE", 3)
    assert EventLog(files).compact("shop") == 8
    assert items(EventLog(files)) == [f"i{n}" for n in range(8)]
    assert len(files.names("shop")) == 1


def impression(number, at_s=0.0):
    shown = tuple(Shown(f"i{n}", None if n else 0.5) for n in range(number + 1))
    return ImpressionEvent(f"e{number}", "ü\n😀", NOON_S + at_s, "r", "v", shown, "a", None)


def test_impressions_are_a_table_beside_the_events_by_either_way(log):
    first, second, third = (impression(n, n / 8) for n in range(3))
    queued = records("shop", stored("u", "i")) + shown_records("shop", first, second)
    assert take_in(log.files, MemoryOnlineStore(), [*queued, *shown_records("shop", second)]) == []
    log.impressions.append_online("shop", 1, 3, impressions_table([third, first]))
    assert items(log) == ["i"]
    for _ in range(2):
        read = log.impressions.read("shop").events
        assert sorted(read["event_id"].to_pylist()) == ["e0", "e1", "e2"]
        rows = [ImpressionEvent.of_row(one) for one in read.cast(NUMBERS).to_pylist()]
        assert sorted(rows, key=lambda one: one.event_id) == [first, second, third]
        log.impressions.compact("shop")
    assert log.impressions.online_position("shop") == 3
    assert log.online_position("shop") == 0
    assert log.files.namespaces() == log.impressions.files.namespaces() == ["shop"]
    assert len(log.impressions.files.names("shop")) == 2


def test_a_late_message_of_an_erased_user_is_dropped_and_what_they_did_since_is_kept(log):
    online = MemoryOnlineStore()
    online.erase_user("shop", "anna", versions=())
    (erasure,) = online.erasures("shop")
    late, since = stored("anna", "i0"), stored("anna", "i1", erasure.at_s - NOON_S + 60)
    assert take_in(log.files, online, records("shop", late)) == []
    assert log.files.names("shop") == []
    assert take_in(log.files, online, records("shop", late, since, stored("bo", "i2"))) == []
    assert sorted(items(log)) == ["i1", "i2"]


def fill(log, folder):
    """Put what anna and bo did, a minute before an erasure and a minute after, into files of every kind."""
    append(log, folder / "a.csv", [("anna", "undated", ""), ("bo", "b-undated", "")])
    before, after = (_table([stored("anna", f"{at}", at), stored("bo", f"b{at}", at)]) for at in (0, 120))
    log.append_online("shop", 1, 7, after)  # all of it read before the erasure, whatever it says of its time
    log.append_online("shop", 8, PLACE + 1, pa.concat_tables([before, after]))
    for at in (0, 120):
        take_in(log.files, MemoryOnlineStore(), records("shop", stored("anna", f"q{at}", at), stored("bo", f"bq{at}")))


PLACE = round((NOON_S + 60) * POSITIONS_A_SECOND)
ERASED = [Erasure(1, digest_of("shop", "anna"), PLACE, NOON_S + 60)]
OTHERS = ["b-undated", "b0", "b120", "bq0", "bq120"]


@pytest.mark.parametrize("compacted", [False, True])
def test_what_is_older_than_an_erasure_leaves_the_files_and_nothing_else_does(log, tmp_path, compacted):
    fill(log, tmp_path)
    if compacted:
        log.compact("shop")
    names, before = log.files.names("shop"), items(log)
    assert log.erase("shop", []) == log.erase("other", ERASED) == 0
    assert log.erase("shop", [Erasure(1, digest_of("shop", "nobody"), PLACE, NOON_S + 60)]) == 0
    assert (log.files.names("shop"), items(log)) == (names, before)
    left = sorted(items(log, erasures=ERASED))
    assert left == ["120", *OTHERS, "q120"]
    assert log.erase("shop", ERASED) == 3 + compacted
    assert log.files.names("shop") == names
    assert sorted(items(log)) == (left if compacted else [*left[:-1], "q0", "q120"])  # `compact` sees to the queue's
    assert log.erase("shop", ERASED) == 0


def test_what_arrives_in_a_file_on_the_day_of_an_erasure_is_older_whatever_time_it_tells(log, tmp_path):
    for day, item in (("dt=2023-11-14", "that day"), ("dt=2023-11-15", "the day after")):
        (tmp_path / item).write_text(item)
        log.append_file("shop", tmp_path / item, [_table([stored("anna", item, 120)])])
        _move(log, log.files.names("shop")[-1], day)
    assert items(log, erasures=ERASED) == ["the day after"]
