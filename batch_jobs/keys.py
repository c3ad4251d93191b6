"""The commands `recsys keys add`, `list`, `revoke` and `usage`: who may ask the API, for what, and how often."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any

import typer

from batch_jobs.console import Screen
from batch_jobs.flags import Json
from recsys.artifacts.manifest import check_name
from recsys.errors import ConfigError, NotFoundError
from recsys.serving.online.keys import EVERY, ApiKey, KeyStore
from recsys.stores import online_store, setting

app = typer.Typer(no_args_is_help=True, help="Who may ask the API, for what, and how often.")


class Scope(StrEnum):
    """What a key may be for; none holds another."""

    read = "read"
    write = "write"
    admin = "admin"


@app.command()
def add(
    namespace: Annotated[list[str], typer.Option(help=f"What it opens; repeatable; {EVERY!r} for all.")],
    scope: Annotated[list[Scope] | None, typer.Option(help="What it allows; repeatable.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, max=1e6, help="Requests a second.")] = None,
    burst: Annotated[
        int | None, typer.Option(min=1, max=10**6, help="Requests at once; else two seconds' worth.")
    ] = None,
    note: Annotated[str, typer.Option(help="Whose it is, or what for.")] = "",
    as_json: Json = False,
) -> None:
    """Add a key and print it, once: it cannot be shown again. Without --scope it reads."""
    if burst and not rate:
        raise ConfigError("--burst needs --rate")
    if len(note) > 200 or not note.isprintable():
        raise ConfigError("--note is one line of at most 200 characters")
    namespaces = tuple(one if one == EVERY else check_name("namespace", one) for one in dict.fromkeys(namespace))
    key_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    key = ApiKey(
        key_id,
        sha256(secret.encode()).hexdigest(),
        tuple(one.value for one in dict.fromkeys(scope or [Scope.read])),
        namespaces,
        rate or 0.0,
        burst or (max(1, round(2 * rate)) if rate else 0),
        datetime.now(UTC).isoformat(timespec="seconds"),
        note,
    )

    def job(store: KeyStore, screen: Screen) -> dict[str, Any]:
        store.add(key)
        text = f"rs_{key_id}_{secret}"
        if not as_json:
            screen.note(f"Key {key_id} is shown this once; servers know it within a second.")
            print(text)
        return {"key": text, **_facts(key)}

    _run(job, as_json)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the keys, without their secrets."""

    def job(store: KeyStore, screen: Screen) -> dict[str, Any]:
        found = [_facts(one) for one in store.all()]
        table = [[one["id"], _allowed(one), _limit(one), one["created_at"][:10], one["note"]] for one in found]
        screen.rows("Keys", ["key", "for", "limit", "since", "note"], table)
        return {"keys": found}

    _run(job, as_json)


@app.command()
def revoke(key: Annotated[str, typer.Argument(help="As `recsys keys list` names it.")], as_json: Json = False) -> None:
    """Revoke a key; within a second no server takes it any more."""

    def job(store: KeyStore, screen: Screen) -> dict[str, Any]:
        if not store.revoke(key):
            raise NotFoundError(f"there is no key {key!r}. See recsys keys list")
        return {"revoked": key}

    _run(job, as_json, "Revoked")


@app.command()
def usage(
    days: Annotated[int, typer.Option(min=1, max=400, help="How many, today included.")] = 31, as_json: Json = False
) -> None:
    """Show how many requests each key made a day, by the class of the answer's status."""

    def job(store: KeyStore, screen: Screen) -> dict[str, Any]:
        rows = store.usage((datetime.now(UTC).date() - timedelta(days - 1)).isoformat())
        classes = sorted({name for one in rows for name in one.counts})
        table = [[one.day, one.key_id, *(one.counts.get(name, 0) for name in classes)] for one in rows]
        screen.rows("Requests", ["day", "key", *classes], table)
        return {"usage": [{"day": one.day, "key": one.key_id, "requests": dict(one.counts)} for one in rows]}

    _run(job, as_json)


def _facts(key: ApiKey) -> dict[str, Any]:
    told = {name: getattr(key, name) for name in ("scopes", "namespaces", "rate", "burst", "created_at", "note")}
    return {"id": key.key_id, **told, "revoked": key.revoked}


def _allowed(facts: dict[str, Any]) -> str:
    return "revoked" if facts["revoked"] else f"{' '.join(facts['scopes'])}: {' '.join(facts['namespaces'])}"


def _limit(facts: dict[str, Any]) -> str:
    return f"{facts['rate']:g}/s, {facts['burst']} at once" if facts["rate"] else ""


def _run(job: Callable[[KeyStore, Screen], dict[str, Any]], as_json: bool, title: str | None = None) -> None:
    screen = Screen(as_json=as_json)
    with closing(online_store(setting("RECSYS_ONLINE"))) as store:
        facts = job(store.keys, screen)
    if title or as_json:
        screen.summary(title or "", facts)
