"""With a model in service: twelve kinds of sabotage end at the gate with the reason, and honest retrains pass.

Zeros, permuted ids, shuffled labels, half the items lost, sign flip, constant, stale data, duplicated user, swapped id
map, one dimension, NaN, a leak: in the log, in the candidate, or in what is trained on all events afterwards.
"""

import re
import shutil

import numpy as np
import pytest
from nights import EVENTS, LOGS, MODELS, Nights, events, factors, leak, shuffled_labels

from batch_jobs import gate, in_service, log_checks, nightly
from recsys.errors import DataError, GateRefusedError

DROP = r"ndcg@20 0\.\d+ and {} 0\.\d+ on the same events of .* users, .*, and a drop of more than 10% is refused"
WORSE, WORSE_AFTERWARDS = DROP.format("the model in service"), DROP.format("the candidate that passed the gate")


@pytest.fixture(scope="module")
def yesterday(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        assert "nothing is in service yet" in Nights(folder, patch).run(events(0.95))["judge"]["gate"]
    return folder


@pytest.fixture
def nights(yesterday, tmp_path, monkeypatch):
    return Nights(shutil.copytree(yesterday, tmp_path / "shop"), monkeypatch)


def check_refused(nights, words, log=EVENTS, error=GateRefusedError):
    before = nights.manifest.version
    with pytest.raises(error, match=words) as refused:
        nights.run(log)
    assert nights.manifest.version == before
    assert re.search(r"\. (Look|Raise|Remove|No setting)", str(refused.value)), "no remedy"


REASONS = {
    "shuffled labels": r"the model in service itself reaches .* where it reached .*: the events are no longer",
    "permuted ids": r"the model in service itself reaches .* where it reached .*: the events are no longer",
    "half the items lost": r"74 of 146 items of the model in service are lost, more than 10%",
    "swapped id map": r"users of the model in service are lost, more than 10%",
    "stale data": r"the newest event is of 2024-11-\S+, the model in service knows one of 2024-12-",
    "duplicated user": r"61 of 360 users have exactly the events of another user, more than 1%",
}


@pytest.mark.parametrize("sabotage", LOGS)
def test_a_log_that_went_wrong_is_refused(nights, sabotage):
    check_refused(nights, REASONS[sabotage], LOGS[sabotage])


@pytest.mark.parametrize("sabotage", MODELS)
@pytest.mark.parametrize(("where", "words"), [("judged", WORSE), ("published", WORSE_AFTERWARDS)])
def test_a_model_that_went_wrong_is_refused(nights, sabotage, where, words):
    nights.plant(where, model=MODELS[sabotage])
    if sabotage == "NaN":
        check_refused(nights, "item_vectors holds NaN", error=DataError)
    elif sabotage == "swapped id map" and where == "judged":
        check_refused(nights, r"a leak, or mixed-up ids: 139 of 585 held-out pairs")
    else:
        check_refused(nights, words)


def test_held_out_events_in_the_training_part_are_a_leak(nights):
    nights.patch.setattr(nightly, "frozen_split", leak)
    check_refused(nights, "a leak, or mixed-up ids: 293 of 585 held-out pairs of user and item")


def test_labels_shuffled_for_the_last_training_are_found(nights):
    nights.plant("published", events=shuffled_labels)
    check_refused(nights, WORSE_AFTERWARDS)


def test_twenty_honest_nights_pass(nights):
    for night in range(20):
        told = nights.run(events(0.95 + night / 400), seed=night)
        assert told["publish"]["in_service"] == nights.manifest.version == told["train"]["version"]
    assert "the best so far" in told["judge"]["gate"]
    assert any("what was trained on all events" in note for note in told["notes"])


UNCHECKED = {
    "the rule": (gate, "_rule", lambda nights: nights.plant("judged", model=MODELS["zeros"]), EVENTS),
    "the artefact": (
        nightly, "check_artifact", lambda nights: nights.plant("published", model=MODELS["zeros"]), EVENTS
    ),
    "the frozen value": (gate, "_check_unchanged", None, LOGS["permuted ids"]),
    "the loss": (gate, "_check_lost", None, LOGS["half the items lost"]),
    "the leak": (gate, "_check_leak", lambda nights: nights.patch.setattr(nightly, "frozen_split", leak), EVENTS),
    "the age": (log_checks, "_check_age", None, LOGS["stale data"]),
    "the copies": (log_checks, "copied_users", None, LOGS["duplicated user"]),
}  # fmt: skip


@pytest.mark.parametrize("check", UNCHECKED)
def test_without_its_check_a_sabotage_would_pass(nights, check):
    module, name, sabotage, log = UNCHECKED[check]
    before = nights.manifest.version
    nights.patch.setattr(module, name, lambda *_: "")
    if sabotage:
        sabotage(nights)
    nights.run(log)
    assert nights.manifest.version != before


def blurred(much):
    """Make users less like themselves."""

    def noisy(rows):
        noise = np.random.default_rng(1).standard_normal(rows.shape).astype(np.float32)
        return rows + much * rows.std() * noise

    return factors(user_vectors=noisy)


@pytest.mark.parametrize("remembers", [True, False])
def test_losses_of_several_nights_do_not_add_up(nights, remembers):
    if not remembers:
        nights.patch.setattr(nightly, "twins", lambda *at: {in_service.NOW: in_service.twins(*at)[in_service.NOW]})
    nights.run(EVENTS)
    nights.plant("judged", model=blurred(0.4))  # less than a tenth worse than the night before, more than the best
    if remembers:
        check_refused(nights, DROP.format("the best so far"))
    else:
        nights.run(EVENTS)
