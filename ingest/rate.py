"""A limit on how fast a node may send."""

import math
import time
from collections.abc import Awaitable, Callable

from tmon.core.errors import ApiError, TooFast
from tmon.core.reading import Batch, Receipt

BURST_S = 10  # a node that posts its sensors one by one may do so at once


class RateLimit:
    """Limits each node to a number of readings a second.

    A node may go into debt with one batch of any size, and then waits until it is
    paid: so the spool of a week without Wi-Fi still gets through.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._paid_at: dict[str, float] = {}  # by node uid: when its debt is paid

    def limit(
        self, store: Callable[[Batch, Callable[[], bool]], Awaitable[Receipt]]
    ) -> Callable[[Batch, Callable[[], bool]], Awaitable[Receipt]]:
        """``store`` with this limit; a batch that it fails to store doesn't count."""

        async def limited_store(batch: Batch, sender_closed: Callable[[], bool]) -> Receipt:
            self.charge(batch.node.uid, batch.size)
            try:
                return await store(batch, sender_closed)
            except ApiError:
                self.refund(batch.node.uid, batch.size)
                raise

        return limited_store

    def charge(self, uid: str, readings: int) -> None:
        """Count a batch.

        Raises:
            TooFast: the node is in debt; nothing was counted.
        """
        now = self._clock()
        paid_at = self._paid_at.get(uid, 0.0)
        if paid_at > now:
            raise TooFast(
                f"faster than {self._per_s:g} readings a second", math.ceil(paid_at - now)
            )
        self._paid_at[uid] = max(paid_at, now - BURST_S) + readings / self._per_s

    def refund(self, uid: str, readings: int) -> None:
        """Take a batch out of the count: it was not stored, and will be sent again."""
        if uid in self._paid_at:
            self._paid_at[uid] -= readings / self._per_s
