"""What ingest must know of nodes, keys and devices, as it stands in the bucket ``tmon-nodes``.

There is an entry for each node, with its key and its former names, one for each key of a gateway,
and one for each device about which the owner has decided something.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Struct
from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.db.device_decisions import Decision
from tmon.stream.messages import BODY, VERSION, is_intact, seal, version_of

T = TypeVar("T", bound=Struct)


class UnreadableValue(TmonError):
    """A value of the bucket that isn't as it was written, or isn't for this version."""

    revision = 0  # of the value


class NodeRow(NamedTuple):
    """Columns of the table ``nodes``."""

    uid: str
    name: str
    token_generation: int
    revoked_ms: int | None
    timezone: str | None


class KeyRow(NamedTuple):
    """Columns of the table ``keys``."""

    id: str
    node_uid: str | None
    gateway: str | None
    names_nodes: int
    adopts_all: int
    generation: int
    revoked_ms: int | None


NODE_COLUMNS, KEY_COLUMNS = NodeRow._fields, KeyRow._fields

_NODES = f"""
select {", ".join(f"nodes.{column}" for column in NODE_COLUMNS)},
    (select json_group_array(distinct before) from changes
        where node_uid = nodes.uid and what = 'rename node'),
    {", ".join(f"keys.{column}" for column in KEY_COLUMNS)}
from nodes left join keys on keys.node_uid = nodes.uid
"""
_GATEWAYS = f"select {', '.join(KEY_COLUMNS)} from keys where gateway is not null"


class Entry(Struct, frozen=True, array_like=True):
    """A node and its key, a gateway's key, or what is decided about a device.

    ``name`` is its key in the bucket; ``change``: the number of the change that it is as of.
    """

    name: str
    change: int
    node: NodeRow | None
    former_names: tuple[str, ...]
    key: KeyRow | None
    device: Decision | None = None


def encode_value(value: Struct) -> bytes:
    """A value of the bucket, with a checksum: a flipped bit mustn't make a revoked token valid."""
    return seal(msgspec.msgpack.encode(value))


def decode_value(data: bytes | None, of: type[T]) -> T:
    """The value of some bytes.

    Raises:
        UnreadableValue: they are damaged, or of another version of tmon.
    """
    data = data or b""
    if not is_intact(data):
        raise UnreadableValue("it is damaged")
    try:
        if version_of(data) == VERSION:
            return msgspec.msgpack.decode(memoryview(data)[BODY:], type=of)
    except msgspec.MsgspecError:
        pass
    raise UnreadableValue("it is of another version of tmon: upgrade this one")


def all_entries(db: Database, change: int) -> Iterator[Entry]:
    """The entries of all nodes and gateways of a file."""
    for row in db.execute(_NODES):
        yield _of_node(row, change)
    for row in db.execute(_GATEWAYS):
        yield _of_gateway(row, change)


def entries_of(
    db: Database, change: int, uids: Iterable[str], gateway_keys: Iterable[str]
) -> Iterator[Entry]:
    """The entries of some nodes and of some gateways' keys."""
    for uid in uids:
        for row in db.execute(f"{_NODES} where nodes.uid = ?", [uid]):
            yield _of_node(row, change)
    for key_id in gateway_keys:
        for row in db.execute(f"{_GATEWAYS} and id = ?", [key_id]):
            yield _of_gateway(row, change)


def of_new_node(uid: str, name: str, change: int) -> Entry:
    """The entry of a node that is made."""
    return Entry(_name_of(uid), change, NodeRow(uid, name, 1, None, None), (), None)


def of_device(decision: Decision, change: int) -> Entry:
    """The entry of a device."""
    return Entry(name_of_device(decision.id), change, None, (), None, decision)


def name_of_device(device_id: str) -> str:
    """The key of a device's entry: NATS allows few characters in one."""
    return f"device.{sha256(device_id.encode()).hexdigest()}"


def ids_in(name: str) -> tuple[str | None, str | None]:
    """The node's uid, or the id of the gateway's key, that an entry with this name is of."""
    kind, _, id_ = name.partition(".")
    return (id_.replace("=", ":"), None) if kind == "node" else (None, id_)


def _name_of(uid: str) -> str:
    return f"node.{uid.replace(':', '=')}"  # NATS allows no colon, and a uid has no equals sign


def _of_node(row: Sequence[Any], change: int) -> Entry:
    node, former = row[: len(NODE_COLUMNS)], tuple(json.loads(row[len(NODE_COLUMNS)]))
    key = row[len(NODE_COLUMNS) + 1 :]
    name = _name_of(node[0])
    return Entry(name, change, NodeRow(*node), former, KeyRow(*key) if key[0] else None)


def _of_gateway(row: Sequence[Any], change: int) -> Entry:
    return Entry(f"gateway.{row[0]}", change, None, (), KeyRow(*row))
