"""T24 to T28: on several machines, the NATS servers, their streams, and this machine's sink."""

from collections.abc import Iterator

from tmon.core import humanize
from tmon.core.errors import TmonError
from tmon.db.connect import is_of_cluster
from tmon.watch.findings import Finding, Severity
from tmon.watch.station import Station

BEHIND_MS = 60_000  # a sink is usually behind by less than a second
BEHIND_OVER_MS = 10_000
FULL_SHARE, FULL_CRITICAL_SHARE, FULL_OVER_SHARE = 0.8, 0.95, 0.75
AGAIN_AFTER_S = 3.0


class UnknownServers(TmonError):
    """The file is of a station on several machines, and the settings name no NATS server."""


def check(station: Station) -> Iterator[Finding]:
    """Nothing, unless this station is on several machines.

    Raises:
        UnknownServers: it is, and the settings don't say where the streams are.
    """
    if not station.settings.stream:
        if is_of_cluster(station.db):
            raise UnknownServers(
                "this file is of a station on several machines, and TMON_STREAM isn't set: set it "
                "to their NATS servers, as `tmon sink` has it here (docs/cluster.md)"
            )
        return
    from tmon.stream.connection import CannotConnect  # noqa: PLC0415 - nats is imported if needed
    from tmon.stream.health import look  # noqa: PLC0415

    try:
        first, second = look(station.settings, again_after_s=AGAIN_AFTER_S)
    except CannotConnect as error:
        yield Finding("T24", Severity.CRITICAL, str(error), subject="streams")
        return
    yield from check_sink(station.now_ms, first.waiting, moves=first.stored != second.stored)
    leaderless = min(first.leaderless, second.leaderless)
    if leaderless:
        reason = (
            f"{humanize.pluralize(leaderless, 'stream')} of {len(second.states)} without a leader, "
            "as most of the NATS servers are missing: readings are refused"
        )
        yield Finding("T24", Severity.CRITICAL, reason, subject="streams")
    for name in {*first.missing} & {*second.missing}:
        streams = humanize.pluralize(second.missing[name], "stream")
        reason = f"it is down, or has not caught up with {streams}"
        if not leaderless:
            reason += ": one more and nothing is stored"
        yield Finding("T27", Severity.WARNING, reason, subject=f"NATS server {name}")
    share = second.full_share
    if share >= FULL_OVER_SHARE:
        yield Finding(
            "T28",
            Severity.CRITICAL if share >= FULL_CRITICAL_SHARE else Severity.WARNING,
            f"{share:.0%} of what they may keep; when they are full, readings are refused",
            subject="streams",
            meets_threshold=share >= FULL_SHARE,
        )


def check_sink(now_ms: int, waiting: dict[int, int], *, moves: bool) -> Iterator[Finding]:
    """T25 if the sink is behind and goes on, T26 if it doesn't."""
    since_ms = min(waiting.values(), default=now_ms)
    if now_ms - since_ms < BEHIND_OVER_MS:
        return
    behind = f"behind by {humanize.duration((now_ms - since_ms) / 1000)}"
    yield Finding(
        "T25" if moves else "T26",
        Severity.WARNING if moves else Severity.CRITICAL,
        f"this machine's file is {behind}" + ("" if moves else ", and nothing is stored"),
        subject="sink",
        since_ms=since_ms,
        meets_threshold=now_ms - since_ms >= BEHIND_MS,
    )
