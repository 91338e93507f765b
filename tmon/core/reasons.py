"""Reasons that are stored in English; pages show those that people meet most in their language.

Who stores such a reason fills in one of these forms, so a page can tell its parts again.
"""

import re
from functools import cache

from tmon.core.languages import N_, gettext

UP_TO = N_("up to {value}, above its limit of {limit}")
DOWN_TO = N_("down to {value}, below its limit of {limit}")
SILENT = N_("silent")
NEVER_HEARD = N_("never heard")

FORMS = (UP_TO, DOWN_TO, SILENT, NEVER_HEARD)


def reason_text(stored: str) -> str:
    """A stored reason in the language of the request; as it is, if it has none of the forms."""
    for form in FORMS:
        if parts := _pattern(form).fullmatch(stored):
            return gettext(form).format(**parts.groupdict())
    return stored


@cache
def _pattern(form: str) -> re.Pattern[str]:
    """Matches a form that is filled in; each part of it is a group."""
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(form)), re.DOTALL)
