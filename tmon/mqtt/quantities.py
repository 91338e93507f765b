"""What the owner's rows of topics say that sensors measure."""

import logging
import time
from collections.abc import Callable, Iterable

from tmon.core.errors import TmonError
from tmon.core.recent import Recent
from tmon.db.connect import sqlite3
from tmon.mqtt.messages import Measured

REMEMBERED = 20_000  # sensors
RETRY_S = 60.0  # a device may be adopted later, and only then has sensors

log = logging.getLogger("tmon.mqtt")

Quantities = dict[tuple[str, str], str]  # by the device and what its sensor is called


class QuantityNotes:
    """Sets the quantity of each sensor once, as soon as it is there.

    ``apply`` gets those that wait, and returns those that are set.
    """

    def __init__(
        self, apply: Callable[[Quantities], Quantities], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._apply = apply
        self._clock = clock
        self._waiting: Quantities = {}
        self._set: Recent[tuple[str, str], str] = Recent(REMEMBERED)
        self._tried_s = -RETRY_S

    def note(self, readings: Iterable[Measured]) -> None:
        """Note readings that are stored now, and set what can be set."""
        for one in readings:
            key = one.device, one.sensor
            has_room = len(self._waiting) < REMEMBERED
            if one.quantity and self._set.get(key) != one.quantity and has_room:
                self._waiting[key] = one.quantity
        if self._waiting and self._clock() - self._tried_s >= RETRY_S:
            self._tried_s = self._clock()
            try:
                done = self._apply(self._waiting)
            except (TmonError, OSError, sqlite3.Error) as error:
                log.warning("quantities can't be set now, trying again: %s", error)
                return
            for key, quantity in done.items():
                self._set.set(key, quantity)
            self._waiting = {key: one for key, one in self._waiting.items() if key not in done}
