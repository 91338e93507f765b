"""T04, T05, and T07 of another machine: whether ingest and Datasette answer, asked over HTTP."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests

from ingest.settings import Settings
from watch.checks.clocks import OFF_S, STILL_OFF_S, off
from watch.findings import Finding, Severity

TIMEOUT_S = 10.0
PAUSES_S = (0.0, 3.0, 5.0)  # before each try: a restart takes less
GIVE_UP_S = 10.0  # no further try after that

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


class Addresses(NamedTuple):
    """Where the two are; empty for one that isn't looked at."""

    ingest: str
    datasette: str
    remote: bool


class NoAnswer(Exception):
    """It doesn't answer, or something else does; the message says what came instead."""


def local(settings: Settings) -> Addresses:
    """Where the two listen on this machine; a port of 0 is known to nobody."""
    return Addresses(
        _listening(settings.host, settings.port),
        _listening(settings.datasette_host, settings.datasette_port),
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
    began_s = monotonic()
    if not addresses.ingest:
        return []
    try:
        said = _ask(f"{addresses.ingest}/healthz", "time_ms", addresses.remote, pauses_s)
    except NoAnswer as none:
        return [_dead("T04", addresses.ingest, none)]
    ours_ms = now_ms + (monotonic() - began_s) * 1000
    return [*_clock(addresses, said["time_ms"], ours_ms)] if addresses.remote else []


def _ask_datasette(addresses: Addresses, pauses_s: Sequence[float]) -> list[Finding]:
    if not addresses.datasette:
        return []
    try:
        _ask(f"{addresses.datasette}/-/versions.json", "datasette", addresses.remote, pauses_s)
    except NoAnswer as none:
        return [_dead("T05", addresses.datasette, none)]
    return []


def _ask(url: str, expected: str, remote: bool, pauses_s: Sequence[float]) -> dict[str, Any]:
    began_s, problem = monotonic(), NoAnswer("not asked")
    with requests.Session() as session:
        session.trust_env = remote  # no proxy stands between this machine and itself
        for pause_s in pauses_s:
            if monotonic() + pause_s - began_s > GIVE_UP_S:
                break
            sleep(pause_s)
            try:
                return _ask_once(session, url, expected)
            except NoAnswer as none:
                problem = none
    raise problem


def _ask_once(session: requests.Session, url: str, expected: str) -> dict[str, Any]:
    """The JSON object that it answers.

    Raises:
        NoAnswer: a connection, a status or a body that isn't tmon's.
    """
    try:
        answer = session.get(url, timeout=TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:
        raise NoAnswer(_why(error)) from None
    if answer.status_code != 200:
        raise NoAnswer(f"it answered {answer.status_code}")
    try:
        said = answer.json()
    except ValueError:
        said = None
    if not isinstance(said, dict) or expected not in said:
        raise NoAnswer("something else answers there")
    return said


def _why(error: requests.RequestException) -> str:
    """In a few words, without the address: it may hold a password."""
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT_S:.0f} s"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate can't be trusted"
    told = str(error)
    for known in ("Connection refused", "Name or service not known", "Network is unreachable"):
        if known in told:
            return known.lower()
    return "it can't be reached"


def _clock(addresses: Addresses, time_ms: object, ours_ms: float) -> Iterator[Finding]:
    """T07: one of the two machines' clocks is off."""
    skew_s = (time_ms - ours_ms) / 1000 if isinstance(time_ms, int) else 0.0
    if abs(skew_s) >= STILL_OFF_S:
        yield Finding(
            "T07",
            Severity.WARNING,
            f"{off(skew_s)} of the checking machine's",
            subject=_shown(addresses.ingest),
            enough=abs(skew_s) > OFF_S,
        )


def _dead(number: str, url: str, none: NoAnswer) -> Finding:
    what = "ingest" if number == "T04" else "Datasette"
    reason = f"{what} doesn't answer: {none}"
    return Finding(number, Severity.CRITICAL, reason, subject=_shown(url))


def _shown(url: str) -> str:
    """An address without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _listening(host: str, port: int) -> str:
    host = _LOOPBACK.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}" if port else ""
