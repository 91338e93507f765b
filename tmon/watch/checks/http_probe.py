"""GET a JSON object from ingest or Datasette, or say why that failed."""

from collections.abc import Sequence
from time import monotonic, sleep
from typing import Any

import requests

TIMEOUT_S = 10.0
GIVE_UP_S = 10.0  # no further try after that


class NoAnswer(Exception):
    """Nothing answers there, or not tmon; the text says what came instead."""


def get_json(url: str, expected: str, remote: bool, pauses_s: Sequence[float]) -> dict[str, Any]:
    """The JSON object at an address; a 503 is accepted, as it says what is wrong.

    Args:
        url: what to GET.
        expected: a field that tmon's answer has.
        remote: on another machine, so proxies of the environment are used.
        pauses_s: seconds to wait before each try.

    Raises:
        NoAnswer: no try got tmon's answer.
    """
    began_s, problem = monotonic(), NoAnswer("not asked")
    with requests.Session() as session:
        session.trust_env = remote
        for pause_s in pauses_s:
            if monotonic() + pause_s - began_s > GIVE_UP_S:
                break
            sleep(pause_s)
            try:
                return _get_once(session, url, expected)
            except NoAnswer as error:
                problem = error
    raise problem


def _get_once(session: requests.Session, url: str, expected: str) -> dict[str, Any]:
    try:
        answer = session.get(url, timeout=TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:
        raise NoAnswer(_reason(error)) from None
    try:
        body = answer.json()
    except ValueError:
        body = None
    is_tmon = isinstance(body, dict) and expected in body
    if answer.status_code != 200 and not (answer.status_code == 503 and is_tmon):
        raise NoAnswer(f"it answered {answer.status_code}")
    if not is_tmon:
        raise NoAnswer("something else answers there")
    return dict(body)


def _reason(error: requests.RequestException) -> str:
    """Why there is no answer, without the address: it may contain a password."""
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT_S:.0f} s"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate isn't trusted"
    text = str(error)
    for known in ("Connection refused", "Name or service not known", "Network is unreachable"):
        if known in text:
            return known.lower()
    return "it can't be reached"
