"""`tmon restore`: put a backup in the database's place, once it is known to be sound.

The file may come from anywhere, and this may run as root: the file is copied to a draft, and only
the draft is examined; files beside it are read only if they are small and no links.
"""

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tmon.core import humanize
from tmon.core.deadline import run_with_deadline
from tmon.core.errors import TmonError
from tmon.core.settings import LEAST_SECRET_BYTES, Settings
from tmon.db.connect import (
    RefusedDatabase,
    open_database,
    refuse_non_file,
    set_foreign_log_aside,
    sqlite3,
)
from tmon.db.identity import new_mark
from tmon.db.restored_secret import complete_restore, pending_name, pending_secrets
from tmon.maintenance import snapshot, vetting
from tmon.maintenance.backup_dir import (
    UnusableFile,
    fsync_dir,
    os_errors_explained,
    read_small_file,
    require_free_space,
    staging_dir,
    timestamp,
    write_secret_file,
)
from tmon.maintenance.snapshot import Progress

STAGING_NAME = ".tmon-restore"
LOGS = ("-wal", "-shm", "-journal")  # SQLite would apply an old log to the new file
# The bytes that every program with a WAL database open holds a lock on (SQLite's os_unix.c).
SHARED_FIRST, SHARED_BYTES = 0x40000002, 510
BYTES_PER_ROW = 33  # of a database that is nearly all readings, for the progress bar
MOST_COMPANION_BYTES = 4096  # a secret has 65, a digest about 100
HEAP_LIMIT_BYTES = 256 << 20  # SQLite's, during the check: a schema can ask for any amount
# The check reads 24 MB a second here. A file built to take forever is given up; one on a Pi's
# slow card isn't.
CHECK_S, CHECK_BYTES_PER_S = 60.0, 250_000


class InUse(TmonError):
    """The database's place is taken, or a program has the database open."""


class Restored(NamedTuple):
    """What was there before, under its new name, and what its owner should know."""

    kept: list[Path]
    owners: list[str]  # tables, indexes and views that aren't tmon's
    warnings: list[str]


def restore(
    file: Path, settings: Settings, *, force: bool, now_ms: int, progress: Progress
) -> Restored:
    """Put the backup ``file`` and its secret in the place of the station's.

    Everything is checked before anything is changed. What was there is kept under another name.

    Raises:
        TmonError: nothing was changed.
    """
    db = settings.db
    with os_errors_explained(db, "nothing was restored"):
        _refuse_file(file, db)
        complete_restore(settings)  # of an earlier run
        secret = _secret_of(file)
        if not force:
            existing = [db] if db.exists() else []
            if secret is not None and _differs(settings.secret_file, secret):
                existing.append(settings.secret_file)
            if existing:
                raise InUse(
                    f"{' and '.join(map(str, existing))}: there already; "
                    "--force restores, and keeps it under another name"
                )
        with staging_dir(db.parent, STAGING_NAME) as staging:
            with exclusive(db):
                pass  # fail now rather than after the long check
            require_free_space(staging, file.stat().st_size)
            draft = staging / "draft.db"
            with file.open("rb") as source, draft.open("xb") as copy:
                shutil.copyfileobj(source, copy)
            owners = _check(draft, file, progress)
            copy_mode_and_owner(db, draft)
            checkpoint_log(db)
            with exclusive(db):
                kept = _swap(draft, secret, settings, now_ms)
        return Restored(kept, owners, [*_warnings(file, secret, settings)])


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
    secret = read_small_file(path, MOST_COMPANION_BYTES)
    if secret is not None and len(secret.strip()) < LEAST_SECRET_BYTES:
        raise UnusableFile(
            f"{path}: holds no secret of {LEAST_SECRET_BYTES} bytes at least; "
            "remove it to restore the database alone"
        )
    return secret


def _differs(path: Path, secret: bytes) -> bool:
    """Whether a file holds another secret than this."""
    return path.exists() and path.read_bytes().strip() != secret.strip()


def _check(draft: Path, file: Path, progress: Progress) -> list[str]:
    """Check a draft's digest, schema and content, and migrate it.

    Returns:
        The owner's own tables, indexes and views.
    """
    digest = snapshot.flush_and_hash(draft)
    expected = read_small_file(file.with_name(f"{file.name}.sha256"), MOST_COMPANION_BYTES)
    if expected is not None and expected.split()[:1] != [digest.encode()]:
        raise snapshot.DamagedCopy(
            f"{file} is not what {file.name}.sha256 says; nothing was restored"
        )
    try:
        with progress(draft.stat().st_size) as bar:
            _check_bounded(draft, file, lambda rows: bar.update(rows * BYTES_PER_ROW))
        with open_database(draft) as db:
            db.execute(f"pragma user_version = {new_mark()}")
        owners = vetting.vet(draft, file)
    except (snapshot.DamagedCopy, vetting.Untrusted) as error:
        raise snapshot.DamagedCopy(f"{file}: {error}; nothing was restored") from error
    except sqlite3.DatabaseError as error:
        why = humanize.printable(str(error))
        raise snapshot.DamagedCopy(f"{file}: it is damaged: {why}; nothing was restored") from error
    except RefusedDatabase as error:
        raise snapshot.DamagedCopy(str(error).replace(str(draft), str(file))) from error
    snapshot.flush_and_hash(draft)
    return owners


def _check_bounded(draft: Path, file: Path, advance: snapshot.Advance) -> None:
    """Vet and check a draft in limited time and memory, before it is opened for writing."""

    def check() -> None:
        vetting.vet(draft, file)
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
        _chown_like(descriptor, db)
    finally:
        os.close(descriptor)


def _chown_like(descriptor: int, path: Path) -> None:
    """As root, give an open file to the owner of ``path``, or of its folder."""
    if os.geteuid() == 0:
        owner = (path if path.exists() else path.parent).stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def checkpoint_log(db: Path) -> None:
    """Write the old database's log back; a damaged database keeps it beside it."""
    set_foreign_log_aside(db)
    if db.exists():
        with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(str(db))) as conn:
            conn.execute("pragma wal_checkpoint(truncate)")


@contextmanager
def exclusive(db: Path) -> Iterator[None]:
    """Lock the database so that no program has it open, or can open it.

    Raises:
        InUse: a program has it open.
    """
    if not db.exists():
        yield
        return
    with db.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, SHARED_BYTES, SHARED_FIRST)
        except (BlockingIOError, PermissionError):
            raise InUse(
                f"{db} is in use; stop `tmon serve`, and whatever else has it open, first"
            ) from None
        yield


def _swap(draft: Path, secret: bytes | None, settings: Settings, now_ms: int) -> list[Path]:
    """Replace the database and its secret; the paths under which the old ones are kept.

    Killed before the database is renamed, this has changed nothing; killed after it, the next
    start completes it: the secret is on the disk before, under a name for its database.
    """
    db, secret_file = settings.db, settings.secret_file
    while os.path.lexists(_kept_name(db, now_ms)):
        now_ms += 1000
    kept = _keep(db, now_ms)
    for leftover in pending_secrets(secret_file):  # of runs that were killed
        leftover.unlink()
    pending = None
    if secret is not None and (not secret_file.exists() or _differs(secret_file, secret)):
        pending = pending_name(secret_file, draft)
        write_secret_file(pending, secret, partial(_chown_like, path=secret_file))
        fsync_dir(secret_file.parent)
        kept += _keep(secret_file, now_ms)
    for suffix in LOGS:
        log = db.with_name(db.name + suffix)
        if log.exists():
            log.rename(f"{_kept_name(db, now_ms)}{suffix}")
    draft.rename(db)
    fsync_dir(db.parent)
    if pending:
        pending.rename(secret_file)
        fsync_dir(secret_file.parent)
    return kept


def _kept_name(path: Path, at_ms: int) -> Path:
    return path.with_name(f"{path.name}.before-{timestamp(at_ms)}")


def _keep(path: Path, at_ms: int) -> list[Path]:
    """Link the present file to a second name, as its first is about to be another's."""
    if not path.exists():
        return []
    kept = _kept_name(path, at_ms)
    kept.hardlink_to(path)
    return [kept]


def _warnings(file: Path, secret: bytes | None, settings: Settings) -> Iterator[str]:
    if not file.with_name(f"{file.name}.sha256").exists():
        yield f"{file.name}.sha256 is not beside it; only SQLite's own checks were made"
    if secret is None:
        yield (
            f"{file.name} came without a secret: the nodes' tokens are valid with the old one "
            f"alone, in {settings.secret_file}"
        )
    elif settings.secret is not None and settings.secret.strip() != secret.strip():
        yield "TMON_SECRET is another than the backup's: with it no token of the backup is valid"
