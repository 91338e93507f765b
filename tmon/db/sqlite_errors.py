"""What SQLite's errors mean, and what a person can do about them."""

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]  # or pysqlite3

DAMAGED = (
    "the file is damaged: stop tmon, keep a copy of it and its log, and `tmon restore` the newest "
    "backup (docs/watching.md, T11)"
)
NAME_TAKEN = "tmon needs that name now: rename yours (`sqlite-utils rename-table`), and try again"
DEVICES_DAMAGED = (
    "stop tmon, move it away, and copy the file *.db.devices of a backup to its place; "
    "without one, adopt the devices again (the readings in the database are not touched)"
)
DAMAGED_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# What to do next, by SQLite's primary result code.
_HINTS = {
    sqlite3.SQLITE_BUSY: (
        "another program writes to it: try again, or see who has the file open (`lsof`) and end "
        "that"
    ),
    sqlite3.SQLITE_FULL: "the disk is full: make room, and try again",
    sqlite3.SQLITE_IOERR: "the disk failed: see what `dmesg` says of it, and whether it is full",
    sqlite3.SQLITE_READONLY: "this user can't write to it: run this as the user that runs tmon",
    sqlite3.SQLITE_CANTOPEN: (
        "see that its folder is there, and belongs to the user that runs this and tmon"
    ),
    **dict.fromkeys(DAMAGED_CODES, DAMAGED),
}


def explain(error: sqlite3.Error) -> str:
    """SQLite's message, with a hint what to do where there is one."""
    is_taken = str(error).endswith(" already exists")
    hint = NAME_TAKEN if is_taken else _HINTS.get(primary_code(error))
    return f"{error}; {hint}" if hint else str(error)


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code: the extended one without its upper bits."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF
