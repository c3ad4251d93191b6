"""The command line in process: what it prints and tells, on small files of its own."""

import json
import random
from importlib.metadata import version

import pytest

from batch_jobs import cli, demo
from batch_jobs.console import Screen
from recsys import errors


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    for name in ("ARTIFACTS", "REGISTRY", "ONLINE", "EVENTS"):
        monkeypatch.delenv(f"RECSYS_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def recsys(capsys):
    def run(*arguments, status=0):
        assert cli.run(list(arguments)) == status
        out, err = capsys.readouterr()
        return json.loads(out) if "--json" in arguments else out + err

    return run


def write(place, header, *more):
    draw = random.Random(0)
    lines = [f"u{u},i{i}" for u in range(60) for i in draw.sample(range(30), 8)]
    (place / "e.csv").write_text("\n".join([header, *("".join([line, *more]) for line in lines), ""]))


def test_users_and_items_alone_go_the_whole_way(place, recsys):
    write(place, "user,item")
    told = recsys("nightly", "e.csv", "--set", "factors=8", "--json")
    assert (told["split"], told["users"]) == ("frozen 0.1", 60)
    assert (told["columns_used"], told["columns_unused"]) == ({"user": "user", "item": "item"}, [])


def test_columns_are_told(place, recsys):
    write(place, "user_id,item_id,stars,when", ",3,monday")
    told = recsys("ingest", "e.csv", "--json")
    assert told["columns_used"] == {"user": "user_id", "item": "item_id", "weight": "stars"}
    assert told["columns_unused"] == ["when"]
    shown = recsys("ingest", "e.csv")
    assert "user = user_id, item = item_id, weight = stars; not used: when" in " ".join(shown.split())


def test_positions_need_no_word_about_the_header(place, recsys):
    (place / "e.csv").write_text("7,i1,u1\n8,i2,u2\n")
    told = recsys("ingest", "e.csv", "--user-column", "2", "--item-column", "1", "--json")
    assert told["columns_used"] == {"user": "column 2", "item": "column 1"}


def test_a_refusal_of_the_system_is_told_in_json(recsys):
    assert recsys("ingest", "a" * 300, "--json", status=5)["kind"] == "StorageError"


@pytest.mark.parametrize("command", ["train", "evaluate", "nightly"])
def test_settings_are_checked_before_the_log_is_read(command, recsys):
    # There is no log: had it been read first, the status would be 3.
    assert "'foo'" in recsys(command, "--clean", "foo=1", "--json", status=2)["error"]
    assert "--clean takes name=value" in recsys(command, "--clean", "min_weight", "--json", status=2)["error"]
    assert "only [model] kind = 'fm'" in recsys(command, "--item-field", "genres", "--json", status=2)["error"]
    assert "'a:b' is no field" in recsys(command, "--model", "fm", "--user-field", "a:b", "--json", status=2)["error"]
    assert "threads" in recsys(command, "--set", "kind=popularity", "--set", "threads=0", "--json", status=2)["error"]


def test_the_test_file_is_read_as_told(place, recsys):
    write(place, "user,item")
    (place / "t.csv").write_text("".join(f"9;i{n % 30};u{n}\n" for n in range(60)))
    recsys("ingest", "e.csv")
    reading = ("--no-header", "--user-column", "2", "--item-column", "1", "--delimiter", ";")
    told = recsys("evaluate", "--model", "popularity", "--test", "t.csv", *reading, "--json")
    assert (told["split"], told["test_events"]) == ("given", 60)


def test_context_columns_and_a_user_table_are_taken_in(place, recsys):
    (place / "e.csv").write_text("user,item,device,shop\nu,i,tv,x\n")
    (place / "users.csv").write_text("user,age\nu,30\n")
    flags = ("--context-column", "device", "--context-column", "shop", "--users", "users.csv", "--json")
    told = recsys("ingest", "e.csv", *flags)
    assert told["columns_used"] == {
        "user": "user", "item": "item", "context.device": "device", "context.shop": "shop"
    }  # fmt: skip
    assert told["users_described"] == 1


@pytest.fixture
def described(place):
    """Events on two devices, and tables that describe the users and the items."""
    write(place, "user,item,device")
    header, *lines = (place / "e.csv").read_text().splitlines()
    devices = [f"{line},{('tv', 'phone')[n % 2]}" for n, line in enumerate(lines)]
    (place / "e.csv").write_text("\n".join([header, *devices, ""]))
    (place / "items.csv").write_text("item,genres\n" + "".join(f"i{n},{'ab'[n % 2]}\n" for n in range(31)))
    (place / "users.csv").write_text("user,land\n" + "".join(f"u{n},{'xyz'[n % 3]}\n" for n in range(60)))
    return ["e.csv", "--items", "items.csv", "--users", "users.csv", "--context-column", "device"]


FM = ["--model", "fm", "--set", "factors=2", "--set", "iterations=2"]
FIELDS = ["--user-field", "land", "--item-field", "genres", "--context-field", "device"]


def test_fields_are_named_by_flags_in_every_command_that_trains(described, recsys):
    first = recsys("nightly", *described, *FM, *FIELDS, "--json")
    assert (first["kind"], first["items"]) == ("fm", 31)  # one of them in no event
    assert recsys("train", *FM, *FIELDS, "--json")["items"] == 31
    assert recsys("train", *FM, "--json")["items"] == 30
    assert set(recsys("evaluate", *FM, *FIELDS, "--json")["results"]) == {"fm", "popularity", "item_knn"}
    assert recsys("recommend", "-k", "31", "--context", "land=y", "--json")["strategy"] == "context"


def test_flags_of_fields_go_over_those_of_the_file(place, described, recsys):
    (place / "fm.toml").write_text("[model]\nkind = 'fm'\niterations = 2\n[features]\nitem = ['genres']\n")
    recsys("ingest", *described)
    version = recsys("train", "--config", "fm.toml", "--user-field", "land:hashed:4", "--json")["version"]
    manifest = json.loads((place / f"var/artifacts/default/{version}/manifest.json").read_text())
    assert manifest["config"]["features"] == {"user": ["land:hashed:4"], "item": ["genres"], "context": []}


def test_a_list_in_a_context(described, recsys):
    recsys("nightly", *described, *FM, *FIELDS)
    shown = recsys("recommend", "--user", "stranger", "--context", "device=tv", "--context", "land=x")
    assert "for user stranger, device tv, land x, by context, model" in shown
    assert "for somebody unknown, device phone, by context" in recsys("recommend", "--context", "device=phone")
    assert "popular items, model" in recsys("recommend")
    lists = [recsys("recommend", "--context", f"device={one}", "--json")["items"] for one in ("tv", "phone")]
    assert lists[0] != lists[1]
    refused = recsys("recommend", "--user", "u1", "--context", "devise=tv", "--json", status=3)
    assert "the model knows no field 'devise'; it knows device, land" in refused["error"]
    assert "name=value, not 'tv'" in recsys("recommend", "--context", "tv", "--json", status=2)["error"]
    asked = ("recommend", "--similar-to", "i1", "--context", "device=tv", "--json")
    assert "--context has no say" in recsys(*asked, status=2)["error"]


def test_lists_in_a_context_do_not_go_into_the_store(described, recsys):
    asked = ("score", "--to-store", "--context", "device=tv", "--json")
    assert "lists without a context" in recsys(*asked, status=2)["error"]


def test_names_and_categories_are_shown_and_empty_columns_are_not(place, recsys):
    write(place, "user,item")
    recsys("nightly", "e.csv", "--model", "popularity")
    shown = recsys("recommend")
    assert "popular items, model" in shown
    assert "title" not in shown
    assert "genres" not in shown
    (place / "items.csv").write_text("item_id,name\n" + "".join(f"i{n},Name {n}\n" for n in range(30)))
    recsys("ingest", "--items", "items.csv")
    shown = recsys("recommend")
    assert "title" in shown
    assert "Name 1" in shown
    assert "genres" not in shown


def test_version(recsys):
    assert recsys("--version") == f"recsys {version('recsys')}\n"
    assert "(default: default)" in recsys("ingest", "--help")


def test_numbers_are_written_out(capsys):
    screen = Screen()
    screen.rows("", ["a", "b"], [[12340.0, 0.146], [1234567.0, 1e-9]])
    screen.summary("moved", {"before": None})
    shown = capsys.readouterr().out
    for text in ("12,340", "0.1460", "1,234,567", "0.0000", "nothing"):
        assert text in shown
    assert "┡" not in shown.partition("moved")[2]  # no header band over facts


def test_the_demo_asks_its_server_whatever_proxy_is_set(monkeypatch, tmp_path):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with demo._server(tmp_path / "server.log") as url:
        assert demo._call(f"{url}/health/live")


def test_every_error_of_ours_has_an_exit_status():
    kinds = [errors.RecsysError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    unknown = [kind.__name__ for kind in kinds[1:] if not issubclass(kind, tuple(cli.EXIT_STATUS))]
    assert len(kinds) > 10
    assert not unknown
