"""Times as people say them, in the place where the terminal stands."""

from __future__ import annotations

import datetime

DAY_MS = 86_400_000


def local(ms: int) -> datetime.datetime:
    """Unix milliseconds in the local time zone; what no calendar holds is the epoch."""
    try:
        return datetime.datetime.fromtimestamp(ms / 1000).astimezone()
    except (ValueError, OverflowError, OSError):
        return datetime.datetime.fromtimestamp(0).astimezone()


def clock(ms: int) -> str:
    """09:14"""
    return f"{local(ms):%H:%M}"


def day_of(ms: int) -> datetime.date:
    """The day on which something was, here."""
    return local(ms).date()


def day_name(ms: int, now: int) -> str:
    """Today, Yesterday, Monday 3 March, 3 March 2024"""
    then, today = day_of(ms), day_of(now)
    days = (today - then).days
    if days == 0:
        return "Today"
    if days == 1:
        return "Yesterday"
    if then.year == today.year:
        return f"{then:%A} {then.day} {then:%B}"
    return f"{then.day} {then:%B} {then.year}"


def brief(ms: int, now: int) -> str:
    """At most six characters for a list: 09:14, Tue, 3 Mar, 2024; "" for 0."""
    if not ms:
        return ""
    then, today = day_of(ms), day_of(now)
    days = (today - then).days
    if days <= 0:
        return clock(ms)
    if days < 7:
        return f"{then:%a}"
    if then.year == today.year:
        return f"{then.day} {then:%b}"
    return str(then.year)


def ago(ms: int, now: int) -> str:
    """now, 5 min ago, 3 h ago, Tue, 3 Mar"""
    minutes = max(0, now - ms) // 60_000
    if minutes < 1:
        return "now"
    if minutes < 60:
        return f"{minutes} min ago"
    if minutes < 24 * 60:
        return f"{minutes // 60} h ago"
    return brief(ms, now)


def span(text: str) -> int | None:
    """Milliseconds in 30m, 8h, 2d, 1w; None when it is none of these."""
    units = {"m": 60_000, "h": 3_600_000, "d": DAY_MS, "w": 7 * DAY_MS}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not number.isascii() or not number.isdigit() or len(number) > 4:
        return None
    return int(number) * units[unit]
