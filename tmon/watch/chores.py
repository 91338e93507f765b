"""Checks of the whole file, which take their time: made daily or weekly, and remembered."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from sqlite_utils import Database

from tmon.core import humanize
from tmon.core.time import DAY_MS
from tmon.db.connect import sqlite3
from tmon.db.station import Chore, Chores
from tmon.maintenance import rollup

GOOD = "ok"
QUICK, WHOLE = "quick_check", "integrity_check"
EQUAL_LATELY, EQUAL = "rollup_check_lately", "rollup_check"
LATELY_MS = 2 * DAY_MS
TOLD_LIMIT = 200  # characters of what SQLite says of a damaged file


class Kind(NamedTuple):
    """One of them: how often, what it does, and which other says all that it would."""

    name: str
    what: str
    every_ms: int
    look: Callable[[Database, int], str]
    within: str = ""


def due(
    db: Database,
    remembered: Chores,
    now_ms: int,
    say: Callable[[str], None],
    *,
    full: bool = False,
) -> Iterator[tuple[str, Chore]]:
    """Do what is due, or with ``full`` everything; the larger check spares the smaller.

    Args:
        db: open for reading.
        remembered: what was done when.
        now_ms: when.
        say: told before each what it is.
        full: whether or not they are due.
    """
    done: set[str] = set()
    for kind in KINDS:
        times = [
            remembered[name].done_ms for name in (kind.name, kind.within) if name in remembered
        ]
        late = not times or now_ms - max(times) >= kind.every_ms
        if kind.within not in done and (late or (full and not kind.within)):
            done.add(kind.name)
            say(kind.what)
            yield kind.name, Chore(now_ms, kind.look(db, now_ms))


def _pragma(name: str) -> Callable[[Database, int], str]:
    def look(db: Database, now_ms: int) -> str:  # noqa: ARG001 - as all of them
        try:
            said = [row[0] for row in db.execute(f"pragma {name}(10)")]
        except sqlite3.OperationalError:
            raise  # that it can't be read says nothing of what is in it
        except sqlite3.DatabaseError as error:
            said = [str(error)]
        return GOOD if said == ["ok"] else " ".join("; ".join(said).split())[:TOLD_LIMIT]

    return look


def _lately(db: Database, now_ms: int) -> str:
    return _differences(rollup.differences(db, now_ms - LATELY_MS))


def _always(db: Database, now_ms: int) -> str:  # noqa: ARG001
    return _differences(rollup.differences(db, None))


def _differences(count: int) -> str:
    return f"{humanize.pluralize(count, 'hour')} not what the readings say" if count else GOOD


# The larger ones first.
KINDS = (
    Kind(WHOLE, "checking the whole file", 7 * DAY_MS, _pragma("integrity_check")),
    Kind(QUICK, "checking the file", DAY_MS, _pragma("quick_check"), within=WHOLE),
    Kind(EQUAL, "comparing all hours with their readings", 7 * DAY_MS, _always),
    Kind(
        EQUAL_LATELY, "comparing the last hours with their readings", DAY_MS, _lately, within=EQUAL
    ),
)
