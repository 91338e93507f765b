"""Which texts are times, on the wire and in a file to import."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmon.core.reading import Refusal, instant_ms, iso_moment

NOON_MS = 1_795_176_000_000  # 2026-11-20T12:00:00Z


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-11-20T12:00:00Z", 0),
        ("2026-11-20T12:00:00z", 0),
        ("2026-11-20t12:00:00z", 0),
        ("2026-11-20 12:00:00Z", 0),
        ("2026-11-20T12:00Z", 0),
        ("2026-11-20T12:00:00+00:00", 0),
        ("2026-11-20T12:00:00-00:00", 0),
        ("2026-11-20T12:00:00+0000", 0),
        ("2026-11-20 12:00:00+00", 0),
        ("2026-11-20T17:45:00+05:45", 0),
        ("2026-11-20T08:30:00-0330", 0),
        ("20261120T120000Z", 0),
        ("20261120T1200+0000", 0),
        ("20261120T120000.25Z", 250),
        ("2026-11-20T12:00:00,5Z", 500),
        ("2026-11-20T12:00:00.1Z", 100),
        ("2026-11-20T12:00:00.12Z", 120),
        *((f"2026-11-20T12:00:00.{'123456789'[:n]}+00:00", 123) for n in range(3, 10)),
    ],
)
def test_what_senders_write_is_a_time(text: str, ms: int) -> None:
    assert instant_ms(text) == NOON_MS + ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-20",
        "2026-11-20T12:00:00",
        "2026-11-20T12:00:00 Z",
        "2026-11-20T12:00:00Z ",
        " 2026-11-20T12:00:00Z",
        "2026-11-20T12:00:00Z\n",
        "2026-11-20  12:00:00Z",
        *(f"2026-11-20{mark}12:00:00Z" for mark in "\0\t\n_-x\u0422\u3000\u00a0\ud800\U0001f321"),
        "2026-11-20T12Z",
        "2026-11-20T120000Z",
        "20261120T12:00:00Z",
        "20261120120000Z",
        "2026-W47-5T12:00:00Z",
        "2026W475T120000Z",
        "2026-324T12:00:00Z",
        "+2026-11-20T12:00:00Z",
        "2026-11-20T24:00:00Z",
        "2026-11-20T12:00:60Z",
        "2026-11-20T12:00:00+01:60",
        "2026-11-20T12:00:00-00:99",
        "20261120T120000+0160",
        "2026-13-20T12:00:00Z",
        "2026-11-20T12:00:00.Z",
        "2026-11-20T12:00:00.1234567890Z",
        "2026-11-20T12:00.5Z",
        "2026-11-20T12:00:00+00:00:30",
        "2026-11-20T12:00:00+00:00:00.5",
        "2026-11-20T12:00:00+24:00",
        "2026-11-20T12:00:00+1",
        "2026-11-20T12:00:00Z+00:00",
        "2026-11-20T12:00:00UTC",
        "\uff12\uff10\uff12\uff16-11-20T12:00:00Z",  # full-width digits
        "2026-11-20T12:00:00.\u0663Z",
        "\u0662\u0660\u0662\u0666-11-20T12:00:00Z",
        "2026-11-20T12:00:00\ud800Z",
        "2026-11-20T12:00:00\u221200:00",  # a minus sign, as typographers write it
    ],
)
def test_what_else_looks_like_a_time_is_none(text: str) -> None:
    with pytest.raises(Refusal, match="must be ISO 8601") as told:
        instant_ms(text)
    assert told.value.code == "invalid_time"
    told.value.reason.encode()


@given(st.text(st.sampled_from("0123456789-:TtZz+.,W \0\ud800\u0663"), max_size=32))
def test_any_text_is_a_time_or_none_and_a_time_is_ascii(text: str) -> None:
    assert iso_moment(text) is None or text.isascii()
