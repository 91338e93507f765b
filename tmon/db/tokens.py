"""Tokens: make, verify, rotate and revoke them.

A token is ``tmon_<name>.<uid>.<generation>.<signature>``. Only the node's uid and generation
are stored, which are no secret.
"""

import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from hmac import compare_digest
from pathlib import Path

from itsdangerous import Signer
from sqlite_utils import Database

from tmon.core.errors import CannotServe, Revoked, Unauthorized
from tmon.core.settings import LEAST_SECRET_BYTES, Settings
from tmon.core.time import now_ms
from tmon.db import nodes
from tmon.db.connect import chown_to_dir_owner, open_database, open_for_reading, transaction
from tmon.db.identity import beside, log_of
from tmon.db.nodes import KnownNode
from tmon.db.restored_secret import complete_restore

PREFIX = "tmon_"

log = logging.getLogger("tmon.tokens")


def load_or_create_secret(settings: Settings, *, made_level: int = logging.WARNING) -> bytes:
    """``TMON_SECRET``, or the secret file's content; the file is created on first use.

    Args:
        settings: the station's.
        made_level: the log level of the message that it was created.

    Raises:
        OSError: the file can't be read or created.
        CannotServe: it holds no secret; or it is missing, and there are nodes whose tokens need it.
    """
    file = settings.secret_file
    complete_restore(settings)
    if settings.secret is None and not file.exists():
        if not settings.begin_anew and _has_nodes(settings.db):
            raise CannotServe(
                f"{file}: no such file, and the nodes' tokens need it: bring it back from the "
                "backup (its .secret file), or make a new one by TMON_BEGIN_ANEW=yes and give "
                "all nodes new tokens"
            )
        _create_secret(file, made_level=made_level)
    return read_secret(settings)


def read_secret(settings: Settings) -> bytes:
    """``TMON_SECRET``, or the secret file's content.

    Raises:
        OSError: there is no such file, or it can't be read.
        CannotServe: it holds no secret, or one that can be guessed.
    """
    if settings.secret is not None:
        return settings.secret
    complete_restore(settings)
    file = settings.secret_file
    secret = file.read_bytes().strip()
    if len(secret) < LEAST_SECRET_BYTES:
        raise CannotServe(
            f"{file} holds no secret of {LEAST_SECRET_BYTES} bytes at least; bring it back from "
            "the backup, or remove it and give all nodes new tokens: docs/watching.md, T14"
        )
    return secret


def open_station(settings: Settings) -> Database:
    """Open the station's database; create it where there never was one.

    Raises:
        CannotServe: it is missing or empty, while its secret or its log is still there.
        RefusedDatabase: it is no tmon database, or one from a newer tmon.
    """
    db = settings.db
    # The database is created first, its secret and log after: so look for those before it.
    left = [path for path in (beside(db, ".secret"), log_of(db)) if path.exists()]
    if left and not settings.begin_anew and not (db.exists() and db.stat().st_size):
        raise CannotServe(
            f"{db} is missing or empty, and {', '.join(path.name for path in left)} beside it "
            "belonged to it: bring it back from the backup (`tmon restore FILE`), or begin with "
            "an empty database by TMON_BEGIN_ANEW=yes"
        )
    return open_database(db, create=True, in_cluster=bool(settings.stream))


def _has_nodes(path: Path) -> bool:
    if not path.exists():
        return False
    with open_for_reading(path) as db:
        made = db.execute("select 1 from sqlite_master where name = 'nodes'").fetchone()
        return bool(made and db.execute("select 1 from nodes limit 1").fetchone())


def _create_secret(
    path: Path, sync: Callable[[int], object] = os.fsync, *, made_level: int = logging.WARNING
) -> None:
    """Write a draft and link it to its name, so that two processes never see two secrets."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            chown_to_dir_owner(descriptor, path)
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            sync(file.fileno())
        path.hardlink_to(draft)
        log.log(
            made_level,
            "made %s, which signs the tokens: keep a copy where the backups are",
            path,
        )
    except FileExistsError:
        pass  # another process was first; its secret is the one
    finally:
        draft.unlink()


class Tokens:
    """Makes and verifies tokens with the station's secret."""

    def __init__(self, secret: bytes) -> None:
        self._signer = Signer(
            secret,
            salt=b"tmon.token",
            sep=".",
            key_derivation="hmac",
            digest_method=hashlib.sha256,
        )

    def make(self, node: KnownNode) -> str:
        """The node's token: the same one each time, until it is rotated."""
        claim = f"{PREFIX}{node.name}.{node.uid}.{node.token_generation}"
        return self._signer.sign(claim).decode()

    def make_probe(self, uid: str) -> str:
        """A token that is never valid, as generations begin at 1, but is signed correctly."""
        return self.make(KnownNode(uid, "probe", 0, None))

    def verify(self, claim: bytes, signature: bytes) -> tuple[str, str, int]:
        """The label, uid and generation of a token with a valid signature.

        The signature must be spelled as ``make`` spells it: base64 has other spellings.

        Raises:
            Unauthorized: the signature isn't valid.
        """
        if not compare_digest(signature, self._signer.get_signature(claim)):
            raise Unauthorized(
                "this is no token or key of this server; `tmon token get NODE` makes a token, "
                "`tmon key get NODE` a key"
            )
        label, uid, generation = claim.decode().removeprefix(PREFIX).split(".")
        return label, uid, int(generation)


def get_or_create(
    settings: Settings,
    names: Iterable[str],
    open_file: Callable[[Settings], Database] = open_station,
) -> Iterator[str]:
    """The tokens of nodes, in order; creates the database, the secret and nodes if missing.

    Raises:
        InvalidName: no node can be called that.
        Revoked: the node's token was revoked; rotating makes a new one.
    """
    with open_file(settings) as db:
        tokens = Tokens(load_or_create_secret(settings))
        for name in names:
            node = nodes.find_or_make(db, name)
            if node.revoked_ms is not None:
                raise Revoked(
                    f"{name}'s token was revoked; `tmon token rotate {name}` makes a new one"
                )
            yield tokens.make(node)


def rotate(db: Database, tokens: Tokens, name: str) -> str:
    """Make a new token for a node; its old one is no longer valid.

    Raises:
        UnknownNode: no node is called that.
    """
    nodes.find(db, name)
    with transaction(db):
        db.execute(
            "update nodes set token_generation = token_generation + 1, revoked_ms = null"
            " where name = ?",
            [name],
        )
    return tokens.make(nodes.find(db, name))


def revoke(db: Database, name: str) -> None:
    """Make a node's token invalid until it is rotated.

    Raises:
        UnknownNode: no node is called that.
    """
    nodes.find(db, name)
    with transaction(db):
        db.execute(
            "update nodes set revoked_ms = ? where name = ? and revoked_ms is null",
            [now_ms(), name],
        )
