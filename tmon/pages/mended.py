"""Datasette's own HTML, mended for those who hear a page or walk it by keyboard.

Its forms have fields without names, its headings leave a level out, and what
scrolls sideways can't be reached by keyboard: axe-core's rules, in brackets.
"""

import re
from typing import Any

from datasette import hookimpl
from markupsafe import Markup

MENDED = {
    # (select-name, label)
    '<select name="_filter_column': '<select aria-label="Column" name="_filter_column',
    '<select name="_filter_op': '<select aria-label="Comparison" name="_filter_op',
    '<select name="_sort"': '<select aria-label="Order" name="_sort"',
    '<input type="text" name="_filter_value': (
        '<input type="text" aria-label="Value" name="_filter_value'
    ),
    '<textarea id="sql-editor"': '<textarea aria-label="SQL" id="sql-editor"',
    # (link-name: what a screen reader makes of the sign alone)
    'class="cross">': 'class="cross" aria-label="Remove">',
    # (heading-order)
    "<h3>Custom SQL query": "<h2>SQL",
    "<h3": "<h2",
    "</h3>": "</h2>",
    # (scrollable-region-focusable)
    '<div class="table-wrapper">': (
        '<div class="table-wrapper" tabindex="0" role="region" aria-label="Rows">'
    ),
    '<pre style="background-color: #f5f5f5;': (
        '<pre tabindex="0" role="region" aria-label="SQL" style="'
    ),
    "<pre>": '<pre tabindex="0" role="region" aria-label="Data">',
    '<pre id="sql-query">': '<pre id="sql-query" tabindex="0" role="region" aria-label="SQL">',
}
FOUND = re.compile("|".join(map(re.escape, MENDED)))


@hookimpl
def prepare_jinja2_environment(env: Any) -> None:
    """A filter for what Datasette's templates make."""
    env.filters["mended"] = mended


def mended(html: Markup) -> Markup:
    """The same page; data is no part of it, as ``<`` and ``>`` in data are escaped."""
    return Markup(FOUND.sub(lambda found: MENDED[found[0]], html))  # noqa: S704
