"""The server's clock, in Unix milliseconds."""

from time import time_ns

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def now_ms() -> int:
    """The time now."""
    return time_ns() // 1_000_000


def sql_iso(column: str) -> str:
    """SQL for a column of Unix milliseconds as ISO 8601 in UTC: ``2026-11-25T03:00:00Z``."""
    return f"strftime('%Y-%m-%dT%H:%M:%SZ', {column} / 1000, 'unixepoch')"
