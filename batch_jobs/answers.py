"""What the steps of a run answered: small JSON files beside the artefacts, ``RECSYS_ARTIFACTS/.answers/RUN/STEP.json``.

No namespace begins with a dot, so none is in the way. They are read for as long as the run lasts, and may go after it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys.errors import storing
from recsys.stores import local_path, setting


def kept(name: str, run: str) -> dict[str, Any] | None:
    """Return the answer of a step of this run, None before there is one."""
    scheme, place = _place(name, run)
    if scheme == "s3":
        from recsys.aws.client import AwsError, BotoClient

        try:
            text = BotoClient("s3").call("GetObject", **_object(place))["Body"].read()
        except AwsError as error:
            if error.code != "NoSuchKey":
                raise
            return None
    else:
        with storing(f"reading {place}"):
            text = Path(place).read_bytes() if Path(place).exists() else None
    return None if text is None else json.loads(text)


def keep(name: str, run: str, answer: Mapping[str, Any]) -> None:
    """Keep the answer of a step of this run, whole or not at all."""
    scheme, place = _place(name, run)
    text = json.dumps(answer, allow_nan=False).encode()
    if scheme == "s3":
        from recsys.aws.client import BotoClient

        BotoClient("s3").call("PutObject", **_object(place), Body=text)
        return
    with storing(f"keeping the answer of step {name!r}"):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        draft = Path(f"{place}.draft")
        draft.write_bytes(text)
        draft.replace(place)


def _place(name: str, run: str) -> tuple[str, str]:
    """Scheme and place of an answer; the name of a run is hashed, as it may hold what no path should."""
    url = setting("RECSYS_ARTIFACTS")
    scheme = "s3" if url.startswith("s3://") else "file"
    root = url.removeprefix("s3://") if scheme == "s3" else str(local_path(url, "file", "RECSYS_ARTIFACTS"))
    folder = hashlib.sha256(run.encode()).hexdigest()[:32]
    return scheme, f"{root.rstrip('/')}/.answers/{folder}/{name}.json"


def _object(place: str) -> dict[str, str]:
    bucket, _, key = place.partition("/")
    return {"Bucket": bucket, "Key": key}
