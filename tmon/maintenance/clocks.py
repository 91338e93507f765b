"""The server's clock beside its nodes', and how far ahead a reading may be."""

from statistics import median_low
from typing import NamedTuple

from sqlite_utils import Database

from tmon.core import humanize
from tmon.core.errors import TmonError
from tmon.core.time import DAY_MS

AHEAD_MS = 10 * 60 * 1000  # as ingest takes readings, and as the view `latest` shows them
SET_FROM_MS = 1_577_836_800_000  # 2020-01-01: ingest takes no readings before it
UNSET = "clock was not set since it was switched on, so no readings are taken"
OFF_S = 60.0
STILL_OFF_S = 30.0
AGREE_S = 60.0  # nodes with right clocks differ by less: a request's way, seconds that are cut


class ServerClockOff(TmonError):
    """Most nodes say that it is the server's clock that is wrong."""


class Majority(NamedTuple):
    """So many nodes, of those heard within a day, whose clocks say the same."""

    ahead_s: float  # of the server's clock
    nodes: int
    heard: int

    @property
    def server_is_off(self) -> bool:
        return abs(self.ahead_s) > OFF_S

    def __str__(self) -> str:
        off = "behind" if self.ahead_s > 0 else "ahead of"
        length = humanize.duration(abs(self.ahead_s))
        return f"clock {length} {off} what {self.nodes} of {self.heard} nodes say"


def majority(db: Database, now_ms: int) -> Majority | None:
    """What more than half of the nodes that tell their time agree on; two at the least."""
    rows = db.execute(
        "select clock_skew_s from nodes where revoked_ms is null"
        " and last_received_ms > ? and clock_skew_s is not null",
        [now_ms - DAY_MS],
    )
    skews_s = [skew_s for (skew_s,) in rows]
    if len(skews_s) < 2:
        return None
    middle_s = median_low(skews_s)
    agreeing = sum(abs(skew_s - middle_s) <= AGREE_S for skew_s in skews_s)
    return Majority(middle_s, agreeing, len(skews_s)) if 2 * agreeing > len(skews_s) else None


def check_server_clock(db: Database, now_ms: int) -> None:
    """Refuse what would delete the wrong readings if the server's clock were wrong.

    Raises:
        ServerClockOff: most nodes say that it is, or it was never set.
    """
    if now_ms < SET_FROM_MS:
        raise ServerClockOff(
            f"nothing is deleted, as the server's {UNSET}; put it right first:"
            " `timedatectl set-ntp true`"
        )
    most = majority(db, now_ms)
    if most and most.server_is_off:
        raise ServerClockOff(
            f"nothing is deleted, as the server has its {most}; put it right first:"
            " `timedatectl set-ntp true`"
        )


def plausible_until_ms(now_ms: int) -> int:
    """Later readings are from a clock that was ahead; the view `latest` goes by the same."""
    return now_ms // 1000 * 1000 + AHEAD_MS
