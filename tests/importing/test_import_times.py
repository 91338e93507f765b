"""One clock's times, as loggers write them: how far ahead, and the hour that came twice."""

from zoneinfo import ZoneInfo

import pytest

from tmon.core.reading import AHEAD_MS, Refusal
from tmon.core.time import FIRST_MS
from tmon.importer.clock import Clock
from tmon.importer.times import TimeFormat

BERLIN = ZoneInfo("Europe/Berlin")
NOW_MS = 1_795_176_000_000  # 2026-11-20T12:00:00Z
TWICE = "2026-10-25 02:30"  # 00:30Z, and 01:30Z
EARLIER_MS, LATER_MS = 1_792_888_200_000, 1_792_891_800_000


class Times:
    """A clock that reads its times first."""

    def __init__(self, column: str) -> None:
        self._format = TimeFormat(in_ms=column == "measured_ms")
        self._clock = Clock(column, BERLIN, NOW_MS)

    def measured_ms(self, text: str) -> int:
        return self._clock.measured_ms(self._format.read(text), text)


def clock(column: str = "time") -> Times:
    return Times(column)


def test_a_time_may_be_ten_minutes_ahead_and_no_more() -> None:
    assert clock("measured_ms").measured_ms(str(NOW_MS + AHEAD_MS)) == NOW_MS + AHEAD_MS
    with pytest.raises(Refusal, match="'1795176600001' is in the future") as refused:
        clock("measured_ms").measured_ms(str(NOW_MS + AHEAD_MS + 1))
    assert refused.value.code == "implausible_time"


def test_a_time_may_be_of_the_year_1_and_not_before() -> None:
    assert clock("measured_ms").measured_ms(str(FIRST_MS)) == FIRST_MS
    with pytest.raises(Refusal, match="is before the year 1"):
        clock("measured_ms").measured_ms(str(FIRST_MS - 1))


def test_what_is_no_time_is_told_with_an_example() -> None:
    with pytest.raises(Refusal, match=r"time 'noon' must be like 2013-07-04 12:00"):
        clock().measured_ms("noon")


def test_the_first_row_of_a_file_is_in_the_first_of_the_two_hours() -> None:
    assert clock().measured_ms(TWICE) == EARLIER_MS


def test_the_same_time_again_is_an_hour_later_or_earlier_as_the_rows_go() -> None:
    """A logger that writes each hour has it in two rows that follow each other."""
    forwards = clock()
    assert forwards.measured_ms("2026-10-25 01:30") < EARLIER_MS
    assert [forwards.measured_ms(TWICE) for _ in range(2)] == [EARLIER_MS, LATER_MS]
    backwards = clock()
    assert backwards.measured_ms("2026-10-25 03:30") > LATER_MS
    assert backwards.measured_ms("2026-10-25 03:15") > LATER_MS
    assert [backwards.measured_ms(TWICE) for _ in range(2)] == [LATER_MS, EARLIER_MS]


def test_a_time_before_the_last_is_of_the_second_hour() -> None:
    forwards = clock()
    assert forwards.measured_ms(TWICE) == EARLIER_MS
    assert forwards.measured_ms("2026-10-25 02:45") == EARLIER_MS + 15 * 60_000
    assert forwards.measured_ms(TWICE) == LATER_MS
