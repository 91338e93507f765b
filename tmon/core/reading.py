"""Readings, batches and receipts; the names and times that a reading may have."""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

import msgspec
from msgspec import Struct

from tmon.core.logs import redacted
from tmon.core.names import NODE_GRAMMAR, SENSOR_GRAMMAR, is_node_name, is_sensor_name
from tmon.core.time import as_ms

EARLIEST_MS = 946_684_800_000  # 2000-01-01: a clock before that was never set
SET_FROM_MS = 1_577_836_800_000  # 2020-01-01: no server of ours is older
AHEAD_MS = 10 * 60 * 1000  # how far a node's clock may be ahead of ours
DEFAULT_SENSOR = "temperature"  # of a reading without a sensor
NO_UNIT = ""  # of a sender that never tells units: then none is guessed from the sensor's name
TEXT_LIMIT = 200  # characters of a sender's text that are stored or shown
SECRET_LIMIT = 300  # characters of the longest token
REJECTED_FIELDS = frozenset(("sensor", "value", "measured_at", "measured_ms", "age_s"))

# A token and all that follows it, as it may have been split in two; what follows the uid and
# generation of a mangled one; any word as long as a signature; and a key (tmon/db/keys.py).
_TOKEN = re.compile(
    r"tmon_[\w:-]+\..*|(?<=[0-9a-f]{16})(?:%2e|\W){1,9}[0-9]{1,9}(?:%2e|\W).*|(?<![\w-])[\w-]{43}(?![\w-])"
    r"|(?<![\da-f])[\da-f]{32}(?![\da-f])",
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
    """This reading can't be stored; others of its batch can."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Node(Struct, frozen=True, gc=False, array_like=True):
    """A node, found by ``uid``.

    ``label`` is the name in its token, ``former`` are its earlier names. ``timezone`` is the zone
    of times that name none, where the owner has set one.
    """

    uid: str
    name: str
    label: str
    former: tuple[str, ...] = ()
    timezone: str = ""

    @property
    def id(self) -> str:
        """What no other sender has."""
        return self.uid

    def is_called(self, name: str) -> bool:
        """Whether ``name`` is its present name or an earlier one."""
        return name in (self.name, self.label) or name in self.former


class Gateway(Struct, frozen=True, gc=False):
    """A sender of many devices, which become nodes when the owner adopts them.

    ``names_nodes``: a device's id is its node's name. ``adopts_all``: each is a node at once.
    """

    name: str
    names_nodes: bool = False
    adopts_all: bool = False

    @property
    def id(self) -> str:
        """What no other sender has."""
        return f"gateway {self.name}"


Sender = Node | Gateway


class Reading(Struct, frozen=True, gc=False, array_like=True):
    """One value at one time.

    ``unit`` is canonical, None if the sender gave none, or NO_UNIT. ``timed`` is False if
    ``measured_ms`` is only the time of arrival. ``index`` is the reading's place in the
    request, and ``sent`` what stands there, if it differs.
    """

    index: int
    sensor: str
    value: float
    unit: str | None
    measured_ms: int
    timed: bool = True
    sent: object = None


class Rejection(Struct, frozen=True, gc=False, array_like=True):
    """A reading that wasn't stored: why, and its contents."""

    index: int
    code: str
    error: str
    sensor: str | None = None
    measured: str | None = None
    value: str | None = None
    raw: str | None = None  # as it was sent, where there was more than these


class Batch(Struct, frozen=True, array_like=True):
    """One request's readings, checked as far as possible without the database.

    ``gateway`` is the name of the gateway that sent them, if it wasn't the node itself.
    """

    node: Node
    received_ms: int
    readings: Sequence[Reading]
    rejected: Sequence[Rejection] = ()
    clock_skew_s: float | None = None
    gateway: str | None = None

    @property
    def size(self) -> int:
        """The number of its readings, with the rejected ones."""
        return len(self.readings) + len(self.rejected)


class Receipt(Struct, frozen=True, array_like=True, tag=True):
    """What became of each reading of a batch."""

    accepted: int
    duplicates: int
    rejected: Sequence[Rejection]

    @property
    def size(self) -> int:
        """The number of readings that it is about."""
        return self.accepted + self.duplicates + len(self.rejected)

    @classmethod
    def merged(cls, receipts: Sequence["Receipt"]) -> "Receipt":
        """One receipt for several batches, with their rejections in order."""
        return cls(
            sum(one.accepted for one in receipts),
            sum(one.duplicates for one in receipts),
            [each for one in receipts for each in one.rejected],
        )

    def as_json(self) -> dict[str, object]:
        """The body of a 201."""
        return {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "rejected": [
                {"index": one.index, "code": one.code, "error": one.error} for one in self.rejected
            ],
        }


@lru_cache(maxsize=4096)
def check_sensor_name(name: str) -> str:
    """``name``, if a sensor can have it.

    Raises:
        Refusal: it can't.
    """
    if not is_sensor_name(name):
        raise Refusal("invalid_sensor", f"sensor {clip(name)!r} {SENSOR_GRAMMAR}")
    return name


def check_node_name(name: str) -> str:
    """``name``, if a node can have it.

    Raises:
        Refusal: it can't.
    """
    if not is_node_name(name):
        raise Refusal("invalid_node", f"node {clip(name)!r} {NODE_GRAMMAR}")
    return name


def iso_moment(text: str) -> datetime | None:
    """Parse ISO 8601; None for other texts.

    It is a date, or a date and a time with ``T`` or one blank between them, and with an
    offset, ``Z`` or neither. Fractions of a second have at most nine digits.
    """
    try:
        return datetime.fromisoformat(text.upper()) if _ISO_8601.fullmatch(text) else None
    except ValueError:  # such as month 13
        return None


def instant_ms(text: str) -> int:
    """Unix milliseconds of an ISO 8601 time with an offset or Z.

    Raises:
        Refusal: it isn't such a time.
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
    """Check that a reading which arrived at ``received_ms`` can be from ``measured_ms``.

    Raises:
        Refusal: it is from before 2000, or more than ten minutes ahead.
    """
    if not EARLIEST_MS <= measured_ms <= received_ms + AHEAD_MS:
        when = "before 2000" if measured_ms < EARLIEST_MS else "over 10 minutes in the future"
        raise Refusal(
            "implausible_time",
            f"measured {when}; check the node's clock, and that measured_ms is in milliseconds",
        )


def clip(text: str) -> str:
    """A sender's text, made short and printable, and without tokens, to be stored or shown."""
    masked = _TOKEN.sub("tmon_\N{HORIZONTAL ELLIPSIS}", text[: 4 * TEXT_LIMIT])
    if len(text) > 4 * TEXT_LIMIT:  # half a token may stand at the end, unmasked
        masked = masked[:-SECRET_LIMIT]
    text = masked[:TEXT_LIMIT]
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def as_sent(text: str) -> str:
    """The beginning of a request, without tokens, keys and passwords, to be stored or shown."""
    shown = redacted(text[: 4 * TEXT_LIMIT])
    return clip(shown if len(text) <= 4 * TEXT_LIMIT else shown[:-SECRET_LIMIT])


def rejection(index: int, sent: object, refusal: Refusal) -> Rejection:
    """A rejected reading, with its contents as they were sent."""
    fields = msgspec.structs.asdict(sent) if isinstance(sent, Struct) else sent
    if not isinstance(fields, dict):
        fields = {"value": fields}
    has_more = isinstance(sent, dict) and not sent.keys() <= REJECTED_FIELDS
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
        raw=as_sent(_text_of(sent)) if has_more else None,
    )


def _text(value: object) -> str | None:
    return None if value is None else clip(_text_of(value))


def _text_of(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return type(value).__name__
