"""What a connection waits for, and when that is late."""

import asyncio
import math
from collections.abc import Callable
from enum import Enum, auto

LOOK_S = 5.0  # the timer looks this often whether it is time


class Awaits(Enum):
    """What a connection waits for its other side to do."""

    HEADERS = auto()
    BODY = auto()
    NOTHING = auto()  # the turn is ours
    ANOTHER = auto()  # request, if it likes


UNBODIED = (Awaits.HEADERS, Awaits.BODY)  # what comes is headers, or else chunks and trailers


class Deadline:
    """Owns one timer; ``on_late`` is called when what was awaited isn't there in time.

    Setting it again costs next to nothing: the timer looks now and then, and
    is set anew only for what is due before it looks.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_late: Callable[[], None]) -> None:
        self._loop = loop
        self._on_late = on_late
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = math.inf  # on the loop's clock

    def within(self, seconds: float) -> None:
        """Be late after so many seconds, rather than when it would have been."""
        now_s = self._loop.time()
        self._due_s = now_s + seconds
        if self._timer is None or self._due_s < self._timer.when():
            self._look_later(now_s)

    def never(self) -> None:
        self._due_s = math.inf

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look_later(self, now_s: float) -> None:
        self.stop()
        self._timer = self._loop.call_at(min(self._due_s, now_s + LOOK_S), self._look)

    def _look(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        if self._due_s <= now_s:
            self._due_s = math.inf
            self._on_late()
        else:
            self._look_later(now_s)
