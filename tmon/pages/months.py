"""Days and months as pages write them."""

from datetime import date

from tmon.core.languages import gettext


def months() -> list[str]:
    """The short names of the twelve months, as words.js has them."""
    return gettext("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec").split()


def day_and_month(at: date) -> str:
    """A day of the year, such as ``12 Nov``."""
    return gettext("{day} {month}").format(day=at.day, month=months()[at.month - 1])
