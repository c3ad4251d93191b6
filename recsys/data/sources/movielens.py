"""The three forms in which GroupLens has published MovieLens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recsys.data.sources.lines import StrPath, first_lines
from recsys.data.sources.spec import ReadSpec
from recsys.errors import DataError

RATING_FILES = ("ratings.csv", "ratings.dat", "u.data")


def find_ratings(path: StrPath) -> Path:
    """Return the file of ratings in a MovieLens directory, or the path itself if it is no directory.

    Raises
    ------
    DataError
        If the directory holds none of ``ratings.csv``, ``ratings.dat`` and ``u.data``, plain or with ``.gz``.
    """
    place = Path(path)
    if not place.is_dir():
        return place
    for name in RATING_FILES:
        for candidate in (place / name, place / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    raise DataError(
        f"is a directory without {', '.join(RATING_FILES[:-1])} or {RATING_FILES[-1]}",
        path=path,
        remedy="Name a file in it",
    )


def movielens_spec(path: StrPath, spec: ReadSpec) -> ReadSpec:
    """Read ``1::1193::5::978300760``, ``196<tab>242<tab>3<tab>881250949`` or csv with a header as csv."""
    first = first_lines(path)[0]
    delimiter = spec.delimiter or ("::" if "::" in first else "\t" if "\t" in first else ",")
    return replace(spec, format="csv", delimiter=delimiter)
