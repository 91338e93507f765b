"""A connection's timeout, and what it waits for meanwhile."""

import asyncio
import math
from collections.abc import Callable
from enum import Enum, auto

TICK_S = 5.0  # the timer runs at least this often


class Awaiting(Enum):
    """What a connection waits for."""

    HEADERS = auto()
    BODY = auto()
    RESPONSE = auto()  # of the app; without a timeout
    NEXT_REQUEST = auto()
    CLOSE = auto()  # by the other side, after our last response


class Deadline:
    """Owns one timer; calls ``on_timeout`` when the time is over.

    Setting it again is cheap: the timer ticks every few seconds, and is restarted
    only for what is due before its next tick.

    Args:
        loop: its clock counts.
        on_timeout: called once for each time that is over.
        on_tick: called at each tick, until ``stop``.
        tick_s: the time between ticks.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_timeout: Callable[[], None],
        on_tick: Callable[[], None],
        tick_s: float = TICK_S,
    ) -> None:
        self._loop = loop
        self._on_timeout = on_timeout
        self._on_tick = on_tick
        self._tick_s = tick_s
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = math.inf  # on the loop's clock
        self._paused_left_s: float | None = None  # while paused

    def set(self, seconds: float) -> None:
        """Time out after so many seconds from now; replaces the time set before."""
        if self._paused_left_s is not None:
            self._paused_left_s = seconds
            return
        now_s = self._loop.time()
        self._due_s = now_s + seconds
        if self._timer is None or self._due_s < self._timer.when():
            self._restart_timer(now_s)

    def pause(self) -> None:
        """Stop the clock while the other side can't do anything."""
        if self._paused_left_s is None:
            self._paused_left_s = self._due_s - self._loop.time()
            self._due_s = math.inf

    def resume(self) -> None:
        if self._paused_left_s is not None:
            left_s, self._paused_left_s = self._paused_left_s, None
            self.set(left_s)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _restart_timer(self, now_s: float) -> None:
        self.stop()
        self._timer = self._loop.call_at(min(self._due_s, now_s + self._tick_s), self._tick)

    def _tick(self) -> None:
        now_s = self._loop.time()
        is_due = self._due_s <= now_s
        if is_due:
            self._due_s = math.inf
        self._restart_timer(now_s)
        self._on_tick()
        if is_due:
            self._on_timeout()
