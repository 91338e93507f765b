"""Calls to other people's servers, all at once and with a common deadline."""

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from queue import Empty, SimpleQueue
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def run_with_deadline(
    calls: Mapping[K, Callable[[], None]], timeout_s: float
) -> Iterator[tuple[K, Exception | None]]:
    """Start every call in a thread of its own; yield each as it ends, with what it raised.

    A socket's timeout starts anew with each byte that arrives, so it limits nothing. A call
    that exceeds ``timeout_s`` is yielded with a TimeoutError, and its thread is left
    running, until the process ends at the latest.
    """
    ended: SimpleQueue[tuple[K, Exception | None]] = SimpleQueue()

    def run(key: K, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # other people's plugins raise anything; each fails alone
            ended.put((key, error))
        else:
            ended.put((key, None))

    for key, call in calls.items():
        threading.Thread(target=run, args=(key, call), daemon=True).start()
    deadline = time.monotonic() + timeout_s
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
