"""What rows a table shows, in words: its filters and its order."""

from typing import Any

from datasette import hookimpl
from jinja2 import Environment

from tmon.core.languages import ENGLISH, N_, gettext, language

# Datasette's comparisons that have words; the others are signs.
COMPARISONS = {
    "contains": N_("contains"),
    "notcontains": N_("does not contain"),
    "endswith": N_("ends with"),
    "startswith": N_("starts with"),
    "date": N_("date"),
    "isnull": N_("is null"),
    "notnull": N_("is not null"),
    "isblank": N_("is blank"),
    "notblank": N_("is not blank"),
    "arraycontains": N_("array contains"),
    "arraynotcontains": N_("array does not contain"),
}


@hookimpl
def prepare_jinja2_environment(env: Environment) -> None:
    env.filters.update(comparison=comparison, selection_in_words=selection_in_words)


def comparison(sign: str, key: str) -> str:
    """What a filter's comparison is called; ``sign`` is Datasette's own name for it."""
    return gettext(COMPARISONS[key]) if key in COMPARISONS else sign


def selection_in_words(
    english: str, filters: Any, sort: str | None, sort_desc: str | None, search: str | None
) -> str:
    """The filters and the order of a table's page; ``english`` is what Datasette says of them."""
    if language.get() == ENGLISH:
        return english
    signs = {key: sign for key, sign, _ in filters.lookups()}
    parts = [
        f"{column} {comparison(signs[key], key)} {value}".strip()
        for column, key, value in filters.selections()
        if key in signs
    ]
    if search:
        parts.append(gettext("search: {text}").format(text=search))
    if sort_desc:
        parts.append(gettext("sorted by {column} descending").format(column=sort_desc))
    elif sort:
        parts.append(gettext("sorted by {column}").format(column=sort))
    return ", ".join(parts)
