"""Patches for Datasette's own HTML, for screen readers and keyboards.

What scrolls sideways can't be reached by keyboard, and a link is only a sign. The names in brackets
are rules of axe-core.
"""

import re
from typing import Any

from datasette import hookimpl
from markupsafe import Markup

from tmon.core.languages import N_, gettext

# What to replace, by what, and the label in its braces.
PATCHES = {
    # (link-name: the link is only a ✖)
    'class="cross">': ('class="cross" aria-label="{}">', N_("Remove")),
    # (scrollable-region-focusable)
    '<pre style="background-color: #f5f5f5;': (
        '<pre tabindex="0" role="region" aria-label="{}" style="',
        "SQL",
    ),
    "<pre>": ('<pre tabindex="0" role="region" aria-label="{}">', N_("Data")),
}
_PATTERN = re.compile("|".join(map(re.escape, PATCHES)))


@hookimpl
def prepare_jinja2_environment(env: Any) -> None:
    env.filters["accessible"] = accessible


def accessible(html: Markup) -> Markup:
    """The patched HTML. Data can't match: its ``<`` and ``>`` are escaped."""

    def patch(found: re.Match[str]) -> str:
        replacement, label = PATCHES[found[0]]
        return replacement.format(gettext(label))

    return Markup(_PATTERN.sub(patch, html))  # noqa: S704
