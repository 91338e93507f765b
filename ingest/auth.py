"""Authentication: the node whose token a request carries."""

from collections.abc import Mapping
from hmac import compare_digest

from msgspec import Struct
from sqlite_utils import Database

from tmon.core.errors import Revoked, Unauthorized
from tmon.core.reading import Node
from tmon.db import nodes
from tmon.db.tokens import Tokens


class CachedToken(Struct, frozen=True):
    """Cache entry: a token's node and the signature that was verified for it."""

    signature: bytes
    node: Node


class Authenticator:
    """Finds the node of a request's token; caches verified tokens until ``invalidate``."""

    def __init__(self, tokens: Tokens, db: Database) -> None:
        self._tokens = tokens
        self._db = db
        self._cache: dict[bytes, CachedToken] = {}  # by claim

    def authenticate(self, headers: Mapping[bytes, bytes]) -> Node:
        """The node whose token the ``Authorization: Bearer`` header carries.

        Raises:
            Unauthorized: the token is missing, forged or outdated.
            Revoked: the token may no longer write.
        """
        claim, signature = _bearer_token(headers)
        cached = self._cache.get(claim)
        if cached is not None and compare_digest(signature, cached.signature):
            return cached.node
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
        node = Node(uid, known.name, label, nodes.former_names(self._db, uid))
        self._cache[claim] = CachedToken(signature, node)
        return node

    def token_status(self, headers: Mapping[bytes, bytes]) -> str:
        """``other_secret``, ``unknown_node`` or ``known``; the token need not be valid.

        It helps who makes a token on the wrong machine. A token without our signature
        learns no more than a 401 would tell it.
        """
        try:
            _, uid, _ = self._tokens.verify(*_bearer_token(headers))
        except Unauthorized:
            return "other_secret"
        return "known" if nodes.find_by_uid(self._db, uid) else "unknown_node"

    def invalidate(self) -> None:
        """Empty the cache: another process has changed the database."""
        self._cache.clear()


def _bearer_token(headers: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    """The claim and the signature of a request's token."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer" or not token:
        raise Unauthorized("send the node's token: `Authorization: Bearer tmon_...`")
    claim, _, signature = token.strip().rpartition(b".")
    return claim, signature
