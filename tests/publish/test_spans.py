"""What an address says of time becomes a span, or an error that says what it may say."""

import pytest

from tmon.core.time import DAY_MS, FIRST_MS, LAST_MS, iso
from tmon.pages.spans import BadSpan, ReadingRange, Span, parse_span, shifted

NOW_MS = 1_763_812_800_000  # 2025-11-22T12:00:00Z
LIVE = ReadingRange(NOW_MS - 900 * DAY_MS, NOW_MS - 60_000)
LONG_AGO = ReadingRange(NOW_MS - 900 * DAY_MS, NOW_MS - 500 * DAY_MS)
NOTHING = ReadingRange(None, None)


@pytest.mark.parametrize(
    ("asked", "days"),
    [({}, 1), ({"range": "24h"}, 1), ({"range": "7d"}, 7), ({"range": "1y"}, 365)],
)
def test_a_range_ends_now(asked: dict[str, str], days: int) -> None:
    span = parse_span(asked, LIVE, NOW_MS)
    assert (span.start_ms, span.end_ms) == (NOW_MS - days * DAY_MS, NOW_MS)


def test_all_is_from_the_first_reading_to_the_last_and_both_are_in_it() -> None:
    span = parse_span({"range": "all"}, LIVE, NOW_MS)
    assert span == Span(LIVE.first_ms or 0, (LIVE.last_ms or 0) + 1, "all")


def test_who_sent_nothing_today_is_shown_whole() -> None:
    assert parse_span({}, LONG_AGO, NOW_MS).name == "all"
    assert parse_span({}, NOTHING, NOW_MS).name == "24h"


@pytest.mark.parametrize(
    "text",
    ["1763726400000", "2025-11-21T12:00:00Z", "2025-11-21T12:00", "2025-11-21T14:00 02:00"],
)
def test_from_and_to_are_instants_in_several_spellings(text: str) -> None:
    span = parse_span({"from": text, "to": "2025-11-22"}, LIVE, NOW_MS)
    assert span == Span(NOW_MS - DAY_MS, NOW_MS - DAY_MS // 2)
    assert parse_span(span.parameters, LIVE, NOW_MS) == span


def test_a_span_is_told_in_words() -> None:
    assert Span(0, DAY_MS).in_words == "1970-01-01 00:00 to 1970-01-02 00:00 UTC"
    assert Span(0, DAY_MS, "7d").in_words == "the last 7 days"


def test_either_end_may_be_left_out() -> None:
    assert parse_span({"from": "2025-11-22"}, LIVE, NOW_MS).end_ms == NOW_MS
    assert parse_span({"to": "2025-11-22"}, LIVE, NOW_MS).start_ms == LIVE.first_ms
    assert parse_span({"to": "2025-11-22"}, NOTHING, NOW_MS).length_ms == DAY_MS


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
    with pytest.raises(BadSpan, match=told):
        parse_span(asked, LIVE, NOW_MS)


def test_a_span_is_moved_and_zoomed_about_its_middle() -> None:
    day = Span(10 * DAY_MS, 11 * DAY_MS, "24h")
    assert shifted(day, -1) == Span(9 * DAY_MS, 10 * DAY_MS)
    assert shifted(day, 0, scale=3) == Span(9 * DAY_MS, 12 * DAY_MS)
    assert shifted(day, 0, scale=0.5).length_ms == DAY_MS / 2


def test_no_move_leaves_what_can_be_told() -> None:
    edge = Span(FIRST_MS, LAST_MS)
    for to in (shifted(edge, -0.5), shifted(edge, 0.5), shifted(edge, 0, scale=2)):
        assert parse_span(to.parameters, LIVE, NOW_MS) == to
    instant = Span(5, 6)
    assert shifted(instant, 0, scale=0.5).length_ms >= 1


def test_an_instant_is_told_as_exactly_as_it_is() -> None:
    assert iso(NOW_MS) == "2025-11-22T12:00:00Z"
    assert iso(NOW_MS + 7) == "2025-11-22T12:00:00.007Z"
