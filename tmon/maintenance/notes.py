"""Notes about a node or a sensor: what happened when. Charts show them."""

from typing import Any

from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.core.time import iso
from tmon.db.connect import transaction
from tmon.db.lookup import find_node_uid, find_sensor

LONGEST = 500  # characters: a page shows a note whole

_LISTED = """
select notes.id, coalesce(notes.node, sensors.node || '/' || sensors.name) as about, at_ms, text
from notes left join sensors on sensors.id = notes.sensor
order by at_ms, notes.id
"""


class InvalidNote(TmonError):
    """The note has no text, or too much; nothing was stored."""


class NoSuchNote(TmonError):
    """The note to remove doesn't exist."""


def add_note(db: Database, about: str, text: str, at_ms: int, now_ms: int) -> int:
    """Store a note about a node, or a sensor as ``node/sensor``, and return its number.

    Raises:
        InvalidNote: its text is empty or too long.
        UnknownNode, UnknownSensor: nothing has that name.
    """
    text = text.strip()
    if not text:
        raise InvalidNote("a note needs a TEXT: everybody is shown it")
    if len(text) > LONGEST:
        raise InvalidNote(f"TEXT may have at most {LONGEST} characters; this one has {len(text)}")
    node, slash, name = about.partition("/")
    with transaction(db):
        find_node_uid(db, node)
        sensor = find_sensor(db, node, name).id if slash else None
        [number] = db.execute(
            "insert into notes (node, sensor, at_ms, text, created_ms) values (?, ?, ?, ?, ?)"
            " returning id",
            [None if slash else node, sensor, at_ms, text, now_ms],
        ).fetchone()
    return int(number)


def remove_note(db: Database, number: int) -> str:
    """Delete a note, and return its text.

    Raises:
        NoSuchNote: no note has that number.
    """
    with transaction(db):
        removed = db.execute("delete from notes where id = ? returning text", [number]).fetchone()
    if removed is None:
        raise NoSuchNote(f"there is no note {number}; `tmon note list` shows all")
    return str(removed[0])


def listed(db: Database, about: str | None = None) -> list[dict[str, Any]]:
    """All notes, or those about a node with its sensors, or about one sensor, oldest first.

    Raises:
        UnknownNode, UnknownSensor: nothing has that name.
    """
    if about is not None:
        node, slash, name = about.partition("/")
        find_node_uid(db, node)
        if slash:
            find_sensor(db, node, name)
    return [
        {"id": row["id"], "about": row["about"], "at": iso(row["at_ms"]), "text": row["text"]}
        for row in db.query(_LISTED)
        if about is None or row["about"] == about or row["about"].startswith(f"{about}/")
    ]
