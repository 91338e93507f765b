"""Readings, batches and receipts; names, times, and what they can be. Pure."""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

import msgspec
from msgspec import Struct

from tmon.core.names import NODE_GRAMMAR, SENSOR_GRAMMAR, can_be_node, can_be_sensor
from tmon.core.time import as_ms

EARLIEST_MS = 946_684_800_000  # 2000-01-01: a clock before that was never set
SET_FROM_MS = 1_577_836_800_000  # 2020-01-01: no server of ours is older
AHEAD_MS = 10 * 60 * 1000  # what a node's clock may be ahead of ours
DEFAULT_SENSOR = "temperature"  # of a reading that names none
TEXT_LIMIT = 200  # characters of a sender's text that are kept or repeated

# A token and all that follows it, as it may have been broken in two; of one that was mangled
# what stands behind its uid and generation; and what is as long as a signature.
_TOKEN = re.compile(
    r"tmon_[\w:-]+\..*|(?<=[0-9a-f]{16})(?:%2e|\W){1,9}[0-9]{1,9}(?:%2e|\W).*|(?<![\w-])[\w-]{43}(?![\w-])",
    re.ASCII | re.DOTALL | re.IGNORECASE,
)

# ISO 8601, extended or basic: a date, then perhaps a time of day, then perhaps its offset.
# `fromisoformat` takes more: anything as the separator, weeks, offsets with seconds.
_EXTENDED_TIME = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?"
_BASIC_TIME = r"[0-9]{4}(?:[0-9]{2}(?:[.,][0-9]{1,9})?)?"
_OFFSET = r"(?:[Zz]|[+-][0-9]{2}(?::?[0-5][0-9])?)?"
_ISO_8601 = re.compile(
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(?:[Tt ]{_EXTENDED_TIME}{_OFFSET})?"
    rf"|[0-9]{{8}}(?:[Tt ]{_BASIC_TIME}{_OFFSET})?"
)


class Refusal(Exception):
    """This one reading can't be stored; its neighbours can."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Node(Struct, frozen=True, gc=False, array_like=True):
    """Who sends: found by ``uid``.

    ``label`` is the name its token was made under, ``former`` are those it had before.
    """

    uid: str
    name: str
    label: str
    former: tuple[str, ...] = ()

    def is_called(self, name: str) -> bool:
        """Whether ``name`` is its present name or any it had."""
        return name in (self.name, self.label) or name in self.former


class Reading(Struct, frozen=True, gc=False, array_like=True):
    """One value at one time.

    ``value`` is in ``unit``, which is canonical or, where the sender gave none,
    None. ``timed`` is False where ``measured_ms`` is merely when it arrived.
    ``index`` is its place in the request, ``sent`` what was written there, unless
    that says the same.
    """

    index: int
    sensor: str
    value: float
    unit: str | None
    measured_ms: int
    timed: bool = True
    sent: object = None


class Rejection(Struct, frozen=True, gc=False, array_like=True):
    """One reading that was not stored, why, and what it said."""

    index: int
    code: str
    error: str
    sensor: str | None = None
    measured: str | None = None
    value: str | None = None


class Batch(Struct, frozen=True, array_like=True):
    """One request's readings, checked as far as one can without the database."""

    node: Node
    received_ms: int
    readings: Sequence[Reading]
    rejected: Sequence[Rejection] = ()
    clock_skew_s: float | None = None

    @property
    def size(self) -> int:
        """How many readings it holds, the bad ones included."""
        return len(self.readings) + len(self.rejected)


class Receipt(Struct, frozen=True, array_like=True, tag=True):
    """What became of each reading of a batch."""

    accepted: int
    duplicates: int
    rejected: Sequence[Rejection]

    @property
    def size(self) -> int:
        """How many readings it tells of."""
        return self.accepted + self.duplicates + len(self.rejected)

    def as_json(self) -> dict[str, object]:
        """The body of a 201."""
        return {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "rejected": [
                {"index": told.index, "code": told.code, "error": told.error}
                for told in self.rejected
            ],
        }


@lru_cache(maxsize=4096)
def check_sensor_name(name: str) -> str:
    """``name``, if it is one a sensor can have.

    Raises:
        Refusal: it isn't.

    """
    if not can_be_sensor(name):
        raise Refusal("invalid_sensor", f"sensor {clip(name)!r} {SENSOR_GRAMMAR}")
    return name


def check_node_name(name: str) -> str:
    """``name``, if it is one a node can have.

    Raises:
        Refusal: it isn't.
    """
    if not can_be_node(name):
        raise Refusal("invalid_node", f"node {clip(name)!r} {NODE_GRAMMAR}")
    return name


def iso_moment(text: str) -> datetime | None:
    """The moment that an ISO 8601 text tells; None if it is none.

    It is a date or a date and a time, with ``T`` or one blank between them, and with an
    offset, ``Z`` or neither. Fractions of a second have at most nine digits.
    """
    try:
        return datetime.fromisoformat(text.upper()) if _ISO_8601.fullmatch(text) else None
    except ValueError:  # a month of 13, say
        return None


def instant_ms(text: str) -> int:
    """Unix milliseconds of an ISO 8601 time with an offset or Z.

    Raises:
        Refusal: it is no such time.

    """
    moment = iso_moment(text)
    if moment is None or moment.tzinfo is None:
        raise Refusal(
            "invalid_time",
            f"measured_at {clip(text)!r} must be ISO 8601 with an offset, "
            "like 2026-11-22T12:00:00Z",
        )
    return as_ms(moment)


def check_measured(measured_ms: int, received_ms: int) -> None:
    """Whether a reading that arrived at ``received_ms`` can have been measured then.

    Raises:
        Refusal: before 2000, or more than ten minutes ahead.

    """
    if not EARLIEST_MS <= measured_ms <= received_ms + AHEAD_MS:
        when = "before 2000" if measured_ms < EARLIEST_MS else "over 10 minutes in the future"
        raise Refusal(
            "implausible_time",
            f"measured {when}; check the node's clock, and that measured_ms is in milliseconds",
        )


def clip(text: str) -> str:
    """A sender's text, fit to be stored and shown: short, printable, and without a token."""
    text = _TOKEN.sub("tmon_\N{HORIZONTAL ELLIPSIS}", text[: 4 * TEXT_LIMIT])[:TEXT_LIMIT]
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def rejection(index: int, sent: object, refusal: Refusal) -> Rejection:
    """A reading that is refused, with what it said in its own words."""
    fields = msgspec.structs.asdict(sent) if isinstance(sent, Struct) else sent
    if not isinstance(fields, dict):
        fields = {"value": fields}
    sensor = fields.get("sensor", DEFAULT_SENSOR)
    sensor = DEFAULT_SENSOR if sensor is msgspec.UNSET else sensor
    times = (fields.get(name) for name in ("measured_at", "measured_ms", "age_s"))
    return Rejection(
        index,
        refusal.code,
        refusal.reason,
        sensor=_text(sensor),
        measured=_text(next((time for time in times if time is not None), None)),
        value=_text(fields.get("value")),
    )


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value if value is None else clip(value)
    try:
        return clip(json.dumps(value, ensure_ascii=False))
    except (ValueError, RecursionError):
        return clip(type(value).__name__)
