"""The language of a page: its texts are English in the source, and catalogues translate them.

``tmon/locale`` has a catalogue for each language; docs/architecture.md says how to add one.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from gettext import NullTranslations, translation
from pathlib import Path

LOCALE = Path(__file__).parent.parent / "locale"
DOMAIN = "tmon"
ENGLISH = "en"
LANGUAGES = (ENGLISH, *sorted(path.name for path in LOCALE.iterdir() if path.is_dir()))

# Of the request that is answered now; where nobody has asked, such as in a command, English.
language: ContextVar[str] = ContextVar("language", default=ENGLISH)

# A language and how much it is wanted, from 0 to 1 (RFC 9110, 12.5.4).
_RANGE = re.compile(r"\s*([a-z]+|\*)(?:-[a-z0-9-]*)?\s*(?:;\s*q\s*=\s*([01](\.\d{0,3})?)\s*)?")
MAX_HEADER = 500  # characters; what comes after them is ignored


def choose(accepted: str) -> str:
    """The language that an ``Accept-Language`` wants most, of those that there are."""
    wanted: dict[str, float] = {}
    for one in accepted[:MAX_HEADER].lower().split(","):
        if found := _RANGE.fullmatch(one):
            wanted[found[1]] = max(wanted.get(found[1], 0), float(found[2] or 1))
    # Of those that are wanted equally, the first; "*" is any other.
    offered = [name for name, weight in wanted.items() if name in LANGUAGES and weight]
    return max([*offered, ENGLISH], key=lambda name: wanted.get(name, wanted.get("*", 0)))


@contextmanager
def speaking(accepted: str) -> Iterator[None]:
    """Answer in the language that an ``Accept-Language`` wants most."""
    token = language.set(choose(accepted))
    try:
        yield
    finally:
        language.reset(token)


def N_(message: str) -> str:  # noqa: N802 - gettext's own name for it
    """Mark a constant as a text to translate; ``gettext`` translates it where it is used."""
    return message


def gettext(message: str) -> str:
    """A text in the language of the request."""
    return _catalogue(language.get()).gettext(message)


def pgettext(context: str, message: str) -> str:
    """A text that has several meanings in English; the context tells which."""
    return _catalogue(language.get()).pgettext(context, message)


def ngettext(one: str, several: str, count: int) -> str:
    """A text for a number of things, in the language of the request."""
    return _catalogue(language.get()).ngettext(one, several, count)


def thousands(number: int) -> str:
    """A whole number in groups of three digits.

    Where commas are for decimals they would mislead: other languages have narrow spaces.
    """
    text = f"{number:,}"
    return text if language.get() == ENGLISH else text.replace(",", "\N{NARROW NO-BREAK SPACE}")


@cache
def _catalogue(name: str) -> NullTranslations:
    return NullTranslations() if name == ENGLISH else translation(DOMAIN, LOCALE, [name])
