"""Makes a batch of what a device sent: skips what is absent, and rejects what can't be stored."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, tzinfo

from ingest.wire.items import READINGS_LIMIT
from tmon.core.device_names import prefix, sensor_name
from tmon.core.device_times import local_ms, parsed
from tmon.core.device_values import converted, number
from tmon.core.errors import TooLarge
from tmon.core.reading import (
    EARLIEST_MS,
    NO_UNIT,
    Batch,
    Gateway,
    Node,
    Reading,
    Refusal,
    Rejection,
    Sender,
    check_measured,
    rejection,
)
from tmon.core.time import parse_zone
from tmon.core.units import stored

NO_ZONE = (
    "a time without a zone: the time of arrival was taken; "
    "`tmon node set NODE --timezone ZONE` says the zone"
)


class Readings:
    """The readings of one device in one request."""

    def __init__(self) -> None:
        self.valid: list[Reading] = []
        self.rejected: list[Rejection] = []
        self.untimed: set[str] = set()


class BatchBuilder:
    """Collects the readings of one request.

    ``device`` is the id of the device that the next ones are from. A gateway's devices become
    nodes; a node's own name is in its key, so there the device is left out, but for a wire on
    which one sender has many devices: ``device_in_names`` puts it before its sensors' names.
    ``claimed_node`` is a name in the request that may be the node's, but not another's.
    ``limit`` is how many readings a request may have.
    ``notes`` says what was taken otherwise than it was sent, for the answer.
    """

    def __init__(self, sender: Sender, received_ms: int) -> None:
        self.sender = sender
        self.received_ms = received_ms
        self.device = ""
        self.device_in_names = False
        self.claimed_node = ""
        self.notes: list[str] = []
        self.by_device: defaultdict[str, Readings] = defaultdict(Readings)
        self.limit = READINGS_LIMIT
        self._count = self._absent = 0

    @property
    def _readings(self) -> Readings:
        return self.by_device[self.device if isinstance(self.sender, Gateway) else ""]

    def add(
        self, sensor: str, value: object, unit: str | None = None, measured_ms: int | None = None
    ) -> None:
        """Add a reading; nothing where its value is absent.

        Args:
            sensor: its name; characters that no name may have become ``_``.
            value: a number, or a text of one.
            unit: the wire's; converted if it isn't one that is stored.
            measured_ms: Unix milliseconds; None: the time of arrival. So is an impossible one.

        Raises:
            TooLarge: over 10,000 readings, or as many without a value.
        """
        try:
            measured = number(value)
            if measured is None:
                self._absent += 1
                if self._absent > self.limit:
                    raise self._too_many()
                return
            if self.device_in_names and self.device and isinstance(self.sender, Node):
                sensor = f"{prefix(self.device)}/{sensor}"
            name = sensor_name(sensor)
            measured, unit = converted(measured, unit, value)
        except Refusal as refusal:
            self.reject(refusal, sensor, value, measured_ms)
        else:
            self.add_number(name, measured, unit, measured_ms)

    def add_number(
        self, sensor: str, value: float, unit: str | None, measured_ms: int | None
    ) -> None:
        """Add a reading whose sensor's name is valid, and whose unit needs no conversion here."""
        at_ms: int | None = measured_ms
        try:
            value, unit = stored(value, unit)
            if at_ms is None or not EARLIEST_MS <= at_ms <= self.received_ms:  # the usual times
                at_ms = self._possible_ms(sensor, measured_ms)
        except Refusal as refusal:
            self.reject(refusal, sensor, value, measured_ms)
            return
        timed = at_ms is not None
        if at_ms is None:
            at_ms = self.received_ms
        index = self._next_index()
        self._readings.valid.append(Reading(index, sensor, value, unit or NO_UNIT, at_ms, timed))

    def reject(
        self,
        refusal: Refusal,
        sensor: str | None = None,
        value: object = None,
        measured: object = None,
    ) -> None:
        """Note what can't be stored, and why."""
        sent = {"sensor": sensor, "value": value, "measured_ms": measured}
        self._readings.rejected.append(rejection(self._next_index(), sent, refusal))

    def time_of(self, text: str, zone: tzinfo | None = None) -> int | None:
        """Unix milliseconds of a device's time; None for ``now``, none, or one that isn't clear.

        Args:
            text: the time as it was sent.
            zone: the wire's, of times that name none; else the owner may have set the node's.
        """
        text = text.strip()
        found = None if text in ("now", "") else parsed(text)
        if isinstance(found, datetime):
            zone = zone or self._zone()
            if zone is not None:
                measured_ms, note = local_ms(found, zone, self.received_ms)
                self.note(note)
                return measured_ms
            self.note(NO_ZONE)
            return None
        if found is None and text not in ("now", ""):
            self.note("the time was not understood: the time of arrival was taken")
        return found

    def _zone(self) -> tzinfo | None:
        """The zone that the owner has set for the sender."""
        with suppress(ValueError):  # none, or what isn't one
            return parse_zone(self.sender.timezone) if isinstance(self.sender, Node) else None
        return None

    def note(self, text: str) -> None:
        if text and text not in self.notes:
            self.notes.append(text)

    def parts(self, node: Node) -> Iterator[Batch]:
        """The readings of a node, in batches of the usual size."""
        readings = self.by_device[""]
        for start in range(0, max(len(readings.valid), len(readings.rejected)), READINGS_LIMIT):
            part = slice(start, start + READINGS_LIMIT)
            yield Batch(node, self.received_ms, readings.valid[part], readings.rejected[part])

    def batches(self) -> dict[str, Batch]:
        """The readings of each device of a gateway, by its id; none has a node yet."""
        return {
            device: Batch(
                Node("", device, device), self.received_ms, readings.valid, readings.rejected
            )
            for device, readings in self.by_device.items()
            if readings.valid or readings.rejected
        }

    def _next_index(self) -> int:
        index = self._count
        self._count += 1
        if index >= self.limit:
            raise self._too_many()
        return index

    def _too_many(self) -> TooLarge:
        return TooLarge(f"over {self.limit:,} readings in one request; send fewer")

    def _possible_ms(self, sensor: str, measured_ms: int | None) -> int | None:
        """The time; None, of arrival, for an impossible one of the first reading of its sensor."""
        untimed = self._readings.untimed
        if measured_ms is not None:
            try:
                check_measured(measured_ms, self.received_ms)
            except Refusal:
                if sensor in untimed:
                    raise
                self.note("an impossible time: the time of arrival was taken")
            else:
                return measured_ms
        if sensor in untimed:
            reason = f"a second reading of {sensor} without a time in one request"
            raise Refusal("repeated_untimed", reason)
        untimed.add(sensor)
        return None
