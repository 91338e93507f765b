"""Keys: make, verify, rotate and revoke them.

A key is for a device that has no room for a token: 32 lower-case hexadecimal digits. The first
12 are its id, which is stored. The other 20 are a tag of the id and the key's generation under
the station's secret: 80 bits, which aren't stored. A key may travel in a URL, so it can write and
do nothing else. It is one node's, or a gateway's: a sender of many devices.
"""

import hashlib
import re
import secrets
from hmac import compare_digest
from typing import Any

from itsdangerous import Signer
from itsdangerous.encoding import base64_decode
from msgspec import Struct
from sqlite_utils import Database

from tmon.core.errors import InvalidName, Revoked, Unauthorized, UnknownKey
from tmon.core.names import NODE_GRAMMAR, is_node_name
from tmon.core.time import iso_sql, now_ms
from tmon.db import nodes
from tmon.db.connect import transaction

ID_DIGITS, TAG_DIGITS = 12, 20
_KEY = re.compile(rb"[0-9a-f]{32}")


class KnownKey(Struct, frozen=True):
    """A key's row. ``owner`` is its node's or gateway's name, ``uid`` the node's."""

    id: str
    owner: str
    uid: str | None
    generation: int
    revoked_ms: int | None
    names_nodes: int = 0
    adopts_all: int = 0

    @property
    def argument(self) -> str:
        """How commands name the owner."""
        return self.owner if self.uid else f"--gateway {self.owner}"


class Keys:
    """Makes and verifies keys with the station's secret."""

    def __init__(self, secret: bytes) -> None:
        self._signer = Signer(
            secret, salt=b"tmon.key", key_derivation="hmac", digest_method=hashlib.sha256
        )

    def make(self, key: KnownKey) -> str:
        """The key's text: the same one each time, until it is rotated."""
        return key.id + self._tag(key)

    def verify(self, key: KnownKey, tag: bytes) -> None:
        """Check the tag of a key whose id is known.

        Raises:
            Unauthorized: it is forged, or of an earlier generation.
        """
        if not compare_digest(tag, self._tag(key).encode()):
            raise Unauthorized(
                f"this key of {key.owner} is outdated or mistyped; `tmon key get` has the right one"
            )

    def _tag(self, key: KnownKey) -> str:
        signature = self._signer.get_signature(f"{key.id}.{key.generation}")
        return base64_decode(signature).hex()[:TAG_DIGITS]


def is_key(text: bytes) -> bool:
    """Whether a text has the form of a key."""
    return _KEY.fullmatch(text) is not None


def find_by_id(db: Database, key_id: str) -> KnownKey | None:
    """The key with this id, if there is one."""
    return _find(db, "keys.id", key_id)


def find(db: Database, owner: str, *, is_gateway: bool = False) -> KnownKey:
    """The key of a node or a gateway.

    Raises:
        UnknownNode: no node is called that.
        UnknownKey: the node has no key; or no gateway is called that.
    """
    if is_gateway:
        found, argument = _find(db, "keys.gateway", owner), f"--gateway {owner}"
    elif not nodes.exists(db, owner) and _find(db, "keys.gateway", owner):
        raise UnknownKey(f"{owner} is a gateway, not a node: add --gateway")
    else:
        found, argument = _find(db, "nodes.uid", nodes.find(db, owner).uid), owner
    if found is None:
        raise UnknownKey(f"{owner} has no key; `tmon key get {argument}` makes one")
    return found


def has_valid(db: Database, node: str) -> bool:
    """Whether a node has a key that isn't revoked."""
    key = _find(db, "nodes.name", node)
    return key is not None and key.revoked_ms is None


def get_or_create(db: Database, node: str) -> KnownKey:
    """The key of a node; creates the node and the key if missing.

    Raises:
        InvalidName: no node can be called that.
        Revoked: the node's key was revoked; rotating makes a new one.
    """
    uid = nodes.find_or_make(db, node).uid
    with transaction(db):
        db.execute(
            "insert into keys (id, node_uid, created_ms) values (?, ?, ?)"
            " on conflict (node_uid) do nothing",
            [secrets.token_hex(ID_DIGITS // 2), uid, now_ms()],
        )
    return _not_revoked(find(db, node))


def get_or_create_of_gateway(
    db: Database, gateway: str, *, names_nodes: bool, adopts_all: bool
) -> KnownKey:
    """The key of a gateway, created if missing; a flag that is set stays set.

    Raises:
        InvalidName: no gateway can be called that.
        Revoked: its key was revoked; rotating makes a new one.
    """
    if not is_node_name(gateway):
        raise InvalidName(f"gateway {gateway!r} {NODE_GRAMMAR}")
    with transaction(db):
        db.execute(
            "insert into keys (id, gateway, names_nodes, adopts_all, created_ms)"
            " values (?, ?, ?, ?, ?) on conflict (gateway) do update set"
            " names_nodes = max(names_nodes, excluded.names_nodes),"
            " adopts_all = max(adopts_all, excluded.adopts_all)",
            [secrets.token_hex(ID_DIGITS // 2), gateway, names_nodes, adopts_all, now_ms()],
        )
    return _not_revoked(find(db, gateway, is_gateway=True))


def rotate(db: Database, owner: str, *, is_gateway: bool = False) -> KnownKey:
    """Raise the generation of a key: the old key is no longer valid.

    Raises:
        UnknownNode, UnknownKey: as ``find``.
    """
    query = "update keys set generation = generation + 1, revoked_ms = null where id = ?"
    key = find(db, owner, is_gateway=is_gateway)
    with transaction(db):
        db.execute(query, [key.id])
    return find(db, owner, is_gateway=is_gateway)


def revoke(db: Database, owner: str, *, is_gateway: bool = False) -> None:
    """Make a key invalid until it is rotated.

    Raises:
        UnknownNode, UnknownKey: as ``find``.
    """
    query = "update keys set revoked_ms = ? where id = ? and revoked_ms is null"
    key = find(db, owner, is_gateway=is_gateway)
    with transaction(db):
        db.execute(query, [now_ms(), key.id])


def listed(db: Database) -> list[dict[str, Any]]:
    """Each key's id and owner, its generation, and when it was made and revoked."""
    return list(
        db.query(f"""
            select nodes.name as node, keys.gateway, keys.id, keys.generation,
                {iso_sql("keys.created_ms")} as created_at,
                {iso_sql("keys.revoked_ms")} as revoked_at
            from keys left join nodes on nodes.uid = keys.node_uid
            order by nodes.name is null, nodes.name, gateway
        """)
    )


def _not_revoked(key: KnownKey) -> KnownKey:
    if key.revoked_ms is not None:
        raise Revoked(
            f"{key.owner}'s key was revoked; `tmon key rotate {key.argument}` makes a new one"
        )
    return key


def _find(db: Database, column: str, value: str) -> KnownKey | None:
    row = db.execute(
        "select keys.id, coalesce(nodes.name, gateway), nodes.uid, generation, keys.revoked_ms,"
        " names_nodes, adopts_all"
        f" from keys left join nodes on nodes.uid = keys.node_uid where {column} = ?",
        [value],
    ).fetchone()
    return None if row is None else KnownKey(*row)
