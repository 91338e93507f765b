"""Table headings for people: ``measured_ms`` as Measured, with the column's name beside it."""

import re
from collections.abc import Sequence

from datasette import hookimpl
from jinja2 import Environment
from markupsafe import Markup

from tmon.core.languages import pgettext

# Columns whose name alone doesn't say it.
HEADINGS = {"day": "Day (UTC)", "day_ms": "Day (UTC)", "n": "Readings", "uid": "Permanent id"}
COLUMN = "column"  # the context of headings in the catalogues
# Columns and fields of stored queries that no table has.
QUERY_COLUMNS = (
    *("year", "silent_sensors", "sensors", "lowest", "lowest_ms", "highest", "highest_ms", "gap_s"),
)
UNIT_SUFFIX = re.compile("_(ms|s|at)$")  # times and durations are shown with their units
OUR_NAMES = re.compile("[a-z][a-z0-9_]*")


@hookimpl
def prepare_jinja2_environment(env: Environment) -> None:
    env.filters.update(heading=heading, column_name=column_name, has_time=has_time)


def heading(column: str) -> str:
    """What people read above a column; a visitor's own expression stays as it is."""
    if not OUR_NAMES.fullmatch(column):
        return column
    words = UNIT_SUFFIX.sub("", column).replace("_", " ")
    return pgettext(COLUMN, HEADINGS.get(column, words[0].upper() + words[1:]))


def column_name(column: str) -> Markup:
    """The column's name, small, if the heading is more than its capitalised form."""
    if heading(column).lower() == column:
        return Markup()
    return Markup(' <small class="column-name">{}</small>').format(column)


def has_time(columns: Sequence[str]) -> bool:
    """Whether a chart can be drawn over one of the columns (series.js decides in the end)."""
    return any(column.endswith(("_ms", "_at")) for column in columns)
