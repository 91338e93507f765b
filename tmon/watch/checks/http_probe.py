"""What an address says over HTTP: a JSON object of tmon's, or why there is none."""

from collections.abc import Sequence
from time import monotonic, sleep
from typing import Any

import requests

TIMEOUT_S = 10.0
GIVE_UP_S = 10.0  # no further try after that


class NoAnswer(Exception):
    """It doesn't answer, or something else does; the message says what came instead."""


def ask(url: str, expected: str, remote: bool, pauses_s: Sequence[float]) -> dict[str, Any]:
    """The JSON object that an address answers; ``expected`` is a field that tmon's has.

    Args:
        url: what to GET.
        expected: the field.
        remote: another machine's, perhaps by a proxy that the environment tells.
        pauses_s: seconds before each try.

    Raises:
        NoAnswer: none came within all tries, or something else's.
    """
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
    """The JSON object that it answers, also with a 503: it is up, and says what troubles it.

    Raises:
        NoAnswer: a connection, a status or a body that isn't tmon's.
    """
    try:
        answer = session.get(url, timeout=TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:
        raise NoAnswer(_why(error)) from None
    try:
        said = answer.json()
    except ValueError:
        said = None
    is_troubled = answer.status_code == 503 and isinstance(said, dict) and expected in said
    if answer.status_code != 200 and not is_troubled:
        raise NoAnswer(f"it answered {answer.status_code}")
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
