"""Tell a Healthchecks-style watcher that the checker itself runs."""

from functools import partial

from tmon.core.deadline import run_with_deadline
from tmon.core.settings import Settings

SOCKET_S = 5.0
PATIENCE_S = 10.0


def ping(settings: Settings, what: str, *, patience_s: float = PATIENCE_S) -> str | None:
    """Ask for ``TMON_PING_URL``, if it is set.

    Args:
        settings: with ``ping_url``.
        what: ``start``; ``success``; or ``fail`` where nothing could be checked or somebody
            could not be told.
        patience_s: seconds that it may take.

    Returns:
        What failed, in a line; a run goes on without.
    """
    if not settings.ping_url:
        return None
    url = settings.ping_url if what == "success" else f"{settings.ping_url}/{what}"
    [(_, error)] = run_with_deadline({what: partial(_get, url)}, patience_s)
    return f"TMON_PING_URL ({what}): {_why(error)}" if error else None


def _get(url: str) -> None:
    import requests  # noqa: PLC0415 - only where something is pinged

    with requests.get(url, timeout=SOCKET_S, stream=True) as answer:
        answer.raise_for_status()


def _why(error: Exception) -> str:
    """What went wrong, without the address, which is a secret."""
    answer = getattr(error, "response", None)
    return f"the answer was {answer.status_code}" if answer is not None else type(error).__name__
