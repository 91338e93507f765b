"""What an address says of time becomes a span, or an error that says what it may say."""

import pytest

from tmon.core.time import DAY_MS, FIRST_MS, LAST_MS, iso
from tmon.pages.spans import NoSuchSpan, Past, Span, moved, span_of

NOW_MS = 1_763_812_800_000  # 2025-11-22T12:00:00Z
LIVE = Past(NOW_MS - 900 * DAY_MS, NOW_MS - 60_000)
LONG_AGO = Past(NOW_MS - 900 * DAY_MS, NOW_MS - 500 * DAY_MS)
NOTHING = Past(None, None)


@pytest.mark.parametrize(
    ("asked", "days"),
    [({}, 1), ({"range": "24h"}, 1), ({"range": "7d"}, 7), ({"range": "1y"}, 365)],
)
def test_a_range_ends_now(asked: dict[str, str], days: int) -> None:
    span = span_of(asked, LIVE, NOW_MS)
    assert (span.start_ms, span.end_ms) == (NOW_MS - days * DAY_MS, NOW_MS)


def test_all_is_from_the_first_reading_to_the_last_and_both_are_in_it() -> None:
    span = span_of({"range": "all"}, LIVE, NOW_MS)
    assert span == Span(LIVE.first_ms or 0, (LIVE.last_ms or 0) + 1, "all")


def test_who_sent_nothing_today_is_shown_whole() -> None:
    assert span_of({}, LONG_AGO, NOW_MS).name == "all"
    assert span_of({}, NOTHING, NOW_MS).name == "24h"


@pytest.mark.parametrize(
    "text",
    ["1763726400000", "2025-11-21T12:00:00Z", "2025-11-21T12:00", "2025-11-21T14:00 02:00"],
)
def test_from_and_to_are_instants_in_several_spellings(text: str) -> None:
    span = span_of({"from": text, "to": "2025-11-22"}, LIVE, NOW_MS)
    assert span == Span(NOW_MS - DAY_MS, NOW_MS - DAY_MS // 2)
    assert span_of(span.asked, LIVE, NOW_MS) == span


def test_a_span_is_told_in_words() -> None:
    assert Span(0, DAY_MS).in_words == "1970-01-01 00:00 to 1970-01-02 00:00 UTC"
    assert Span(0, DAY_MS, "7d").in_words == "the last 7 days"


def test_either_end_may_be_left_out() -> None:
    assert span_of({"from": "2025-11-22"}, LIVE, NOW_MS).end_ms == NOW_MS
    assert span_of({"to": "2025-11-22"}, LIVE, NOW_MS).start_ms == LIVE.first_ms
    assert span_of({"to": "2025-11-22"}, NOTHING, NOW_MS).length_ms == DAY_MS


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"range": "9d"}, "range must be 24h, 7d, 30d, 1y or all"),
        ({"range": "<script>"}, "range must be"),
        ({"from": "yesterday"}, "from and to must be like 2026-11-22"),
        ({"from": "9" * 30}, "from and to must be like"),
        ({"from": "-9" + "0" * 14}, "from and to must be like"),
        ({"from": "0000-01-01"}, "from and to must be like"),
        ({"to": "99999-01-01"}, "from and to must be like"),
        ({"from": "2025-11-22", "to": "2025-11-22"}, "from must be before to"),
        ({"from": "2025-11-23", "to": "2025-11-22"}, "from must be before to"),
    ],
)
def test_what_is_no_span_is_told(asked: dict[str, str], told: str) -> None:
    with pytest.raises(NoSuchSpan, match=told):
        span_of(asked, LIVE, NOW_MS)


def test_a_span_is_moved_and_zoomed_about_its_middle() -> None:
    day = Span(10 * DAY_MS, 11 * DAY_MS, "24h")
    assert moved(day, -1) == Span(9 * DAY_MS, 10 * DAY_MS)
    assert moved(day, 0, times=3) == Span(9 * DAY_MS, 12 * DAY_MS)
    assert moved(day, 0, times=0.5).length_ms == DAY_MS / 2


def test_no_move_leaves_what_can_be_told() -> None:
    edge = Span(FIRST_MS, LAST_MS)
    for to in (moved(edge, -0.5), moved(edge, 0.5), moved(edge, 0, times=2)):
        assert span_of(to.asked, LIVE, NOW_MS) == to
    instant = Span(5, 6)
    assert moved(instant, 0, times=0.5).length_ms >= 1


def test_an_instant_is_told_as_exactly_as_it_is() -> None:
    assert iso(NOW_MS) == "2025-11-22T12:00:00Z"
    assert iso(NOW_MS + 7) == "2025-11-22T12:00:00.007Z"
