"""Write the sample: the events of an invented bookshop and its books. `README.md` says what is in them."""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

# The script's own folder is on the path; `recsys` is installed.
from titles import GENRES

from recsys.data.synthetic import Synthetic, generate
from recsys.errors import ConfigError

EVENTS_HEADER = ("user_id", "item_id", "event", "value", "timestamp")
ITEMS_HEADER = ("item_id", "title", "genres", "year", "launched")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if both files were written, 2 on arguments and 1 on a disk that refuses."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.categories > len(GENRES):
        parser.error(f"--categories must be at most {len(GENRES)}, the genres there are words for")
    try:
        made = generate(
            users=options.users,
            items=options.items,
            mean_history=options.mean_history,
            categories=options.categories,
            seed=options.seed,
        )
    except ConfigError as error:
        parser.error(str(error))
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        _write(options.out / "items.csv", ITEMS_HEADER, _items(made, options.seed))
        _write(options.out / "interactions.csv", EVENTS_HEADER, _events(made))
    except OSError as error:
        print(f"generate.py: cannot write to {options.out}: {error}", file=sys.stderr)
        return 1
    print(f"{len(made.interactions):,} events of {options.users:,} users on {options.items:,} books in {options.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Invent the events of a bookshop: interactions.csv and items.csv.")
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--mean-history", type=float, required=True, help="books per user, on average")
    parser.add_argument("--categories", type=int, required=True, help=f"genres, 1 to {len(GENRES)}")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder; files in it are replaced")
    return parser


def _events(made: Synthetic) -> Iterable[tuple[object, ...]]:
    """Rows in the order a log has: by time, then user, then item."""
    events = made.interactions
    assert events.timestamp is not None
    users, items = events.users.ids(), events.items.ids()
    order = np.lexsort((events.item, events.user, events.timestamp))
    columns = (events.user[order], events.item[order], events.weight[order], events.timestamp[order])
    for user, item, stars, timestamp in zip(*(column.tolist() for column in columns), strict=True):
        yield users[user], items[item], "rating", int(stars), timestamp


def _items(made: Synthetic, seed: int) -> Iterable[tuple[object, ...]]:
    # A stream of its own: other words or years leave the events as they are.
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 1])))
    first_day = int(made.launch.min())
    titles = _titles(made, rng)
    age_years = rng.standard_exponential(len(titles)) * 8
    for row, item_id in enumerate(made.interactions.items.ids()):
        launched = datetime.fromtimestamp(int(made.launch[row]), UTC).date()
        backlist = int(made.launch[row]) == first_day
        genres = [GENRES[at].name for at in (made.category[row], made.second_category[row]) if at >= 0]
        year = max(1950, launched.year - 1 - int(age_years[row])) if backlist else launched.year
        yield item_id, titles[row], "|".join(genres), year, launched.isoformat()


def _titles(made: Synthetic, rng: np.random.Generator) -> list[str]:
    """Distinct titles that fit the first genre of each item; when the words run out, a second volume begins."""
    titles = [""] * len(made.category)
    for at, genre in enumerate(GENRES):
        stock = genre.titles()
        stock = [stock[place] for place in rng.permutation(len(stock))]
        for count, row in enumerate(np.flatnonzero(made.category == at)):
            volume, place = divmod(count, len(stock))
            titles[row] = stock[place] if volume == 0 else f"{stock[place]}, Volume {volume + 1}"
    return titles


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Replace a file as a whole: a reader never sees half of it."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        partial = Path(folder) / path.name
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
        partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
