"""Keys: make, verify, rotate and revoke them.

A key is for a device that has no room for a token: 32 lower-case hexadecimal digits. The first
12 are its id, which is stored. The other 20 are a tag of the id and the key's generation under
the station's secret: 80 bits, which aren't stored. A key may travel in a URL, so it can write and
do nothing else.
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

from tmon.core.errors import Revoked, Unauthorized, UnknownKey
from tmon.core.time import iso_sql, now_ms
from tmon.db import nodes

ID_DIGITS, TAG_DIGITS = 12, 20
_KEY = re.compile(rb"[0-9a-f]{32}")


class KnownKey(Struct, frozen=True):
    """A key's row, with the name of its node."""

    id: str
    node: str
    uid: str
    generation: int
    revoked_ms: int | None


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
                f"this key of {key.node} is outdated or mistyped; `tmon key get` has the right one"
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


def find(db: Database, node: str) -> KnownKey:
    """The key of a node.

    Raises:
        UnknownNode: no node is called that.
        UnknownKey: the node has no key.
    """
    found = _find(db, "nodes.uid", nodes.find(db, node).uid)
    if found is None:
        raise UnknownKey(f"{node} has no key; `tmon key get {node}` makes one")
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
    db.execute(
        "insert into keys (id, node_uid, created_ms) values (?, ?, ?)"
        " on conflict (node_uid) do nothing",
        [secrets.token_hex(ID_DIGITS // 2), uid, now_ms()],
    )
    key = find(db, node)
    if key.revoked_ms is not None:
        raise Revoked(f"{node}'s key was revoked; `tmon key rotate {node}` makes a new one")
    return key


def rotate(db: Database, node: str) -> KnownKey:
    """Raise the generation of a node's key: the old key is no longer valid.

    Raises:
        UnknownNode, UnknownKey: as ``find``.
    """
    query = "update keys set generation = generation + 1, revoked_ms = null where id = ?"
    db.execute(query, [find(db, node).id])
    return find(db, node)


def revoke(db: Database, node: str) -> None:
    """Make a node's key invalid until it is rotated.

    Raises:
        UnknownNode, UnknownKey: as ``find``.
    """
    query = "update keys set revoked_ms = ? where id = ? and revoked_ms is null"
    db.execute(query, [now_ms(), find(db, node).id])


def listed(db: Database) -> list[dict[str, Any]]:
    """Each key's id and node, its generation, and when it was made and revoked."""
    return list(
        db.query(f"""
            select nodes.name as node, keys.id, keys.generation,
                {iso_sql("keys.created_ms")} as created_at,
                {iso_sql("keys.revoked_ms")} as revoked_at
            from keys join nodes on nodes.uid = keys.node_uid order by nodes.name
        """)
    )


def _find(db: Database, column: str, value: str) -> KnownKey | None:
    row = db.execute(
        "select keys.id, nodes.name, nodes.uid, generation, keys.revoked_ms"
        f" from keys join nodes on nodes.uid = keys.node_uid where {column} = ?",
        [value],
    ).fetchone()
    return None if row is None else KnownKey(*row)
