"""Experiments: several variants behind one namespace, and which of them a user is in.

A user's place is a number from 0 to 1, the same in every process, release and language: the first 53 bits of the
SHA-256 of the JSON list ``[salt, namespace, user]`` (ASCII, no spaces) over 2^53. Variants lie side by side on that
line in their order, each as wide as its share. So shares may change while it runs, and only those users move over whose
place a border moves: with two variants, those by which the first grows or shrinks; with more, growing one from the
share of its neighbour leaves all others alone. Another salt is another, independent split.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from recsys.errors import DataError, NoModelError
from recsys.ids import encode_id

if TYPE_CHECKING:
    from recsys.serving.loader import ModelLoader
    from recsys.serving.online import OnlineStore

CURRENT = "current"
MAX_VARIANTS = 20
MAX_VERSIONS = 2
"""Versions that are kept in memory besides the one in service."""
MAX_POOL = 500
MAX_EPSILON = 0.5
"""Up to here whoever reads a propensity knows whether the place was explored: it was if that is below one half."""


class Exploration(NamedTuple):
    """Epsilon-greedy places, see `recsys.serving.exploration`.

    Parameters
    ----------
    epsilon : float
        Probability that a place is filled at random.
    pool : int
        From how many of the best items.
    """

    epsilon: float
    pool: int


class Variant(NamedTuple):
    """One way to answer.

    Parameters
    ----------
    name : str
    share : float
        Of the users.
    version : str
        ``current``, or one that is or was in service.
    exploration : Exploration, optional
    """

    name: str
    share: float
    version: str = CURRENT
    exploration: Exploration | None = None

    @property
    def pinned(self) -> str | None:
        """The version, where it is not whatever is in service."""
        return None if self.version == CURRENT else self.version


class Experiment(NamedTuple):
    """Variants side by side; the first is what the others are compared with.

    Parameters
    ----------
    name : str
    salt : str
    variants : tuple of Variant
    """

    name: str
    salt: str
    variants: tuple[Variant, ...]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Experiment:
        """Read ``{"name", "salt"?, "variants": [{"name", "share", "version"?, "exploration"?}]}``.

        Raises
        ------
        DataError
            Naming the field that cannot be used.
        """
        _known(document, (*cls._fields, "started_at", "ended_at"), "")
        sent = document.get("variants")
        if not isinstance(sent, list | tuple) or not 1 <= len(sent) <= MAX_VARIANTS:
            raise DataError(f"is a list of 1 to {MAX_VARIANTS} variants", field="variants")
        variants = tuple(_variant(one, f"variants[{n}]") for n, one in enumerate(sent))
        if len({one.name for one in variants}) < len(variants):
            raise DataError("two variants have one name", field="variants")
        if abs(total := math.fsum(one.share for one in variants) - 1) > 1e-9:
            raise DataError(f"the shares sum to {total + 1:.10g}, not to 1", field="variants")
        if len({one.version for one in variants} - {CURRENT}) > MAX_VERSIONS:
            raise DataError(f"name more than {MAX_VERSIONS} versions besides the current one", field="variants")
        name = _text(document.get("name"), "name")
        return cls(name, _text(document.get("salt", name), "salt"), variants)

    def document(self) -> dict[str, Any]:
        """Return what `of` reads."""
        variants = [one._asdict() | {"exploration": _explained(one.exploration)} for one in self.variants]
        return {"name": self.name, "salt": self.salt, "variants": variants}

    def variant_of(self, namespace: str, user: str | None) -> Variant:
        """Return the variant a user is in; a session of nobody gets the first one, with nobody to hold it to."""
        if user is None:
            return self.variants[0]
        at, border = place(self.salt, namespace, user), 0.0
        for one in self.variants:
            border += one.share
            if at < border:
                return one
        return next(one for one in reversed(self.variants) if one.share)  # where shares sum to a little less than 1


def versions_in_use(document: Mapping[str, Any] | None) -> set[str]:
    """Return the versions that a stored experiment needs to be kept: none once it was ended."""
    if document is None or document.get("ended_at"):
        return set()
    return {one.pinned for one in Experiment.of(document).variants if one.pinned}


def checked(document: Mapping[str, Any], namespace: str, models: ModelLoader, online: OnlineStore) -> dict[str, Any]:
    """Return an experiment as it is stored; `DataError` also for a version that cannot answer."""
    experiment = Experiment.of(document)
    models.require(namespace)
    for n, one in enumerate(experiment.variants):
        if one.pinned is None:
            continue
        field = f"variants[{n}].version"
        try:
            models.pinned(namespace, one.pinned)
        except NoModelError as error:
            raise DataError(str(error), field=field) from None
        if not online.has_users(namespace, one.pinned):
            reason = f"the online store holds no user of version {one.pinned} any more"
            raise DataError(reason, field=field, remedy="`recsys experiment set` writes them anew")
    return experiment.document()


def place(salt: str, namespace: str, user: str) -> float:
    """Return a user's place, from 0 and below 1."""
    text = json.dumps([salt, namespace, user], separators=(",", ":"))
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 11) / 2**53


def _variant(sent: Any, field: str) -> Variant:
    _known(sent, Variant._fields, field)
    share, exploration = sent.get("share"), sent.get("exploration")
    return Variant(
        _text(sent.get("name"), f"{field}.name"),
        _number(share, 0, 1, f"{field}.share"),
        _text(sent.get("version", CURRENT), f"{field}.version"),
        None if exploration is None else _exploration(exploration, f"{field}.exploration"),
    )


def _exploration(sent: Any, field: str) -> Exploration:
    _known(sent, ("kind", *Exploration._fields), field)
    if sent.get("kind") != "epsilon":
        raise DataError("is epsilon, the one kind there is", field=f"{field}.kind")
    pool = sent.get("pool")
    if type(pool) is not int or not 2 <= pool <= MAX_POOL:
        raise DataError(f"is a whole number from 2 to {MAX_POOL}", field=f"{field}.pool")
    return Exploration(_number(sent.get("epsilon"), 0, MAX_EPSILON, f"{field}.epsilon"), pool)


def _explained(exploration: Exploration | None) -> dict[str, Any] | None:
    return None if exploration is None else {"kind": "epsilon", **exploration._asdict()}


def _known(sent: Any, names: tuple[str, ...], field: str) -> None:
    if not isinstance(sent, Mapping):
        raise DataError("is an object", field=field or None)
    if unknown := sorted(map(str, sent.keys() - set(names))):
        raise DataError(f"is none of {', '.join(names)}", field=f"{field}.{unknown[0]}".lstrip(".")[:200])


def _text(value: Any, field: str) -> str:
    return encode_id(value, field).decode()


def _number(value: Any, least: float, most: float, field: str) -> float:
    if type(value) not in (int, float) or not least <= value <= most:
        raise DataError(f"is a number from {least:g} to {most:g}", field=field)
    return float(value)
