"""`recsys experiment`: what events are due to, and reports of simulated shops whose truth is known."""

import json

import numpy as np
import pytest
from crowd import publish

from batch_jobs.cli import run
from batch_jobs.console import Screen
from batch_jobs.experiment import report
from batch_jobs.feedback import Feedback
from batch_jobs.ingest import _table, drain_impressions, drain_online
from batch_jobs.log_tables import impressions_table
from recsys.errors import InsufficientDataError
from recsys.events import InteractionEvent
from recsys.impressions import ImpressionEvent, Shown
from recsys.serving.experiments import Experiment, Exploration
from recsys.serving.exploration import explored
from recsys.serving.online import StoredEvent

BEGIN_S = 1_767_225_600  # 2026-01-01
STARTED = {"started_at": "2026-01-01T00:00:00+00:00"}
AB = {"name": "ab", "salt": "s", "variants": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}]}
HOUR = 3600


def shown(number, at_h, *items, user="u", request="r", **more):
    fields = {"request_id": request, "model_version": "v", "variant": "a"} | more
    places = tuple(one if isinstance(one, Shown) else Shown(one) for one in items)
    return ImpressionEvent(f"s{number}", user, BEGIN_S + at_h * HOUR, items=places, **fields)


def acted(number, at_h, item, user="u", request=None, event="buy", value=1.0):
    context = None if request is None else {"request_id": request}
    return InteractionEvent(f"e{number}", user, item, BEGIN_S + at_h * HOUR, event, value, context)


def due(impressions, events, **how):
    """Conversions by (number of the impression, item)."""
    table = _table([StoredEvent(n, one) for n, one in enumerate(events)])
    found = Feedback.of(impressions_table(impressions), table, **{"kind": None, "window_s": 24 * HOUR} | how)
    items = found.items.to_pylist()
    rows = zip(found.impression, found.item, found.conversions, strict=True)
    return {(int(at), items[item]): int(count) for at, item, count in rows if count}


def test_an_event_is_due_to_the_last_list_of_its_user_that_had_the_item():
    lists = [shown(0, 0, "x", "y"), shown(1, 10, "y", "z"), shown(2, 0, "x", user="v")]
    assert due(lists, [acted(0, 1, "x")]) == {(0, "x"): 1}
    assert due(lists, [acted(0, 11, "y"), acted(1, 12, "y"), acted(2, 5, "y")]) == {(1, "y"): 2, (0, "y"): 1}
    assert due(lists, [acted(0, 24, "x"), acted(1, 24.001, "x"), acted(2, -0.001, "x"), acted(3, 5, "w")]) == {
        (0, "x"): 1
    }
    assert due(lists, [acted(0, 2, "x")], window_s=HOUR) == {}
    assert due(lists, [acted(0, 2, "x"), acted(1, 2, "x", event="view")], kind="view") == {(0, "x"): 1}
    assert due(lists, []) == {}


def test_an_event_that_names_its_request_is_due_to_that_list():
    lists = [shown(0, 0, "x", request="r0"), shown(1, 10, "x", request="r1"), shown(2, 0, "x", user="v", request="r2")]
    assert due(lists, [acted(0, 40, "x", request="r0")]) == {(0, "x"): 1}
    for request in ("r2", "unknown"):  # another user's, or nobody's: as if it named none
        assert due(lists, [acted(0, 11, "x", request=request)]) == {(1, "x"): 1}
    assert due(lists, [acted(0, 11, "y", request="r0")]) == {}


def shop(stores, *, lift=0.0, users=1_000, lost=0.0, seed=0, namespace="shop"):
    """Show everybody of an A/B test three lists; a share of the items shown is bought, `lift` more of them in b."""
    rng, experiment = np.random.default_rng(seed), Experiment.of(AB)
    stores.registry.put_experiment(namespace, AB | STARTED)
    lists, events = [], []
    for user in map(str, range(users)):
        variant = experiment.variant_of(namespace, user).name
        if variant == "b" and rng.random() < lost:
            continue
        taste = rng.beta(2, 8) * (1 + lift * (variant == "b"))
        for n in range(3):
            items = [f"i{one}" for one in rng.choice(50, 5, replace=False)]
            lists.append(shown(f"{user}-{n}", 24.5 * n + 1, *items, user=user, request=f"{user}-{n}", variant=variant))
            bought = [one for one in items if rng.random() < taste]
            events += [acted(f"{user}-{n}-{one}", 24.5 * n + 2, one, user=user, value=2.0) for one in bought]
    stores.online.append_impressions(namespace, lists)
    stores.online.append_events(namespace, events)


def test_a_known_lift_is_reported_from_the_log_and_what_is_not_copied_yet(stores):
    shop(stores, lift=0.3)
    before = report(stores, "shop", Screen(as_json=True))
    assert (drain_impressions(stores, "shop"), drain_online(stores, "shop") > 0) == (3_000, True)
    stores.online.append_impressions("shop", [shown("0-0", 1, "copied already")])
    screen = Screen(as_json=True)
    told = report(stores, "shop", screen)
    assert json.loads(json.dumps(told)) == json.loads(json.dumps(before))
    assert [one["metric"] for one in told["lifts"]] == ["click_through", "conversions_per_user", "value_per_user"]
    assert all(one["low"] < 0.3 < one["high"] and one["adjusted_p"] < 1e-3 for one in told["lifts"])
    a, b = told["variants"]["a"], told["variants"]["b"]
    assert (a["users"] + b["users"], a["impressions"], a["items_shown"]) == (1_000, 3 * a["users"], 15 * a["users"])
    assert a["value_per_user"]["value"] == pytest.approx(2 * a["conversions_per_user"]["value"])
    assert a["click_through"]["value"] == pytest.approx(0.2, abs=0.02)
    assert (told["sample_ratio_p"] > 1e-3, screen.notes) == (True, [])


def test_a_planted_mismatch_is_found(stores):
    shop(stores, lost=0.3)
    screen = Screen(as_json=True)
    assert report(stores, "shop", screen)["sample_ratio_p"] < 1e-3
    assert [one for one in screen.notes if "mismatch" in one]


def test_who_saw_several_variants_or_none_and_lists_from_before_are_left_out(stores):
    shop(stores, users=100)
    begun = report(stores, "shop", Screen(as_json=True))
    others = [
        *(shown(f"torn {name}", 1, "x", user="torn", variant=name) for name in "ab"),
        *(shown(f"none {n}", 1, "x", user=f"none {n}", variant=None) for n in range(9)),
        *(shown(f"before {n}", -1, "x", user=f"before {n}") for n in range(9)),
    ]
    stores.online.append_impressions("shop", others)
    screen = Screen(as_json=True)
    told = report(stores, "shop", screen)
    assert told["variants"] == begun["variants"]
    assert (told["users_of_several_variants"], screen.notes) == (1, ["1 users saw several variants and are left out"])


def test_off_policy_estimates_tell_what_exploration_cost(stores):
    """The item of rank n is bought with chance 1 / (n + 2): what a list without exploration earns is known."""
    exploration = {"kind": "epsilon", "epsilon": 0.3, "pool": 20}
    one = {"name": "one", "variants": [{"name": "explorer", "share": 1, "exploration": exploration}]}
    stores.registry.put_experiment("shop", one | STARTED)
    rng, lists, events = np.random.default_rng(5), [], []
    for n in range(2_500):
        filled = explored(20, (), 4, Exploration(0.3, 20), f"request {n}")
        items = [Shown(f"i{at}", chance) for at, chance in filled]
        lists.append(shown(n, 0, *items, user=f"u{n}", request=f"request {n}", variant="explorer"))
        bought = [at for at, _ in filled if rng.random() < 1 / (at + 2)]
        events += [acted(f"{n} {at}", 1, f"i{at}", user=f"u{n}") for at in bought]
    stores.online.append_impressions("shop", lists)
    stores.online.append_events("shop", events)
    told = report(stores, "shop", Screen(as_json=True))
    found, truth = told["without_exploration"]["explorer"], sum(1 / (n + 2) for n in range(4))
    assert found["as_shown"] < truth - 0.05
    for estimate in (found["ips"], found["snips"]):
        assert estimate["low"] < truth < estimate["high"]
        assert estimate["high"] - estimate["low"] < 0.2
    assert (told["lifts"], told["sample_ratio_p"]) == ([], 1.0)


def test_the_command_line_sets_shows_reports_and_ends(stores, tmp_path, capsys):
    old, new = (publish(stores.artifacts, stores.registry, users=30, items=20, seed=n).version for n in (0, 1))
    document = AB | {"variants": [*AB["variants"][:1], AB["variants"][1] | {"version": old}]}
    (tmp_path / "ab.json").write_text(json.dumps(document))
    (tmp_path / "bad.json").write_text("[")

    def recsys(*arguments):
        status = run(["experiment", *map(str, arguments), "--namespace", "shop", "--json"])
        return status, json.loads(capsys.readouterr().out)

    assert recsys("show")[1]["experiment"] is None
    assert recsys("report")[0] == 3
    assert recsys("end")[0] == 2
    assert [recsys("set", tmp_path / name)[0] for name in ("bad.json", "missing.json", "ab.json")] == [3, 3, 0]
    assert stores.online.user_state("shop", old, "u0") is not None
    found = stores.service()
    variants = {found.recommend("shop", f"u{n}", 3).variant for n in range(30)}
    assert (variants, recsys("show")[1]["experiment"]["variants"][1]["version"]) == ({"a", "b"}, old)
    shop(stores, users=200)
    status, told = recsys("report", "--since", "2026-01-01T12:00", "--event", "buy", "--window-h", "2")
    assert (status, told["event"], told["since"]) == (0, "buy", "2026-01-01T12:00:00+00:00")
    assert told["variants"]["a"]["impressions"] == 2 * told["variants"]["a"]["users"]
    assert recsys("report", "--since", "yesterday")[0] == 2
    assert run(["experiment", "report", "--namespace", "shop"]) == 0
    assert "lift over a" in capsys.readouterr().out
    assert recsys("end")[1]["experiment"]["ended_at"]
    assert stores.service().recommend("shop", "u1", 3).model_version == new
    assert recsys("end")[0] == 2


def test_a_report_of_nothing_says_what_to_send(stores):
    with pytest.raises(InsufficientDataError, match="impression"):
        report(stores, "shop", Screen(as_json=True))
