"""T04, T05, T21, and T07 of another machine: what ingest and Datasette answer over HTTP."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import NamedTuple
from urllib.parse import urlsplit

from tmon.core import humanize
from tmon.core.settings import Settings, local_url
from tmon.maintenance.clocks import OFF_S, STILL_OFF_S
from tmon.watch.findings import Finding, Severity

PAUSES_S = (0.0, 3.0, 5.0)  # before each try: a restart takes less


class Addresses(NamedTuple):
    """Where the two are; empty for one that isn't looked at."""

    ingest: str
    datasette: str
    remote: bool


def local(settings: Settings) -> Addresses:
    """Where the two listen on this machine; a port of 0 is known to nobody."""
    return Addresses(
        local_url(settings.host, settings.port),
        local_url(settings.datasette_host, settings.datasette_port),
        remote=False,
    )


def check(
    addresses: Addresses, now_ms: int, pauses_s: Sequence[float] = PAUSES_S
) -> Iterator[Finding]:
    """Ask both at once, each up to three times within ten seconds."""
    with ThreadPoolExecutor() as pool:
        ingest = pool.submit(_ask_ingest, addresses, now_ms, pauses_s)
        datasette = pool.submit(_ask_datasette, addresses, pauses_s)
    yield from ingest.result()
    yield from datasette.result()


def _ask_ingest(addresses: Addresses, now_ms: int, pauses_s: Sequence[float]) -> list[Finding]:
    from tmon.watch.checks.asking import NoAnswer, ask  # noqa: PLC0415 - 7 MB that `tmon serve` spares

    began_s = monotonic()
    if not addresses.ingest:
        return []
    try:
        said = ask(f"{addresses.ingest}/healthz", "time_ms", addresses.remote, pauses_s)
    except NoAnswer as none:
        return [_dead("T04", addresses.ingest, none)]
    ours_ms = now_ms + (monotonic() - began_s) * 1000
    clock = _clock(addresses, said["time_ms"], ours_ms) if addresses.remote else ()
    return [*clock, *_stuck(addresses, said)]


def _ask_datasette(addresses: Addresses, pauses_s: Sequence[float]) -> list[Finding]:
    from tmon.watch.checks.asking import NoAnswer, ask  # noqa: PLC0415 - 7 MB that `tmon serve` spares

    if not addresses.datasette:
        return []
    try:
        ask(f"{addresses.datasette}/-/versions.json", "datasette", addresses.remote, pauses_s)
    except NoAnswer as none:
        return [_dead("T05", addresses.datasette, none)]
    return []


def _clock(addresses: Addresses, time_ms: object, ours_ms: float) -> Iterator[Finding]:
    """T07: one of the two machines' clocks is off."""
    skew_s = (time_ms - ours_ms) / 1000 if isinstance(time_ms, int) else 0.0
    if abs(skew_s) >= STILL_OFF_S:
        yield Finding(
            "T07",
            Severity.WARNING,
            f"the server's clock is {humanize.duration(abs(skew_s))} "
            f"{'ahead of' if skew_s > 0 else 'behind'} this machine's",
            subject=_shown(addresses.ingest),
            enough=abs(skew_s) > OFF_S,
        )


def _stuck(addresses: Addresses, said: dict[str, object]) -> Iterator[Finding]:
    """T21."""
    if said.get("code") == "stuck":
        oldest_s = said.get("oldest_waiting_s")
        waited = f" for {oldest_s:.0f} s" if isinstance(oldest_s, int | float) else ""
        yield Finding(
            "T21",
            Severity.CRITICAL,
            f"ingest answers, but readings wait{waited} and none is committed",
            subject=_shown(addresses.ingest),
        )


def _dead(number: str, url: str, none: Exception) -> Finding:
    what = "ingest" if number == "T04" else "Datasette"
    reason = f"{what} doesn't answer: {none}"
    return Finding(number, Severity.CRITICAL, reason, subject=_shown(url))


def _shown(url: str) -> str:
    """An address without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
