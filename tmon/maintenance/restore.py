"""`tmon restore`: put a backup in the database's place, once it is known to be sound.

The file may come from anywhere, and this may run as root: the file is copied to a draft, and only
the draft is examined; files beside it are read only if they are small and no links.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from tmon.core.deadline import run_with_deadline
from tmon.core.settings import LEAST_SECRET_BYTES, Settings
from tmon.db import identity
from tmon.db.connect import (
    RefusedDatabase,
    is_of_cluster,
    open_database,
    refuse_non_file,
    set_foreign_log_aside,
    sqlite3,
)
from tmon.db.database_file import connect_uri
from tmon.db.restored_secret import complete_restore, pending_name, pending_secrets
from tmon.db.sqlite_errors import primary_code
from tmon.maintenance import snapshot, vetting
from tmon.maintenance.backup_dir import (
    InUse,
    UnusableFile,
    chown_like,
    fsync_dir,
    os_errors_explained,
    read_small_file,
    require_free_space,
    staging_dir,
    write_secret_file,
)
from tmon.maintenance.devices import restore_devices
from tmon.maintenance.newer_readings import newer_readings

STAGING_NAME = ".tmon-restore"
LOGS = ("-wal", "-shm", "-journal")  # SQLite would apply an old log to the new file
MOST_COMPANION_BYTES = 4096  # a secret has 65, a digest about 100
HEAP_LIMIT_BYTES = 256 << 20  # SQLite's, during the check: a schema can ask for any amount
# The check reads 24 MB a second here. A file built to take forever is given up; one on a Pi's
# slow card isn't.
CHECK_S, CHECK_BYTES_PER_S = 60.0, 250_000


class Content(NamedTuple):
    """What a backup is, besides sound."""

    owners: list[str]  # the owner's own tables, indexes and views
    of_cluster: bool  # of a station on several machines


def restore(
    file: Path, settings: Settings, *, force: bool, progress: snapshot.Progress
) -> list[str]:
    """Put the backup ``file`` and its secret in the place of the station's.

    Everything is checked before anything is changed. What was there is kept under another name.

    Returns:
        What its owner should know, in lines.

    Raises:
        TmonError: nothing was changed.
    """
    db, secret_file = settings.db, settings.secret_file
    with os_errors_explained(db, "nothing was restored"):
        _refuse_file(file, db)
        complete_restore(settings)  # of an earlier run
        secret = _secret_of(file)
        with staging_dir(db.parent, STAGING_NAME) as staging:
            with exclusive(db):
                pass  # fail now rather than after the long check
            draft = staging / "draft.db"
            content = _copy_and_check(file, draft, progress)
            copy_mode_and_owner(db, draft)
            with exclusive(db) as present:
                newer = newer_readings(present, draft) if present else []
                existing = [db] if present else []
                if secret and secret_file.exists() and secret_file.read_bytes().strip() != secret:
                    existing.append(secret_file)
                if existing and not force:
                    raise InUse(
                        f"{' and '.join(map(str, existing))}: there already; --force restores, "
                        "and keeps it under another name"
                        + (f". Readings newer than the backup: {', '.join(newer)}" if newer else "")
                    )
                kept = _swap(draft, existing, secret, settings)
            restore_devices(file, settings, staging)
    return [*_report(kept, newer, content), *_warnings(file, secret, content, settings)]


def _refuse_file(file: Path, db: Path) -> None:
    """Refuse what is no backup: a missing file, the database itself, or one with a log."""
    refuse_non_file(db)
    if not file.is_file():
        raise UnusableFile(f"{file}: no such file")
    if db.exists() and file.samefile(db):
        raise UnusableFile(f"{file} is the database itself; name a backup of it")
    for suffix in ("-wal", "-journal"):
        log = file.with_name(f"{file.name}{suffix}")
        if log.exists() and log.stat().st_size:
            raise UnusableFile(
                f"{file} is not whole: {log.name} belongs to it; `tmon backup` makes one that is"
            )


def _secret_of(file: Path) -> bytes | None:
    """The secret beside a backup; None where there is none."""
    path = file.with_name(f"{file.name}.secret")
    content = read_small_file(path, MOST_COMPANION_BYTES)
    secret = content.strip() if content is not None else None
    if secret is not None and len(secret) < LEAST_SECRET_BYTES:
        raise UnusableFile(
            f"{path}: holds no secret of {LEAST_SECRET_BYTES} bytes at least; "
            "remove it to restore the database alone"
        )
    return secret


def _copy_and_check(file: Path, draft: Path, progress: snapshot.Progress) -> Content:
    """Copy the file to a draft, check the draft's digest, schema and content, and migrate it."""
    require_free_space(draft.parent, file.stat().st_size)
    with file.open("rb") as source, draft.open("xb") as copy:
        shutil.copyfileobj(source, copy)
    digest = snapshot.flush_and_hash(draft)
    expected = read_small_file(file.with_name(f"{file.name}.sha256"), MOST_COMPANION_BYTES)
    if expected is not None and expected.split()[:1] != [digest.encode()]:
        raise snapshot.DamagedCopy(
            f"{file} is not what {file.name}.sha256 says; nothing was restored"
        )
    try:
        with progress(draft.stat().st_size) as bar:
            _check_bounded(draft, bar.update)
        with open_database(draft, in_cluster=True) as db:
            db.execute(f"pragma user_version = {identity.new_mark()}")
            of_cluster = is_of_cluster(db)
        content = Content(vetting.vet(draft), of_cluster)
    except (snapshot.DamagedCopy, vetting.Untrusted, RefusedDatabase) as error:
        why = str(error).removeprefix(f"{draft}: ")
        raise snapshot.DamagedCopy(f"{file}: {why}; nothing was restored") from error
    snapshot.flush_and_hash(draft)
    return content


def _check_bounded(draft: Path, advance: snapshot.Advance) -> None:
    """Vet and check a draft in limited time and memory, before it is opened for writing."""

    def check() -> None:
        vetting.vet(draft)
        snapshot.check_copy(draft, None, advance)

    with closing(sqlite3.connect(":memory:")) as conn:
        conn.execute(f"pragma hard_heap_limit = {HEAP_LIMIT_BYTES}")  # of all connections
    patience_s = CHECK_S + draft.stat().st_size / CHECK_BYTES_PER_S
    for _, error in run_with_deadline({draft: check}, patience_s):
        if isinstance(error, TimeoutError):
            raise snapshot.DamagedCopy(f"looking through it was not over after {patience_s:,.0f} s")
        if isinstance(error, MemoryError):
            raise snapshot.DamagedCopy("it takes too much memory to look through")
        if error:
            raise error


def copy_mode_and_owner(db: Path, draft: Path) -> None:
    """Give the new file the old one's mode and, as root, its owner or its folder's."""
    descriptor = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if db.exists():
            os.fchmod(descriptor, stat.S_IMODE(db.stat().st_mode))
        chown_like(descriptor, db)
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(db: Path) -> Iterator[sqlite3.Connection | None]:
    """Lock the database: no other program has it open, or can open it. Its log is written back.

    SQLite's VFS "unix-excl" does this (sqlite.org/vfs.html): a connection's first lock shuts all
    other processes out, also where the file is damaged, until the connection is closed. If another
    file has the name by then, SQLite notices, and leaves that file's log alone.

    Yields:
        The connection; None where there is no database.

    Raises:
        InUse: a program has it open.
    """
    set_foreign_log_aside(db)
    if not db.exists():
        yield None
        return
    with closing(connect_uri(db, "mode=rw&vfs=unix-excl", timeout=0, isolation_level=None)) as conn:
        try:
            conn.execute("pragma wal_checkpoint(truncate)").fetchone()
        except sqlite3.DatabaseError as error:
            if primary_code(error) == sqlite3.SQLITE_BUSY:
                raise InUse(
                    f"{db} is in use; first stop `tmon serve`, `tmon sink`, and whatever else has "
                    "it open"
                ) from None
            if primary_code(error) not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
        yield conn


def _swap(draft: Path, old: list[Path], secret: bytes | None, settings: Settings) -> list[Path]:
    """Replace the database and its secret; the paths under which the ``old`` ones are kept.

    Killed before the database is renamed, this has changed nothing; killed after it, the next
    start completes it: the secret is on the disk before, under a name for its database.
    """
    db, secret_file = settings.db, settings.secret_file
    kept_db = identity.dated_name(db, "before-restore")
    dated = kept_db.name.removeprefix(db.name)
    for leftover in pending_secrets(secret_file):  # of runs that were killed
        leftover.unlink()
    pending = None
    if secret is not None and (secret_file in old or not secret_file.exists()):
        pending = pending_name(secret_file, draft)
        write_secret_file(pending, secret, owner_of=secret_file)
        fsync_dir(secret_file.parent)
    kept = [identity.free_name(path.with_name(f"{path.name}{dated}")) for path in old]
    for path, kept_path in zip(old, kept, strict=True):
        kept_path.hardlink_to(path)  # as the name is about to be another file's
    for suffix in LOGS:
        log = db.with_name(f"{db.name}{suffix}")
        if suffix != "-shm" and log.exists() and log.stat().st_size:  # of a damaged database
            log.rename(kept_db.with_name(f"{kept_db.name}{suffix}"))
        log.unlink(missing_ok=True)
    draft.rename(db)
    fsync_dir(db.parent)
    if pending:
        pending.rename(secret_file)
        fsync_dir(secret_file.parent)
    return kept


def _report(kept: list[Path], newer: list[str], content: Content) -> Iterator[str]:
    for path in kept:
        yield f"what was there is now {path}"
    if newer and content.of_cluster:
        yield "readings newer than the backup, which the streams have too if they came so late:"
        yield from (f"  {line}" for line in newer)
        yield "`tmon sink` stores them again; if the streams don't keep them any more, it says so"
    elif newer:
        yield f"readings newer than the backup, which only {kept[0]} has now:"
        yield from (f"  {line}" for line in newer)
        yield "docs/backup.md (Readings newer than the backup) says how to add them"
    if content.owners:
        yield f"not tmon's own, and kept: {', '.join(content.owners)}"


def _warnings(
    file: Path, secret: bytes | None, content: Content, settings: Settings
) -> Iterator[str]:
    if settings.stream and not content.of_cluster:
        yield (
            f"{file} was made before the station was on several machines, so `tmon sink` refuses "
            "it: restore a newer one (docs/cluster.md)"
        )
    if not file.with_name(f"{file.name}.sha256").exists():
        yield f"{file.name}.sha256 is not beside it; only SQLite's own checks were made"
    if secret is None:
        yield (
            f"{file.name} came without a secret: the nodes' tokens are valid with the old one "
            f"alone, in {settings.secret_file}"
        )
    elif settings.secret is not None and settings.secret.strip() != secret:
        yield "TMON_SECRET is another than the backup's: with it no token of the backup is valid"
