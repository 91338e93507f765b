"""Calls that fail, or never end, and those beside them."""

import threading
import time

from tmon.core.deadline import run_with_deadline


def test_each_call_ends_for_itself_and_what_takes_too_long_is_left() -> None:
    released = threading.Event()

    def fail() -> None:
        raise ValueError("odd")

    def never_end() -> None:
        released.wait(20)

    began = time.monotonic()
    calls = {"good": lambda: None, "bad": fail, "slow": never_end}
    ended = dict(run_with_deadline(calls, 0.3))
    released.set()
    assert ended["good"] is None
    assert isinstance(ended["bad"], ValueError)
    assert isinstance(ended["slow"], TimeoutError)
    assert time.monotonic() - began < 10
