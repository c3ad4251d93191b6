"""The console script on everything that goes wrong outside it: one line, the documented status, nothing lost.

Each case is a process. With --json, its stdout is one JSON object whether it fails or not. Most of the second that
`recsys` takes goes into imports, so the two long tables run in forks of one process that has done them, every tenth
case of them also as the console script itself.
"""

import gzip
import json
import os
import socket
import subprocess

import pytest
from commands import (
    CSV,
    HEADER,
    ITEMS,
    RECSYS,
    ROOT,
    ROWS,
    assert_failed,
    assert_no_drafts,
    files_of,
    recsys,
    stores_of,
)

PACKED = gzip.compress(CSV + ROWS * 2000, mtime=0)


INPUT = {
    "empty file": (b"", 3, r"e\.csv: is empty"),
    "header only": (HEADER, 3, r"e\.csv: has a header but no rows"),
    "blank lines only": (b"\n\n\n", 3, r"e\.csv: holds nothing but blank lines"),
    "text as weight": (CSV + b"u,i,five,1\n", 3, r"e\.csv:4: column 'rating': 'five' is not a number"),
    "NaN weight": (CSV + b"u,i,NaN,1\n", 3, r"e\.csv:4: column 'rating': 'NaN' is not a finite number"),
    "infinite weight": (CSV + b"u,i,-inf,1\n", 3, r"e\.csv:4: column 'rating': '-inf' is not a finite number"),
    "weight beyond float32": (CSV + b"u,i,1e39,1\n", 3, r"e\.csv:4: column 'rating': '1e39' is too large"),
    "empty user": (CSV + b",i,1,1\n", 3, r"e\.csv:4: column 'user_id': is empty"),
    "empty item": (HEADER + b"u,,1,1\n" + ROWS, 3, r"e\.csv:2: column 'item_id': is empty"),
    "not UTF-8": (CSV + b"u\xff,i,1,1\n", 3, r"e\.csv:4: column 'user_id': is not UTF-8"),
    "time in milliseconds": (CSV + b"u,i,1,1704112980000\n", 3, r"e\.csv:4: column 'timestamp': .*milliseconds"),
    "a field too few": (CSV + b"u,i,1\n", 3, r"e\.csv:4: has 3 fields where 4 are expected"),
    "quote never closed": (CSV + b'"u,i,1,1\nu,i,1,1\n', 3, r"e\.csv:4: a quote that is opened here"),
    "10 MB on one line": (CSV + b"x" * 10_000_000 + b"\n", 3, r"e\.csv:4: the line has more than 1,048,576 bytes"),
    "binary": (bytes(range(256)) * 40, 3, r"e\.csv: holds NUL bytes"),
    "Parquet by its magic only": (b"PAR1" + b"\1" * 100, 3, r"e\.csv: the Parquet file is damaged"),
    "UTF-16": (CSV.decode().encode("utf-16"), 3, r"e\.csv: is UTF-16 text"),
    "truncated gzip": (PACKED[: len(PACKED) // 2], 3, r"e\.csv: the gzip data end too early"),
    "gzip without a trailer": (PACKED[:-4], 3, r"e\.csv: the gzip data end too early"),
    "corrupt gzip": (PACKED[:40] + b"\xff" * 40 + PACKED[80:], 3, r"e\.csv: the gzip data are damaged"),
    "no columns known": (b"a,b,c\nx,y,1\n", 3, r"e\.csv: .*--user-column"),
}


def test_a_file_that_cannot_be_used_is_named_and_nothing_is_taken_in(shop, tmp_path, forked, subtests):
    for number, (name, (content, status, message)) in enumerate(INPUT.items()):
        (tmp_path / "e.csv").write_bytes(content)
        with subtests.test(name):
            assert_failed(forked(shop.folder, "ingest", tmp_path / "e.csv", "--json"), status, message)
            if number % 5 == 0:
                done = recsys(shop.folder, "ingest", tmp_path / "e.csv")
                assert_failed(done, status, message, as_json=False)
                assert done.stdout == ""
            shop.assert_untouched()


FILES = {"e.csv": CSV, "items.csv": ITEMS, "twice.csv": ITEMS + b"i001,Again\n", "plain": b"x"}
FILES |= {
    "broken.toml": b"[model\nkind = 1\n",
    "latin1.toml": b"# \xff\n",
    "deep.toml": b"a = " + b"[" * 5000,
    "unknown.toml": b"[model]\nkind='als'\n[modle]\nfactors = 3\n",
    "inner.toml": b"[gate]\nmaximum_drop = 0.5\n",
    "types.toml": b"[evaluate]\nk = 'ten'\n",
    "table.toml": b"ingest = 5\n",
    "kind.toml": b"[model]\nkind = []\n",
    "factors.toml": b"[model]\nfactors = 'many'\n",
    "nan.toml": b"[gate]\nmax_drop = nan\n",
    "metric.toml": b"[gate]\nmetric = 'ndcg@7'\n",
    "zero.toml": b"[evaluate]\nk = [0]\n",
    "field.toml": b"[features]\nitem = 'genres'\n",
    "sides.toml": b"[features]\nitems = ['genres']\n",
}
USAGE = {
    "missing file": ("ingest gone.csv", 3, r"gone\.csv: there is no such file"),
    "folder for a file": ("ingest folder", 3, r"folder: is a directory"),
    "a pipe for a file": ("ingest pipe", 3, r"pipe: is not a regular file"),
    "missing item table": ("ingest e.csv --items gone.csv", 3, r"gone\.csv: there is no such file"),
    "duplicate item": ("ingest e.csv --items twice.csv", 3, r"twice\.csv:4: column 'item_id': .*already in line 2"),
    "missing test file": ("nightly e.csv --test gone.csv", 3, r"gone\.csv: there is no such file"),
    "unknown column": ("ingest e.csv --user-column who", 3, r"e\.csv: column 'user': there is no column 'who'"),
    "unknown context column": (
        "ingest e.csv --context-column devise",
        3,
        r"e\.csv: there is no column 'devise' to keep as context; the columns are 'user_id'",
    ),
    "context column twice": ("ingest e.csv --context-column a --context-column a", 2, r"'a' is named twice"),
    "context without header": ("evaluate --no-header --context-column a --test e.csv", 2, r"without a header"),
    "missing user table": ("ingest e.csv --users gone.csv", 3, r"gone\.csv: there is no such file"),
    "items for users": ("ingest e.csv --users twice.csv", 3, r"twice\.csv: found no user column"),
    "missing TOML": ("nightly --config gone.toml", 2, r"gone\.toml cannot be read: no such file"),
    "broken TOML": ("nightly --config broken.toml", 2, r"broken\.toml is not TOML: .*line 1"),
    "TOML not UTF-8": ("nightly --config latin1.toml", 2, r"latin1\.toml is not TOML"),
    "deep TOML": ("nightly --config deep.toml", 2, r"deep\.toml is not TOML"),
    "unknown TOML table": ("nightly --config unknown.toml", 2, r"unknown\.toml: .*`modle`"),
    "unknown TOML key": ("nightly --config inner.toml", 2, r"inner\.toml: gate: .*`maximum_drop`"),
    "wrong TOML type": ("nightly --config types.toml", 2, r"types\.toml: evaluate\.k: .*got `str`"),
    "value for a table": ("nightly --config table.toml", 2, r"table\.toml: ingest: expected `object`, got `int`"),
    "model of a wrong type": ("nightly e.csv --config kind.toml", 2, r"\[model\] kind = \[\] is not known"),
    "setting of a wrong type": ("nightly e.csv --config factors.toml", 2, r"\[model\] factors = 'many'"),
    "NaN in the gate": ("nightly e.csv --config nan.toml", 2, r"gate\.?\]?.?max_drop"),
    "metric nobody judges": ("nightly e.csv --config metric.toml", 2, r"\[gate\] metric = 'ndcg@7' is not judged"),
    "k of 0 in TOML": ("nightly e.csv --config zero.toml", 2, r"zero\.toml: evaluate\.k"),
    "k of 0": ("evaluate --k 0", 2, r"evaluate\.k.*>= 1"),
    "list of 0": ("recommend --k 0", 2, r"greater than or equal to 1"),
    "unknown model": ("nightly e.csv --model svd", 2, r"'svd' is not known; choose one of als"),
    "a baseline to publish": ("nightly e.csv --model item_knn", 2, r"item_knn cannot be published"),
    "a baseline to train": ("train --model item_knn", 2, r"item_knn cannot be published"),
    "unknown setting": ("nightly e.csv --set factor=3", 2, r"no setting 'factor'; it has factors"),
    "setting out of range": ("nightly e.csv --set factors=-1", 2, r"factors"),
    "setting without value": ("nightly e.csv --set factors", 2, r"takes name=value, not 'factors'"),
    "a column nobody has": (
        "train --model fm --item-field studio",
        2,
        r"no item has a field 'studio'; fields are genres, launched, title, year",
    ),
    "a field of no table": ("train --model fm --user-field age", 2, r"the fields age of users need a table of users"),
    "a context nobody sent": (
        "evaluate --model fm --context-field device",
        2,
        r"no context has a field 'device'; fields are none",
    ),
    "a field of text as number": (
        "train --model fm --item-field title:number",
        3,
        r"'title': '.*' is no number",
    ),
    "a field nothing learns": (
        "nightly e.csv --item-field genres",
        2,
        r"\[features\] genres: only \[model\] kind = 'fm' learns fields",
    ),
    "unknown kind of field": (
        "nightly e.csv --model fm --item-field genres:colour",
        2,
        r"'genres:colour' is no field. .* the kinds are category, tags",
    ),
    "a field twice": ("nightly e.csv --model fm --item-field a --item-field a:tags", 2, r"'a' is asked for twice"),
    "fields as text": ("nightly --config field.toml", 2, r"field\.toml: features\.item: .*got `str`"),
    "fields of items": ("nightly --config sides.toml", 2, r"sides\.toml: features: .*`items`"),
    "a context without value": ("recommend --context tv", 2, r"--context takes name=value, not 'tv'"),
    "a context als has no use for": (
        "recommend --user u001 --context device=tv",
        3,
        r"the model knows no field 'device'; it knows none",
    ),
    "unknown cleaning": ("nightly e.csv --clean weights=cubed", 2, r"'cubed'"),
    "unknown split": ("nightly e.csv --split random", 2, r"split\.kind: .*'random'"),
    "split beyond 1": ("nightly e.csv --test-fraction 1.5", 2, r"split\.test_fraction"),
    "unknown format": ("ingest e.csv --format xml", 2, r"format 'xml' is not known"),
    "unknown unit": ("ingest e.csv --timestamp-unit h", 2, r"timestamp_unit"),
    "unknown on-error": ("ingest e.csv --on-error ignore", 2, r"ingest\.on_error.*'ignore'"),
    "split given without test": ("nightly e.csv --split given", 2, r"needs the test file"),
    "split by time with test": ("nightly e.csv --split time --test e.csv", 2, r"do not go together"),
    "two lists at once": ("recommend --user a --similar-to b", 2, r"two different lists"),
    "names without header": ("ingest e.csv --no-header --user-column user_id", 2, r"without a header"),
    "namespace with a slash": ("nightly e.csv --namespace a/b", 2, r"namespace 'a/b' must be"),
    "namespace of dots": ("recommend --namespace ..", 2, r"namespace '\.\.' must be"),
    "unknown command": ("recomend", 2, r"No such command 'recomend'"),
    "unknown flag": ("train --factors 3", 2, r"No such option"),
    "user that is no text": ("recommend --user \udcff", 3, r"surrogate|UTF-8"),
    "unknown item": ("recommend --similar-to nothing", 2, r"nothing"),
    "namespace without model": ("recommend --namespace other", 2, r"'other' has no published model"),
    "publish of no version": ("publish 20200101T000000Z-00000000", 2, r"has no version '20200101T"),
    "publish of a path": ("publish ../default", 2, r"version '\.\./default' must be"),
    "nothing to roll back to": ("rollback", 2, r"no earlier model"),
    "everything cleaned away": ("train --clean min_weight=100", 3, r"cleaning leaves none of"),
    "everything cleaned away, judging": ("evaluate --clean min_user_interactions=9999", 3, r"cleaning leaves none of"),
    "nothing in the log": ("train --namespace other", 3, r"event log of namespace 'other' .* is empty"),
    "URL of another scheme": (
        "train",
        2,
        r"RECSYS_ARTIFACTS='ftp://x' cannot be used: .* file:FOLDER and s3://BUCKET/PREFIX",
        {"RECSYS_ARTIFACTS": "ftp://x"},
    ),
    "URL without scheme": ("ingest e.csv", 2, r"RECSYS_EVENTS='events' cannot", {"RECSYS_EVENTS": "events"}),
    "URL without path": ("recommend", 2, r"RECSYS_ONLINE='sqlite:' cannot", {"RECSYS_ONLINE": "sqlite:"}),
    "log under a file": ("ingest e.csv", 5, r"not a directory", {"RECSYS_EVENTS": "file:plain/events"}),
    "log in /proc": ("ingest e.csv", 5, r"/proc/recsys", {"RECSYS_EVENTS": "file:/proc/recsys"}),
    "artefacts under a file": ("train", 5, r"storing version .* not a directory", {"RECSYS_ARTIFACTS": "file:plain/a"}),
    "online store a text": ("recommend --user u001", 5, r"not a database", {"RECSYS_ONLINE": "sqlite:e.csv"}),
    "online store a folder": ("publish {trained}", 5, r"unable to open", {"RECSYS_ONLINE": "sqlite:folder"}),
    "registry in /proc": ("publish {trained}", 5, r"/proc/recsys", {"RECSYS_REGISTRY": "file:/proc/recsys"}),
}


def test_wrong_usage_and_places_are_named_and_nothing_changes(shop, tmp_path, forked, subtests):
    for file, content in FILES.items():
        (tmp_path / file).write_bytes(content)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    var = shop.folder / "var"
    before = {
        "RECSYS_ARTIFACTS": f"file:{var}/artifacts",
        "RECSYS_REGISTRY": f"file:{var}/registry",
        "RECSYS_ONLINE": f"sqlite:{var}/online.db",
        "RECSYS_EVENTS": f"file:{var}/events",
    }

    for number, (name, (words, status, message, *env)) in enumerate(USAGE.items()):
        arguments = [*words.format(trained=shop.trained).split(), "--json"]
        places = before | (env[0] if env else {})
        with subtests.test(name):
            assert_failed(forked(tmp_path, *arguments, env=places), status, message)
            if number % 15 == 0:
                assert_failed(recsys(tmp_path, *arguments, env=places), status, message)
            if not words.startswith("publish {"):
                shop.assert_untouched()
    # The states of a version that is not in service may have been written; nobody reads them.
    stores = stores_of(shop.folder)
    stores.online.drop_version("default", shop.trained)
    stores.online.close()
    shop.assert_untouched()


def test_skipping_counts_every_row(tmp_path):
    bad = (b"u,i,x,1\n", b",i,1,1\n", b"u,i,nan,1\n", b"u,i,1\n", b"u,i,1,y\n")
    good = b"".join(b"u%d,i%d,1,%d\n" % (n, n % 7, n) for n in range(500))
    (tmp_path / "e.csv").write_bytes(HEADER + b"".join(bad) + good + b"".join(bad))
    done = recsys(tmp_path, "ingest", "e.csv", "--on-error", "skip", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["events_from_files"], told["rows_rejected"]) == (0, 500, 10)
    assert told["rejections"][0].startswith("e.csv:2: column 'rating': ")
    assert len(stores_of(tmp_path).events.read("default").events) == 500


def test_of_two_files_the_good_one_is_kept_and_repeating_the_run_skips_it(tmp_path):
    (tmp_path / "a.csv").write_bytes(CSV)
    (tmp_path / "b.csv").write_bytes(CSV + b"u,i,five,1\n")
    assert_failed(recsys(tmp_path, "ingest", "a.csv", "b.csv", "--json"), 3, r"b\.csv:4: column 'rating'")
    kept = files_of(tmp_path / "var")
    assert len(stores_of(tmp_path).events.read("default").events) == 2
    (tmp_path / "b.csv").write_bytes(CSV + b"u,i,5,1\n")
    told = json.loads(recsys(tmp_path, "ingest", "a.csv", "b.csv", "--json").stdout)
    assert (told["events_from_files"], told["files_known_already"]) == (3, 1)
    assert kept.items() <= files_of(tmp_path / "var").items()
    assert_no_drafts(tmp_path)


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (HEADER + b"u,i,1,1\n", [], "no events"),
        (HEADER + b"u,i,1,1\nu,j,1,2\nv,i,1,3\n", [], "users could be judged|no events|no user"),
        (b"user_id,item_id,rating\nu,i,1\nv,i,2\nu,j,1\n", ["--split", "time"], "no timestamps"),
        (
            HEADER + b"u,i,1,\nv,i,2,1\nu,j,1,\n",
            [],
            r"the test part of the split .frozen 0\.1. has no events",
        ),  # the log is taken as without times
    ],
    ids=["one event", "three events", "split by time without times", "half of the times"],
)
def test_too_little_data_publishes_nothing(tmp_path, content, arguments, message):
    (tmp_path / "e.csv").write_bytes(content)
    assert_failed(recsys(tmp_path, "nightly", "e.csv", "--json", *arguments), 3, message)
    assert not (tmp_path / "var/artifacts").exists()
    assert not (tmp_path / "var/registry").exists()


def test_a_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_failed(recsys(ROOT, "serve", "--port", port), 5, f"port {port} .* already in use", as_json=False)


def test_a_full_stdout_is_an_error_and_no_traceback(shop):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run([RECSYS, "recommend"], cwd=shop.folder, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (5, 1), done.stderr
    assert done.stderr.startswith("error: ")
