"""Patches for Datasette's own HTML, for screen readers and keyboards.

What scrolls sideways can't be reached by keyboard, and a link is only a sign. The names in brackets
are rules of axe-core.
"""

import re
from typing import Any

from datasette import hookimpl
from markupsafe import Markup

PATCHES = {
    # (link-name: the link is only a ✖)
    'class="cross">': 'class="cross" aria-label="Remove">',
    # (scrollable-region-focusable)
    '<pre style="background-color: #f5f5f5;': (
        '<pre tabindex="0" role="region" aria-label="SQL" style="'
    ),
    "<pre>": '<pre tabindex="0" role="region" aria-label="Data">',
}
_PATTERN = re.compile("|".join(map(re.escape, PATCHES)))


@hookimpl
def prepare_jinja2_environment(env: Any) -> None:
    env.filters["accessible"] = accessible


def accessible(html: Markup) -> Markup:
    """The patched HTML. Data can't match: its ``<`` and ``>`` are escaped."""
    return Markup(_PATTERN.sub(lambda found: PATCHES[found[0]], html))  # noqa: S704
