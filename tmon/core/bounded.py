"""Calls to others' servers side by side, for no longer than we want to wait."""

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from queue import Empty, SimpleQueue
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def side_by_side(
    calls: Mapping[K, Callable[[], None]], patience_s: float
) -> Iterator[tuple[K, Exception | None]]:
    """Make all calls at once, and tell of each as it ends what it raised.

    Sockets' own timeouts begin anew with each byte that trickles in, so those are no
    bound. A call that isn't over in time goes on in its thread, which ends with the
    process at the latest; it is told as a TimeoutError.
    """
    ended: SimpleQueue[tuple[K, Exception | None]] = SimpleQueue()
    for key, call in calls.items():
        threading.Thread(target=_make, args=(key, call, ended), daemon=True).start()
    deadline = time.monotonic() + patience_s
    waiting = dict.fromkeys(calls)
    while waiting:
        try:
            key, error = ended.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        del waiting[key]
        yield key, error
    for key in waiting:
        yield key, TimeoutError()


def _make(
    key: K, call: Callable[[], None], ended: "SimpleQueue[tuple[K, Exception | None]]"
) -> None:
    try:
        call()
    except Exception as error:  # others' plugins raise what they like, and fail alone
        ended.put((key, error))
    else:
        ended.put((key, None))
