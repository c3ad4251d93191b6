"""The manifest: what an artefact consists of, where it comes from, and the hash of every byte of it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ArtifactError, ConfigError

SCHEMA_VERSION = 1
DTYPES = ("float32", "float64", "int32", "int64", "uint8")
_MAX_ELEMENTS = 2**40
MAX_MANIFEST_BYTES = 2**20
_ARRAY_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_name(what: str, name: str) -> str:
    """Return a namespace or version that is safe as a folder, a key and a part of a URL, or raise `ConfigError`."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{what} {name!r} must be 1 to 64 letters, digits, '_' or '-', beginning with a letter or digit"
        )
    return name


@dataclass(frozen=True)
class ArraySpec:
    """One array of an artefact: its type, its shape and the SHA-256 of its .npy file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str

    def __post_init__(self) -> None:
        """Refuse what no publisher writes; nothing of a hostile manifest is allocated before this."""
        if not _ARRAY_NAME.fullmatch(self.name) or self.dtype not in DTYPES or not _SHA256.fullmatch(self.sha256):
            raise ArtifactError(f"the manifest describes an array that cannot be one: {self.name[:80]!r}")
        if len(self.shape) not in (1, 2) or any(type(n) is not int or not 0 <= n <= _MAX_ELEMENTS for n in self.shape):
            raise ArtifactError(f"array {self.name!r} has an impossible shape")
        if math.prod(self.shape) > _MAX_ELEMENTS:
            raise ArtifactError(f"array {self.name!r} claims {math.prod(self.shape):,} elements")

    @property
    def header(self) -> bytes:
        """The .npy header (format 1.0) such an array has; compared, never parsed."""
        text = f"{{'descr': '{np.dtype(self.dtype).str}', 'fortran_order': False, 'shape': {self.shape}, }}"
        padding = -(len(text) + 11) % 64
        return (
            b"\x93NUMPY\x01\x00" + (len(text) + padding + 1).to_bytes(2, "little") + f"{text}{' ' * padding}\n".encode()
        )

    @property
    def file_bytes(self) -> int:
        """Size of the .npy file."""
        return len(self.header) + math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class ArtifactManifest:
    """What one version is made of.

    Parameters
    ----------
    namespace, version : str
        Who it is for, and its name; `ConfigError` if they are not plain names.
    kind : str
        Of the model: als, popularity, ...
    created_at : str
        ISO 8601, UTC. For people; no decision is taken by it.
    config : dict
        Settings of the model, of the cleaning and of fold-in, as plain JSON.
    data : dict
        Fingerprint, counts and time window of the training data, and the last online event in it.
    metrics : dict of str to float
        As judged before publishing.
    arrays : tuple of ArraySpec
    """

    namespace: str
    version: str
    kind: str
    created_at: str
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    metrics: Mapping[str, float]
    arrays: tuple[ArraySpec, ...]
    schema: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        """Refuse names that could leave their folder."""
        check_name("namespace", self.namespace)
        check_name("version", self.version)

    def to_bytes(self) -> bytes:
        """Canonical JSON: equal manifests are equal bytes."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"

    @property
    def sha256(self) -> str:
        """Hash of `to_bytes`, which the registry's pointer carries."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @property
    def erasures(self) -> int:
        """Number of the last erasure the training knew of: users erased later must not come back by this version."""
        return int(self.data.get("erasures", 0))

    @classmethod
    def from_bytes(cls, data: bytes) -> ArtifactManifest:
        """Parse and validate; `ArtifactError` for anything a publisher did not write, byte by byte."""
        if len(data) > MAX_MANIFEST_BYTES:
            raise ArtifactError("the manifest is longer than any publisher writes")
        try:
            fields = json.loads(data)
            if type(fields["schema"]) is not int or fields["schema"] != SCHEMA_VERSION:
                raise ArtifactError(
                    f"the manifest has schema {fields['schema']!r}; this release reads {SCHEMA_VERSION}"
                )
            arrays = tuple(
                ArraySpec(one["name"], one["dtype"], tuple(one["shape"]), one["sha256"]) for one in fields.pop("arrays")
            )
            manifest = cls(**fields, arrays=arrays)
            # The pointer carries the hash of this form; another spelling, a NaN or a repeated key would not match it.
            is_canonical = manifest.to_bytes() == data
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError) as error:
            raise ArtifactError(f"the manifest is damaged: {str(error)[:200]}") from error
        if not (is_canonical and manifest._is_well_typed()):
            raise ArtifactError("the manifest is damaged: it is not in the form a publisher writes")
        if len({one.name for one in arrays}) < len(arrays):
            raise ArtifactError("the manifest names an array twice")
        return manifest

    def _is_well_typed(self) -> bool:
        return (
            all(isinstance(text, str) for text in (self.kind, self.created_at))
            and all(isinstance(table, dict) for table in (self.config, self.data, self.metrics))
            and all(type(value) in (int, float) for value in self.metrics.values())
        )


def describe(
    namespace: str,
    kind: str,
    arrays: Mapping[str, NDArray[Any]],
    *,
    config: Mapping[str, Any],
    data: Mapping[str, Any],
    metrics: Mapping[str, float],
    now: datetime | None = None,
) -> ArtifactManifest:
    """Manifest of arrays about to be stored.

    The version is the time of creation for people and a hash of the content for uniqueness. `ConfigError` if the
    namespace is no plain name.
    """
    specs = []
    for name, array in arrays.items():
        unhashed = ArraySpec(name, array.dtype.name, array.shape, "0" * 64)
        digest = hashlib.sha256(unhashed.header)
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
        specs.append(ArraySpec(name, array.dtype.name, array.shape, digest.hexdigest()))
    moment = now or datetime.now(UTC)
    content = hashlib.sha256(json.dumps([kind, config, data, [asdict(one) for one in specs]], sort_keys=True).encode())
    return ArtifactManifest(
        namespace=namespace,
        version=f"{moment:%Y%m%dT%H%M%SZ}-{content.hexdigest()[:8]}",
        kind=kind,
        created_at=moment.isoformat(timespec="seconds"),
        config=config,
        data=data,
        metrics=metrics,
        arrays=tuple(specs),
    )
