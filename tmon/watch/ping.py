"""Report each run of the checker to a monitor such as Healthchecks."""

from tmon.core.deadline import run_with_deadline
from tmon.core.settings import Settings

SOCKET_S = 5.0
TIMEOUT_S = 10.0


def ping(settings: Settings, what: str, *, timeout_s: float = TIMEOUT_S) -> str | None:
    """GET ``TMON_PING_URL``, if it is set.

    Args:
        settings: with ``ping_url``.
        what: ``start``; ``success``; or ``fail`` if something could not be checked or sent.
        timeout_s: how long it may take in all.

    Returns:
        A line that says what failed, or None. It doesn't contain the address, a secret.
    """
    if not settings.ping_url:
        return None
    url = settings.ping_url if what == "success" else f"{settings.ping_url}/{what}"

    def get() -> None:
        import requests  # noqa: PLC0415 - only if something is pinged

        with requests.get(url, timeout=SOCKET_S, stream=True) as answer:
            answer.raise_for_status()

    [(_, error)] = run_with_deadline({what: get}, timeout_s)
    if error is None:
        return None
    answer = getattr(error, "response", None)
    why = type(error).__name__ if answer is None else f"the answer was {answer.status_code}"
    return f"TMON_PING_URL ({what}): {why}"
