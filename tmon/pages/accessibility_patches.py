"""Patches for Datasette's own HTML, for screen readers and keyboards.

Its forms have fields without names, its headings skip a level, and what scrolls sideways can't
be reached by keyboard. The names in brackets are rules of axe-core.
"""

import re
from typing import Any

from datasette import hookimpl
from markupsafe import Markup

PATCHES = {
    # (select-name, label)
    '<select name="_filter_column': '<select aria-label="Column" name="_filter_column',
    '<select name="_filter_op': '<select aria-label="Comparison" name="_filter_op',
    '<select name="_sort"': '<select aria-label="Order" name="_sort"',
    '<input type="text" name="_filter_value': (
        '<input type="text" aria-label="Value" name="_filter_value'
    ),
    '<textarea id="sql-editor"': '<textarea aria-label="SQL" id="sql-editor"',
    # (link-name: the link is only a ✖)
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
_PATTERN = re.compile("|".join(map(re.escape, PATCHES)))


@hookimpl
def prepare_jinja2_environment(env: Any) -> None:
    env.filters["accessible"] = accessible


def accessible(html: Markup) -> Markup:
    """The patched HTML. Data can't match: its ``<`` and ``>`` are escaped."""
    return Markup(_PATTERN.sub(lambda found: PATCHES[found[0]], html))  # noqa: S704
