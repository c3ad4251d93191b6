"""What a moment says by itself: context fields every event with a time has."""

from __future__ import annotations

from datetime import UTC, datetime

TIME_FIELDS = ("hour", "weekday", "month")


def time_context(timestamp_s: float) -> dict[str, str]:
    """Return the time fields of a moment in UTC seconds: hour 0 to 23, ISO weekday 1 (Monday) to 7, month 1 to 12.

    Examples
    --------
    >>> time_context(1_795_266_000)
    {'hour': '13', 'weekday': '6', 'month': '11'}
    """
    moment = datetime.fromtimestamp(timestamp_s, UTC)
    return {"hour": str(moment.hour), "weekday": str(moment.isoweekday()), "month": str(moment.month)}
