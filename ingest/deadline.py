"""What a connection waits for, and when that is late."""

import asyncio
import math
from collections.abc import Callable
from enum import Enum, auto

LOOK_S = 5.0  # the timer looks this often whether it is time
NEVER_S = math.inf


class Awaits(Enum):
    """What a connection waits for its other side to do."""

    HEADERS = auto()
    BODY = auto()
    NOTHING = auto()  # the turn is ours
    ANOTHER = auto()  # request, if it likes
    CLOSE = auto()  # the last answer is written


UNBODIED = (Awaits.HEADERS, Awaits.BODY)  # what comes is headers, or else chunks and trailers


class Deadline:
    """Owns one timer; ``on_late`` is called when what was awaited isn't there in time.

    Setting it again costs next to nothing: the timer looks now and then, and
    is set anew only for what is due before it looks.

    Args:
        loop: whose clock counts.
        on_late: called once when the time is over.
        on_look: called each time the timer looks, until ``stop``.
        look_s: how often that is at least.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_late: Callable[[], None],
        on_look: Callable[[], None],
        look_s: float = LOOK_S,
    ) -> None:
        self._loop = loop
        self._on_late = on_late
        self._on_look = on_look
        self._look_s = look_s
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = NEVER_S  # on the loop's clock
        self._left_s: float | None = None  # while the clock is stopped

    def within(self, seconds: float) -> None:
        """Be late after so many seconds, rather than when it would have been."""
        if self._left_s is not None:
            self._left_s = seconds
            return
        now_s = self._loop.time()
        self._due_s = now_s + seconds
        if self._timer is None or self._due_s < self._timer.when():
            self._look_later(now_s)

    def hold(self) -> None:
        """Stop the clock: the other side can't do anything now."""
        if self._left_s is None:
            self._left_s = self._due_s - self._loop.time()
            self._due_s = NEVER_S

    def release(self) -> None:
        """Let the clock run on from where it was stopped."""
        if self._left_s is not None:
            left_s, self._left_s = self._left_s, None
            self.within(left_s)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look_later(self, now_s: float) -> None:
        self.stop()
        self._timer = self._loop.call_at(min(self._due_s, now_s + self._look_s), self._look)

    def _look(self) -> None:
        now_s = self._loop.time()
        late = self._due_s <= now_s
        if late:
            self._due_s = NEVER_S
        self._look_later(now_s)
        self._on_look()
        if late:
            self._on_late()
