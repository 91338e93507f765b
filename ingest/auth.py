"""Authentication: the node whose token or key a request carries."""

from collections.abc import Iterable, Mapping
from hmac import compare_digest
from urllib.parse import parse_qsl

from msgspec import Struct
from sqlite_utils import Database

from ingest import credentials
from tmon.core.errors import Revoked, Unauthorized
from tmon.core.reading import Gateway, Node, Sender
from tmon.db import keys, nodes
from tmon.db.keys import Keys, is_key
from tmon.db.tokens import Tokens

NO_TOKEN = "send the node's token: `Authorization: Bearer tmon_...`"  # noqa: S105 - a message


class CachedToken(Struct, frozen=True):
    """Cache entry: whose a token or key is, and the signature that was verified for it."""

    signature: bytes
    sender: Sender


class Authenticator:
    """Finds the node of a request's token or key; caches what it verified until ``invalidate``."""

    def __init__(self, secret: bytes, db: Database) -> None:
        self._tokens = Tokens(secret)
        self._keys = Keys(secret)
        self._db = db
        self._cache: dict[bytes, CachedToken] = {}  # by a token's claim, by a key's id

    def authenticate(self, headers: Mapping[bytes, bytes], query_string: bytes = b"") -> Sender:
        """Whose token or key a request carries, usually in ``Authorization: Bearer``.

        Raises:
            Unauthorized: the token is missing, forged or outdated.
            Revoked: the token may no longer write.
        """
        try:
            text = _bearer_token(headers)
        except Unauthorized:
            fields = dict(parse_qsl(query_string.decode(errors="replace")))
            elsewhere = [*credentials.in_headers(headers), *credentials.in_fields(fields)]
            if not elsewhere:
                raise
            return self.first_valid(elsewhere)
        claim, _, signature = text.rpartition(b".")  # of a token: the usual case, and quick
        cached = self._cache.get(claim)
        if cached is not None and compare_digest(signature, cached.signature):
            return cached.sender
        return self.sender_of(text)

    def sender_of(self, text: bytes) -> Sender:
        """The node or gateway that a token or key belongs to.

        Raises:
            Unauthorized: it is forged or outdated.
            Revoked: it may no longer write.
        """
        claim, _, signature = text.rpartition(b".")
        if not claim and is_key(text):
            claim, signature = text[: keys.ID_DIGITS], text[keys.ID_DIGITS :]
        cached = self._cache.get(claim)
        if cached is not None and compare_digest(signature, cached.signature):
            return cached.sender
        sender = (
            self._sender_of_key(claim, signature)
            if is_key(text)
            else self._node_of_token(claim, signature)
        )
        self._cache[claim] = CachedToken(signature, sender)
        return sender

    def first_valid(self, candidates: Iterable[bytes]) -> Sender:
        """Whose the first text is that is a valid token or key.

        Raises:
            Unauthorized, Revoked: none is; the error is the first one's.
        """
        first: Unauthorized | Revoked | None = None
        for text in candidates:
            try:
                return self.sender_of(text)
            except (Unauthorized, Revoked) as error:
                first = first or error
        raise first or Unauthorized("send the node's key; `tmon key get NODE` prints it")

    def is_node(self, name: str) -> bool:
        """Whether a node is called that."""
        return nodes.exists(self._db, name)

    def node_of(self, uid: str) -> Node | None:
        """The node with that uid, if there is one."""
        known = nodes.find_by_uid(self._db, uid)
        return nodes.as_sender(self._db, known, known.name) if known else None

    def token_status(self, headers: Mapping[bytes, bytes]) -> str:
        """``other_secret``, ``unknown_node`` or ``known``; the token need not be valid.

        It helps who makes a token on the wrong machine. A token without our signature
        learns no more than a 401 would tell it.
        """
        try:
            claim, _, signature = _bearer_token(headers).rpartition(b".")
            _, uid, _ = self._tokens.verify(claim, signature)
        except Unauthorized:
            return "other_secret"
        return "known" if nodes.find_by_uid(self._db, uid) else "unknown_node"

    def invalidate(self) -> None:
        """Empty the cache: another process has changed the database."""
        self._cache.clear()

    def _node_of_token(self, claim: bytes, signature: bytes) -> Node:
        label, uid, generation = self._tokens.verify(claim, signature)
        known = nodes.find_by_uid(self._db, uid)
        if known is None or generation != known.token_generation:
            raise Unauthorized(
                f"this token of {label} is outdated; `tmon token get` has the new one"
            )
        if known.revoked_ms is not None:
            raise Revoked(
                f"the token of {known.name} was revoked; "
                f"on the server, `tmon token rotate {known.name}` makes a new one"
            )
        return nodes.as_sender(self._db, known, label)

    def _sender_of_key(self, key_id: bytes, tag: bytes) -> Sender:
        key = keys.find_by_id(self._db, key_id.decode())
        if key is None:
            raise Unauthorized(
                "this key is not one of this server's; `tmon key get NODE` makes one"
            )
        self._keys.verify(key, tag)
        if key.revoked_ms is not None:
            raise Revoked(
                f"the key of {key.owner} was revoked; "
                f"on the server, `tmon key rotate {key.argument}` makes a new one"
            )
        if key.uid is None:
            return Gateway(key.owner, bool(key.names_nodes), bool(key.adopts_all))
        return nodes.as_sender(self._db, nodes.find(self._db, key.owner), key.owner)


def _bearer_token(headers: Mapping[bytes, bytes]) -> bytes:
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer" or not token:
        raise Unauthorized(NO_TOKEN)
    return token.strip()
