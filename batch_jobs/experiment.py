"""Experiments from the command line: set, show and end them, and what came of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch_jobs.console import Screen
from batch_jobs.event_log import EventLog
from batch_jobs.feedback import CLICK_THROUGH, CONVERSIONS, VALUE, Feedback
from batch_jobs.ingest import events_not_copied, impressions_not_copied
from batch_jobs.log_tables import IMPRESSION_SCHEMA, without_repeats
from batch_jobs.publish import put_states
from batch_jobs.stores import Stores
from recsys.artifacts import unpack
from recsys.data.events_table import EVENT_SCHEMA
from recsys.data.sources.lines import readable
from recsys.errors import ConfigError, DataError, InsufficientDataError
from recsys.evaluation.ab_test import MISMATCH, Lift, Ratio, lifts, sample_ratio_p
from recsys.evaluation.off_policy import LoggedImpressions, OffPolicyWarning, ips, snips
from recsys.serving.experiments import Experiment, Exploration, versions_in_use
from recsys.serving.online.erasures import Erasure

_KEPT = 0.5
"""A propensity above it says that a place was not explored."""


def set_experiment(stores: Stores, namespace: str, document: Mapping[str, Any], screen: Screen) -> dict[str, Any]:
    """Split the users of a namespace; the user states of its versions are written anew first, as of a rollback."""
    experiment = Experiment.of(document)
    for version in sorted(versions_in_use(experiment.document())):
        pointers = [one for one in stores.registry.history(namespace) if one.version == version]
        if pointers and pointers[-1].version != _in_service(stores, namespace):
            stored = stores.artifacts.open(namespace, version, manifest_sha256=pointers[-1].manifest_sha256)
            put_states(stores, unpack(stored), screen)
    return _shown(namespace, stores.service().put_experiment(namespace, document), screen)


def show(stores: Stores, namespace: str, screen: Screen) -> dict[str, Any]:
    """Show the last experiment."""
    return _shown(namespace, stores.service().experiment(namespace), screen)


def end(stores: Stores, namespace: str, screen: Screen) -> dict[str, Any]:
    """Give everybody the version in service again."""
    return _shown(namespace, stores.service().end_experiment(namespace), screen)


def report(
    stores: Stores,
    namespace: str,
    screen: Screen,
    *,
    since: datetime | None = None,
    event: str | None = None,
    window_h: float = 24.0,
) -> dict[str, Any]:
    """Compare the variants by what came of what they showed, over users.

    Impressions and events are those of the log and, as yet only there, of the online store. Without `since` they are
    those since the experiment was set. The first variant is what the others are compared with.
    """
    document = stores.registry.experiment(namespace)
    begin = since if since or document is None else datetime.fromisoformat(document["started_at"])
    log, online = stores.events, impressions_not_copied(stores, namespace)
    erased = stores.online.erasures(namespace)
    shown = _together(log.impressions, IMPRESSION_SCHEMA, namespace, erased, [one for *_, one in online])
    shown = _within(shown, begin, document)
    new = [one for *_, one in events_not_copied(stores, namespace)]
    acted = _together(log, EVENT_SCHEMA, namespace, erased, new)
    feedback = Feedback.of(shown, acted, kind=event, window_s=window_h * 3600)
    rows, torn = feedback.split()
    shares = {} if document is None else {one.name: one.share for one in Experiment.of(document).variants}
    names = [name for name in (*shares, *sorted(rows.keys() - shares.keys())) if name in rows and rows[name].any()]
    if not names:
        raise InsufficientDataError(
            f"the log of namespace {namespace!r} has no impression of a variant since {begin or 'ever'}",
            remedy="Send what is shown as events of type impression, with the variant of the answer",
        )
    ratios, found = lifts({name: feedback.metrics(rows[name]) for name in names})
    if torn:
        screen.note(f"{torn:,} users saw several variants and are left out")
    told = {
        "namespace": namespace,
        "experiment": document and document["name"],
        "since": begin and begin.isoformat(),
        "event": event,
        "window_h": window_h,
        "variants": {name: _variant(feedback, rows[name], ratios[name]) for name in names},
        "lifts": [asdict(one) for one in found],
        "sample_ratio_p": _sample_ratio(ratios, shares, screen),
        "without_exploration": _off_policy({name: feedback.logged(rows[name]) for name in names}, screen),
        "users_of_several_variants": torn,
    }
    _show_report(told, found, screen)
    return told


def _in_service(stores: Stores, namespace: str) -> str | None:
    pointer = stores.registry.current(namespace)
    return None if pointer is None else pointer.version


def _shown(namespace: str, document: Mapping[str, Any] | None, screen: Screen) -> dict[str, Any]:
    if document is None:
        screen.note(f"namespace {namespace!r} never had an experiment. Set one: recsys experiment set FILE")
    else:
        when = f"since {document['started_at']}" + (f" to {document['ended_at']}" if "ended_at" in document else "")
        variants = Experiment.of(document).variants
        rows = [[one.name, one.share, one.version, _words(one.exploration)] for one in variants]
        screen.rows(f"{document['name']}, {when}", ["variant", "share", "version", "exploration"], rows)
    return {"namespace": namespace, "experiment": document}


def _words(exploration: Exploration | None) -> str:
    return "none" if exploration is None else f"epsilon {exploration.epsilon:g} of the best {exploration.pool}"


def _together(
    log: EventLog, schema: pa.Schema, namespace: str, erased: Sequence[Erasure], online: list[pa.Table]
) -> pa.Table:
    """Events of the log and of the online store, each once; none of before the erasure of its user."""
    tables = list(online)
    with suppress(InsufficientDataError):  # nothing was copied yet
        tables.insert(0, log.read(namespace, erasures=erased).events)
    names = [name for name in schema.names if name != "position"]
    empty = schema.empty_table().select(names)
    return without_repeats(pa.concat_tables([empty, *(one.select(names) for one in tables)]))


def _within(shown: pa.Table, begin: datetime | None, document: Mapping[str, Any] | None) -> pa.Table:
    if begin is not None:
        shown = shown.filter(pc.greater_equal(shown["ts"], pa.scalar(begin, pa.timestamp("us", "UTC"))))
    if document is not None and (ended := document.get("ended_at")):
        last = pa.scalar(datetime.fromisoformat(ended), pa.timestamp("us", "UTC"))
        shown = shown.filter(pc.less_equal(shown["ts"], last))
    return shown


def _variant(feedback: Feedback, rows: Any, ratios: Mapping[str, Ratio]) -> dict[str, Any]:
    return {
        "users": ratios[CONVERSIONS].n_users,
        "impressions": len(np.unique(feedback.impression[rows])),
        "items_shown": int(rows.sum()),
        **{name: asdict(one) for name, one in ratios.items()},
    }


def _sample_ratio(
    ratios: Mapping[str, Mapping[str, Ratio]], shares: Mapping[str, float], screen: Screen
) -> float | None:
    """Test the split by the users who were shown anything, and say so where it is not the one that was asked for."""
    if not ratios.keys() <= shares.keys():
        screen.note("the split is not tested: the experiment that names these variants is not the last one")
        return None
    counted = [ratios[name][CONVERSIONS].n_users if name in ratios else 0 for name in shares]
    p = sample_ratio_p(counted, list(shares.values()))
    if p < MISMATCH:
        screen.note(
            f"sample ratio mismatch (p {p:.2g}): users are not split by the shares, so none of this can be believed. "
            "Look for what loses the impressions of one variant, or whether the shares were changed on the way"
        )
    return p


def _off_policy(logged: Mapping[str, LoggedImpressions | None], screen: Screen) -> dict[str, Any]:
    """Estimate what each exploring variant would have earned had it not explored."""
    found: dict[str, Any] = {}
    for name, log in logged.items():
        if log is None or (log.propensity == 1).all():
            continue
        kept = (log.propensity > _KEPT).astype(np.float64)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", OffPolicyWarning)
            with suppress(InsufficientDataError):  # of one user, or where all was explored
                estimates = {"ips": asdict(ips(log, kept)), "snips": asdict(snips(log, kept))}
                found[name] = {"as_shown": log.reward.sum() / log.n_requests, **estimates}
        for one in caught:
            screen.note(f"{name}: {one.message}")
    return found


def _show_report(told: Mapping[str, Any], found: list[Lift], screen: Screen) -> None:
    names = (CLICK_THROUGH, CONVERSIONS, VALUE)
    words = [name.replace("_", " ") for name in names]
    rows = [
        [name, one["users"], one["impressions"], *(_with_error(one[metric]) for metric in names)]
        for name, one in told["variants"].items()
    ]
    screen.rows(
        f"{told['experiment'] or 'variants'}, mean ± standard error", ["variant", "users", "lists", *words], rows
    )
    lifted = [
        [
            one.variant,
            one.metric.replace("_", " "),
            f"{one.lift:+.1%}",
            f"{one.low:+.1%} {one.high:+.1%}",
            one.adjusted_p,
        ]
        for one in found
    ]
    if lifted:
        first = next(iter(told["variants"]))
        screen.rows(f"lift over {first}", ["variant", "metric", "lift", "95 % interval", "p after Holm"], lifted)
    estimates = [
        [name, one["as_shown"], *(_interval(one[how]) for how in ("ips", "snips"))]
        for name, one in told["without_exploration"].items()
    ]
    if estimates:
        columns = ["variant", "as shown", "without, IPS", "without, SNIPS"]
        screen.rows("conversions per list, with exploration and without", columns, estimates)


def _with_error(one: Mapping[str, Any]) -> str:
    return f"{one['value']:.4f} ± {one['error']:.4f}"


def _interval(one: Mapping[str, Any]) -> str:
    return f"{one['value']:.4f} ({one['low']:.4f} {one['high']:.4f})"


def read_document(path: Path) -> dict[str, Any]:
    """Read an experiment; `DataError` if the file cannot be read or is no JSON object."""
    with readable(path):
        text = path.read_bytes()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not JSON: {str(error)[:200]}", path=path) from None
    if not isinstance(document, dict):
        raise DataError("is no JSON object", path=path)
    return document


def moment(text: str | None) -> datetime | None:
    """Read a time of the command line, UTC where it does not say otherwise; `ConfigError` if it is none."""
    if text is None:
        return None
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--since {text!r} is no time. Write it as 2026-01-31 or 2026-01-31T18:00") from None
    return told if told.tzinfo else told.replace(tzinfo=UTC)
