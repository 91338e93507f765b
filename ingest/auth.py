"""Who sends: the node whose token a request carries."""

from collections.abc import Mapping
from hmac import compare_digest

from msgspec import Struct
from sqlite_utils import Database

from tmon.core.errors import Revoked, Unauthorized
from tmon.core.reading import Node
from tmon.db import nodes
from tmon.db.tokens import Tokens


class Admitted(Struct, frozen=True):
    """Whom a claim lets in, together with this signature."""

    signature: bytes
    node: Node


class Door:
    """Lets in who holds a valid token.

    Who was let in once is remembered by the claim, until ``forget``.
    """

    def __init__(self, tokens: Tokens, db: Database) -> None:
        self._tokens = tokens
        self._db = db
        self._admitted: dict[bytes, Admitted] = {}

    def identify(self, headers: Mapping[bytes, bytes]) -> Node:
        """The node whose token the ``Authorization: Bearer`` header carries.

        Raises:
            Unauthorized: no token, a forged or an outdated one.
            Revoked: one that may write no more.
        """
        claim, signature = _bearer(headers)
        admitted = self._admitted.get(claim)
        if admitted is None or not compare_digest(signature, admitted.signature):
            admitted = Admitted(signature, self._admit(claim, signature))
            self._admitted[claim] = admitted
        return admitted.node

    def recognize(self, headers: Mapping[bytes, bytes]) -> str:
        """What is known of a token, valid or not: for who makes tokens, and wonders whether here.

        ``other_secret``, ``unknown_node`` or ``known``. What has no signature of ours is told
        no more than a 401 tells.
        """
        try:
            _, uid, _ = self._tokens.verify(*_bearer(headers))
        except Unauthorized:
            return "other_secret"
        return "known" if nodes.find_by_uid(self._db, uid) else "unknown_node"

    def forget(self) -> None:
        """Look nodes up anew: another process has changed the database."""
        self._admitted.clear()

    def _admit(self, claim: bytes, signature: bytes) -> Node:
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
        return Node(uid, known.name, label, nodes.former_names(self._db, uid))


def _bearer(headers: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    """The claim and the signature of a request's token."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer" or not token:
        raise Unauthorized("send the node's token: `Authorization: Bearer tmon_...`")
    claim, _, signature = token.strip().rpartition(b".")
    return claim, signature
