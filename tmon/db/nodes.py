"""Nodes: find, create, describe and list them."""

import re
import secrets
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from sqlite_utils import Database

from tmon.core.errors import InvalidName, OutOfRange, UnknownNode
from tmon.core.names import is_node_name
from tmon.core.reading import Node, Refusal, check_node_name, clip
from tmon.core.time import iso_sql, now_ms, parse_zone
from tmon.db.connect import transaction

# What each number about a node may be: degrees, and seconds up to ten years.
_RANGES = {"latitude": (-90, 90), "longitude": (-180, 180), "silent_after_s": (1, 315_360_000)}


class KnownNode(Struct, frozen=True):
    """A node's row, as far as its token needs it."""

    uid: str
    name: str
    token_generation: int
    revoked_ms: int | None
    timezone: str | None = None


def find(db: Database, name: str) -> KnownNode:
    """The node called ``name``.

    Raises:
        UnknownNode: there is none.
    """
    node = _find(db, "name", name)
    if node is None:
        raise UnknownNode(f"no node is called {clip(name)!r}; `tmon node list` shows them")
    return node


def exists(db: Database, name: str) -> bool:
    """Whether a node is called ``name``."""
    return _find(db, "name", name) is not None


def is_used(db: Database, name: str) -> bool:
    """Whether a node is called ``name`` that has sent something, or has a key."""
    query = (
        "select 1 from nodes where name = ? and (last_received_ms is not null"
        " or exists (select 1 from sensors where node = nodes.name)"
        " or exists (select 1 from keys where node_uid = nodes.uid))"
    )
    return db.execute(query, [name]).fetchone() is not None


def find_by_uid(db: Database, uid: str) -> KnownNode | None:
    """The node whose tokens carry ``uid``, if there is one."""
    return _find(db, "uid", uid)


def former_names(db: Database, uid: str) -> tuple[str, ...]:
    """What a node was called before it was renamed."""
    query = "select distinct before from changes where node_uid = ? and what = 'rename node'"
    return tuple(name for (name,) in db.execute(query, [uid]))


def as_sender(db: Database, known: KnownNode, label: str) -> Node:
    """A node as the sender of a batch; ``label`` is what its token calls it."""
    former = former_names(db, known.uid)
    return Node(known.uid, known.name, label, former, known.timezone or "")


def find_or_make(db: Database, name: str) -> KnownNode:
    """The node called ``name``, created if there is none.

    Raises:
        InvalidName: no node can be called that.
    """
    try:
        check_node_name(name)
    except Refusal as refusal:
        raise InvalidName(refusal.reason) from None
    if known := _find(db, "name", name):
        return known
    with transaction(db):
        db.execute(*insert_statement(name, new_uid()))
    return find(db, name)


def new_uid() -> str:
    """A uid that no node has."""
    return secrets.token_hex(8)


def insert_statement(name: str, uid: str) -> tuple[str, list[str | int]]:
    """The statement that makes a node now, unless one has that name, and its parameters."""
    sql = "insert into nodes (name, uid, created_ms) values (?, ?, ?) on conflict (name) do nothing"
    return sql, [name, uid, now_ms()]


def name_for(device_id: str) -> str:
    """A node's name made of a device's id: the same for the same id.

    Raises:
        InvalidName: nothing of it can be in a name.
    """
    name = re.sub("[^A-Za-z0-9_:-]+", "-", device_id.strip()).lstrip("_:-")[:64]
    if not is_node_name(name):
        raise InvalidName(f"no node can be called {clip(device_id)!r}")
    return name


def describe(db: Database, name: str, columns: Mapping[str, str | float]) -> None:
    """Set some of a node's description, area, latitude, longitude, silent_after_s and timezone.

    An empty text clears one.

    Raises:
        UnknownNode: no node is called that.
        OutOfRange: a number is outside its range, or a zone isn't known.
    """
    find(db, name)
    for column, (lowest, highest) in _RANGES.items():
        if column in columns and not lowest <= float(columns[column]) <= highest:
            raise OutOfRange(f"{column} must be {lowest} to {highest}, not {columns[column]}")
    if zone := columns.get("timezone"):
        try:
            parse_zone(str(zone))
        except ValueError as error:
            raise OutOfRange(f"{error}; it must be like Europe/Berlin or +01:00") from None
    with transaction(db):
        for column, value in columns.items():
            stored = None if value == "" else value
            db.execute(f"update nodes set {column} = ? where name = ?", [stored, name])


def with_tokens(db: Database) -> list[dict[str, Any]]:
    """Each node's token: its generation, when it was revoked, when it last wrote."""
    return list(
        db.query(f"""
            select name as node, token_generation as generation,
                {iso_sql("revoked_ms")} as revoked_at,
                {iso_sql("last_received_ms")} as last_received_at
            from nodes order by name
        """)
    )


def described(db: Database) -> list[dict[str, Any]]:
    """The description of each node."""
    return list(
        db.query(f"""
            select name, description, area, latitude, longitude, timezone, silent_after_s,
                clock_skew_s,
                {iso_sql("created_ms")} as created_at,
                {iso_sql("last_received_ms")} as last_received_at
            from nodes order by name
        """)
    )


def _find(db: Database, column: str, value: str) -> KnownNode | None:
    row = db.execute(
        f"select uid, name, token_generation, revoked_ms, timezone from nodes where {column} = ?",
        [value],
    ).fetchone()
    return None if row is None else KnownNode(*row)
