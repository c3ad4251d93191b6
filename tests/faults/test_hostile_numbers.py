"""Verified artefacts with hostile numbers and texts in them: refused, or served as finite numbers and whole text."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest
from machine import Machine

from recsys.artifacts import Histories, describe, pack
from recsys.artifacts.artifact import ITEM_SIDE, item_side, unpack
from recsys.artifacts.store import StoredArrays
from recsys.errors import ArtifactError, DataError, UnknownItemError
from recsys.serving import MemoryOnlineStore, RecommendationService, SessionEvent
from recsys.serving.loader import ServedModel
from recsys.weights import WeightRule

EVENTS = [SessionEvent("i3"), SessionEvent("i4")]
CONTEXTS = ({}, {"device": "phone", "country": "it", "age": 3})


@pytest.fixture(scope="module")
def published():
    made = Machine(lowest=-1.0)
    csr, factors = made.dataset.user_items, made.export()
    histories = Histories(csr.indptr.astype(np.int64), csr.indices.astype(np.int32), csr.data)
    arrays = pack(factors, made.dataset.users, made.dataset.items, histories, made.dataset.item_counts)
    return arrays, {"weights": asdict(WeightRule()), **factors.settings}


def stored(arrays, config):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    described = describe("shop", "fm", arrays, config=config, data={"events_through": 0}, metrics={}, now=now)
    return StoredArrays(described, arrays)


def answers(arrays, config):
    """Ask a server of such an artefact everything; yield every number it answers with."""
    found = stored({name: one for name, one in arrays.items() if name in ITEM_SIDE}, config)
    model = ServedModel(None, found.manifest, *item_side(found))
    loader = SimpleNamespace(
        current=lambda _: model, degraded=lambda _: False, experiment=lambda _: None, require=lambda _: None
    )
    service = RecommendationService(loader, MemoryOnlineStore())
    for context in CONTEXTS:
        for events in (EVENTS, ()):
            yield from (one.score for one in service.recommend("shop", None, 30, context=context, events=events).items)
        for one in service.scores("shop", "u1", ["i1", "i2"], context=context, explain=True).items:
            yield from (one.score, one.raw_score, *(part.value for part in one.contributions))
    yield from (one.score for one in (*service.popular("shop", 30).items, *service.similar("shop", "i1", 30).items))


def accepted(arrays, config):
    """Whether such an artefact is served at all; what it answers are numbers."""
    try:
        assert np.isfinite(list(answers(arrays, config))).all()
    except ArtifactError:
        return False
    except (UnknownItemError, DataError):  # the ids or fields have other names now: true of what was published
        return True
    return True


def spoiled(array):
    """Yield copies of an array with hostile content of the same type."""
    if array.dtype.kind == "f":
        extremes = (np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45)
    else:
        extremes = (np.iinfo(array.dtype).min, np.iinfo(array.dtype).max, 0xC3 if array.dtype == np.uint8 else -1)
    for extreme in extremes:
        for place in (0, -1, slice(None)):
            changed = array.copy()
            changed.reshape(-1)[place if array.size else slice(None)] = extreme
            yield f"{extreme} at {place}", changed
    yield "reversed", array[::-1].copy()
    if array.ndim == 2:
        yield "transposed", np.ascontiguousarray(array.T)
        yield "in another order", np.asfortranarray(array)
    else:
        yield "not contiguous", np.repeat(array, 2)[::2]
        yield "a column", array[:, None].copy()


def test_hostile_numbers_in_any_array_are_refused_or_served_as_numbers(published, subtests):
    arrays, config = published
    assert accepted(arrays, config)
    refused = {}
    for name in (name for name in arrays if name in ITEM_SIDE):
        for damage, changed in spoiled(arrays[name]):
            with subtests.test(f"{name}: {damage}"):
                refused[name, damage] = not accepted({**arrays, name: changed}, config)
    for name in ("item_vectors", "item_bias", "item_counts", "query_weights", "query_vectors", "query_mean_user"):
        for extreme in (np.nan, np.inf, -np.inf):
            assert refused[name, f"{extreme} at 0"]
            assert refused[name, f"{extreme} at -1"]
    assert refused["item_ids_text", "255 at 0"]
    assert refused["item_ids_text", f"{0xC3} at -1"]
    assert refused["item_counts", "a column"]


@pytest.mark.parametrize("name", ["user_vectors", "query_user_bias"])
def test_hostile_numbers_of_users_are_refused_before_they_are_put_into_the_online_store(published, name):
    arrays, config = published
    changed = arrays[name].copy()
    changed.reshape(-1)[-1] = np.nan
    with pytest.raises(ArtifactError):
        unpack(stored({**arrays, name: changed}, config))


def test_ids_cut_within_a_character_are_refused(published):
    arrays, config = published
    text = arrays["item_ids_text"].copy()
    text[1:3] = list("é".encode())  # i0, i1: the second byte is the first of the next id
    with pytest.raises(ArtifactError, match="cut characters"):
        item_side(stored({**arrays, "item_ids_text": text}, config))


EXTREMES = (1e308, -1e308, 1e-320, 2**70, 26, "", "x" * 10_000, "\ud800", "logistic", "probit", "hashed", "number")


def test_hostile_settings_are_refused_or_served_as_numbers(published, subtests):
    arrays, config = published
    places = [("query", name) for name in config["query"]] + [("history_map", name) for name in config["history_map"]]
    for side in ("user_encoder", "context_encoder"):
        for number, field in enumerate(config["query"][side]["fields"]):
            places += [("query", side, "fields", number, name) for name in field]
    for *way, last in places:
        for extreme in EXTREMES:
            changed = json.loads(json.dumps(config))
            place = changed
            for key in way:
                place = place[key]
            place[last] = extreme
            with subtests.test(f"{way} {last} = {extreme!r:.20}"):
                accepted(arrays, changed)
