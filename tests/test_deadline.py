"""Calls that fail, or never end, and those beside them."""

import threading

from tmon.core.deadline import run_with_deadline


def test_each_call_ends_for_itself_and_what_takes_too_long_is_left() -> None:
    released, ended_late = threading.Event(), threading.Event()

    def fail() -> None:
        raise ValueError("odd")

    def never_end() -> None:
        released.wait()
        ended_late.set()

    calls = {"good": lambda: None, "bad": fail, "slow": never_end}
    ended = dict(run_with_deadline(calls, 0.3))
    assert not ended_late.is_set()
    released.set()
    assert ended["good"] is None
    assert isinstance(ended["bad"], ValueError)
    assert isinstance(ended["slow"], TimeoutError)
