"""What the steps of a run answered: small JSON files beside the artefacts, ``RECSYS_ARTIFACTS/.answers/RUN/STEP.json``.

No namespace begins with a dot, so none is in the way. They are read for as long as the run lasts, and may go after it:
the template lets them go after 30 days, before another run can have the name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys.errors import storing
from recsys.stores import located, setting

_MOST_BYTES = 1 << 18  # more, Step Functions does not hand on


def kept(name: str, run: str) -> dict[str, Any] | None:
    """Return the answer of a step of this run, None before there is one."""
    scheme, place = located("RECSYS_ARTIFACTS", setting("RECSYS_ARTIFACTS"))
    if scheme == "s3":
        from recsys.aws.client import connect
        from recsys.aws.objects import Objects

        found = Objects(place, connect("s3")).read(_key(name, run), 0, _MOST_BYTES)
        return None if found is None else json.loads(found[0])
    path = Path(place, _key(name, run))
    with storing(f"reading {path}"):
        return json.loads(path.read_bytes()) if path.exists() else None


def keep(name: str, run: str, answer: Mapping[str, Any]) -> None:
    """Keep the answer of a step of this run, whole or not at all."""
    scheme, place = located("RECSYS_ARTIFACTS", setting("RECSYS_ARTIFACTS"))
    text = json.dumps(answer, allow_nan=False).encode()
    if scheme == "s3":
        from recsys.aws.client import connect
        from recsys.aws.objects import Objects

        sha256 = hashlib.sha256(text).hexdigest()
        Objects(place, connect("s3")).create(_key(name, run), text, memoryview(b""), sha256)
        return
    path = Path(place, _key(name, run))
    with storing(f"keeping the answer of step {name!r}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_bytes(text)
        draft.replace(path)


def _key(name: str, run: str) -> str:
    """Give a key in which the name of the run is hashed: it may hold what no path should."""
    return f".answers/{hashlib.sha256(run.encode()).hexdigest()[:32]}/{name}.json"
