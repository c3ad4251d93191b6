"""Lines of ``user item item ...``, the form in which the fixed splits of many papers come."""

from __future__ import annotations

from collections.abc import Iterator

from recsys.data.sources.chunk import Chunk
from recsys.data.sources.lines import Progress, StrPath, read_blocks
from recsys.data.sources.rejected import Rejected
from recsys.errors import DataError


def list_chunks(path: StrPath, rejected: Rejected, progress: Progress | None = None) -> Iterator[Chunk]:
    """Read one event per user and item, in file order.

    Ids are separated by any whitespace. A line with a user alone is legal and holds no event: some published test
    sets have them, for users without a test item. So is a blank line.

    Raises
    ------
    DataError
        As `read_blocks`, and if no line of the file names an item.
    """
    has_events, rejected_before = False, rejected.rows
    for block in read_blocks(path, rejected, progress):
        users: list[str] = []
        items: list[str] = []
        lines: list[int] = []
        for line, text in enumerate(block.text.split("\n"), block.line):
            user, *chosen = text.split() or ("",)
            users += [user] * len(chosen)
            items += chosen
            lines += [line] * len(chosen)
        if lines:
            has_events = True
            yield Chunk({"user": users, "item": items}, lines)
    if not has_events and rejected.rows == rejected_before:
        raise DataError(
            "no line names an item",
            path=path,
            remedy="Lines of format 'lists' read 'user item item ...'; pass --format csv or format='csv' for other "
            "separators",
        )
