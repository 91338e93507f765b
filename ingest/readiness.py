"""Whether a reading could be stored now: asked before a request's body is read."""

from collections.abc import Mapping
from typing import Any

from tmon.core.errors import ClockDiffers, Damaged
from tmon.core.reading import SET_FROM_MS
from tmon.db.damage import DAMAGED_MESSAGE


def check_ready(state: Mapping[str, Any]) -> None:
    """Check that the database, the clock and the writer could take a batch.

    Raises:
        Damaged, ClockDiffers, Overloaded: why none of them would be stored.
    """
    if state["damage"].is_known:
        raise Damaged(DAMAGED_MESSAGE)
    if state["now_ms"]() < SET_FROM_MS:  # a machine without a battery starts in 1970
        raise ClockDiffers(
            "the server's clock was not set since it was switched on; nothing was stored: "
            "keep the readings until it is"
        )
    state["writer"].check_capacity()
