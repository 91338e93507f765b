"""T04, T05, T21, and T07 and T24 of a remote server: do ingest and Datasette answer over HTTP?"""

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
    """URLs of ingest and Datasette; empty for one that isn't checked."""

    ingest: str
    datasette: str
    remote: bool


def local_addresses(settings: Settings) -> Addresses:
    """Where both listen on this machine; empty if the port is 0, as it is unknown then."""
    return Addresses(
        local_url(settings.host, settings.port),
        local_url(settings.datasette_host, settings.datasette_port),
        remote=False,
    )


def check(
    addresses: Addresses, now_ms: int, pauses_s: Sequence[float] = PAUSES_S
) -> Iterator[Finding]:
    """Ask both at the same time, each up to three times within ten seconds."""
    with ThreadPoolExecutor() as pool:
        ingest = pool.submit(_check_ingest, addresses, now_ms, pauses_s)
        datasette = pool.submit(_check_datasette, addresses, pauses_s)
    yield from ingest.result()
    yield from datasette.result()


def _check_ingest(addresses: Addresses, now_ms: int, pauses_s: Sequence[float]) -> list[Finding]:
    from tmon.watch.checks.http_probe import NoAnswer, get_json  # noqa: PLC0415 - 7 MB that `tmon serve` spares

    if not addresses.ingest:
        return []
    began_s = monotonic()
    try:
        answer = get_json(f"{addresses.ingest}/healthz", "time_ms", addresses.remote, pauses_s)
    except NoAnswer as error:
        return [_critical("T04", f"ingest doesn't answer: {error}", addresses.ingest)]
    findings: list[Finding] = []
    if addresses.remote and isinstance(answer["time_ms"], int):
        ours_ms = now_ms + (monotonic() - began_s) * 1000
        skew_s = (answer["time_ms"] - ours_ms) / 1000
        if abs(skew_s) >= STILL_OFF_S:
            off = f"{humanize.duration(abs(skew_s))} {'ahead of' if skew_s > 0 else 'behind'}"
            reason = f"the server's clock is {off} this machine's"
            subject, is_off = _without_password(addresses.ingest), abs(skew_s) > OFF_S
            findings.append(
                Finding("T07", Severity.WARNING, reason, subject=subject, meets_threshold=is_off)
            )
    if answer.get("code") == "stuck":
        oldest_s = answer.get("oldest_waiting_s")
        waited = f" for {oldest_s:.0f} s" if isinstance(oldest_s, int | float) else ""
        reason = f"ingest answers, but readings wait{waited} and none is committed"
        findings.append(_critical("T21", reason, addresses.ingest))
    if answer.get("code") == "unavailable" and addresses.remote:  # here, it is asked
        reason = f"ingest answers, but {answer.get('error')}"
        findings.append(_critical("T24", reason, addresses.ingest))
    return findings


def _check_datasette(addresses: Addresses, pauses_s: Sequence[float]) -> list[Finding]:
    from tmon.watch.checks.http_probe import NoAnswer, get_json  # noqa: PLC0415 - 7 MB that `tmon serve` spares

    if not addresses.datasette:
        return []
    try:
        url = f"{addresses.datasette}/-/versions.json"
        get_json(url, "datasette", addresses.remote, pauses_s)
    except NoAnswer as error:
        return [_critical("T05", f"Datasette doesn't answer: {error}", addresses.datasette)]
    return []


def _critical(number: str, reason: str, url: str) -> Finding:
    return Finding(number, Severity.CRITICAL, reason, subject=_without_password(url))


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
