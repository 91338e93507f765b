"""`tmon restore`: a backup put in the database's place, once it is known to be sound.

The file may come from anywhere, and may be run as root: it is copied to a draft, and only the
draft is looked at; what lies beside it is read only where it is a small file and no link.
"""

import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tmon.core import humanize
from tmon.core.deadline import run_with_deadline
from tmon.core.errors import TmonError
from tmon.core.settings import LEAST_SECRET_BYTES, Settings
from tmon.db.connect import (
    RefusedDatabase,
    open_database,
    refuse_no_file,
    set_foreign_log_aside,
    sqlite3,
)
from tmon.db.identity import new_mark
from tmon.db.restored_secret import complete_restore, waiting, waiting_name
from tmon.maintenance import copies, vetting
from tmon.maintenance.shelf import (
    Unfit,
    need_room,
    read_small,
    stamp,
    sync_folder,
    workshop,
    write_secret,
)

WORKSHOP = ".tmon-restore"
LOGS = ("-wal", "-shm", "-journal")  # SQLite would apply a log to whatever has its file's name
# Where any program that has a database in WAL mode open holds a lock (SQLite's os_unix.c).
SHARED_FIRST, SHARED_BYTES = 0x40000002, 510
BYTES_A_ROW = 33  # of a database that is nearly all readings, for the length of a bar
MOST_BESIDE_BYTES = 4096  # a secret has 65, a digest about 100
HEAP_LIMIT_BYTES = 256 << 20  # SQLite's, while it looks: a schema can ask for any amount
# A check reads 24 MB a second here. A file made to take for ever is given up; a Pi's card isn't.
LOOK_S, LOOK_BYTES_A_S = 60.0, 250_000

Progress = Callable[[int], AbstractContextManager[Any]]


class Occupied(TmonError):
    """There is something in the place already, or somebody uses it."""


class Restored(NamedTuple):
    """What was there before, under its new name, and what its owner should know."""

    aside: list[Path]
    owners: list[str]  # tables, indexes and views that aren't tmon's
    warnings: list[str]


def restore(
    file: Path, settings: Settings, *, force: bool, now_ms: int, progress: Progress
) -> Restored:
    """Put the backup ``file`` and its secret in the place of the station's.

    Everything is looked at before anything is touched. What was there is kept under
    another name.

    Raises:
        TmonError: nothing was changed.
    """
    try:
        return _restore(file, settings, force=force, now_ms=now_ms, progress=progress)
    except OSError as error:
        where = error.filename or settings.db
        raise Unfit(f"{where}: {error.strerror}; nothing was restored") from error


def _restore(
    file: Path, settings: Settings, *, force: bool, now_ms: int, progress: Progress
) -> Restored:
    _refuse_file(file, settings.db)
    complete_restore(settings)  # of an earlier run
    secret = _secret_of(file)
    if not force:
        _refuse_overwriting(settings, secret)
    with workshop(settings.db.parent, WORKSHOP) as work:
        with unused(settings.db):
            pass  # before a long look at the file
        need_room(work, file.stat().st_size)
        draft = work / "draft.db"
        with file.open("rb") as whole, draft.open("xb") as copy:  # x: over nothing that is there
            shutil.copyfileobj(whole, copy)
        owners = _look(draft, file, progress)
        resemble(settings.db, draft)
        fold_log(settings.db)
        with unused(settings.db):
            aside = _swap(draft, secret, settings, now_ms)
    return Restored(aside, owners, [*_warnings(file, secret, settings)])


def _refuse_file(file: Path, db: Path) -> None:
    """Only a file that is whole by itself is a backup; and only a file is replaced by it."""
    refuse_no_file(db)
    if not file.is_file():
        raise Unfit(f"{file}: no such file")
    if db.exists() and file.samefile(db):
        raise Unfit(f"{file} is the database itself; name a backup of it")
    for suffix in ("-wal", "-journal"):
        log = file.with_name(f"{file.name}{suffix}")
        if log.exists() and log.stat().st_size:
            raise Unfit(
                f"{file} is not whole: {log.name} belongs to it; `tmon backup` makes one that is"
            )


def _secret_of(file: Path) -> bytes | None:
    beside = file.with_name(f"{file.name}.secret")
    secret = read_small(beside, MOST_BESIDE_BYTES)
    if secret is not None and len(secret.strip()) < LEAST_SECRET_BYTES:
        raise Unfit(
            f"{beside}: holds no secret of {LEAST_SECRET_BYTES} bytes at least; "
            "remove it to restore the database alone"
        )
    return secret


def _refuse_overwriting(settings: Settings, secret: bytes | None) -> None:
    there = [settings.db] if settings.db.exists() else []
    if secret is not None and _replaces(settings.secret_file, secret):
        there.append(settings.secret_file)
    if there:
        names = " and ".join(map(str, there))
        raise Occupied(f"{names}: there already; --force restores, and keeps it under another name")


def _replaces(path: Path, secret: bytes) -> bool:
    """Whether there is another secret than this."""
    return path.exists() and path.read_bytes().strip() != secret.strip()


def _look(draft: Path, file: Path, progress: Progress) -> list[str]:
    """See that it is as it was made, sound, and one that this tmon can go on with.

    Returns:
        The owner's own tables, indexes and views.
    """
    digest = copies.settle(draft)
    told = read_small(file.with_name(f"{file.name}.sha256"), MOST_BESIDE_BYTES)
    if told is not None and told.split()[:1] != [digest.encode()]:
        raise copies.Unsound(f"{file} is not what {file.name}.sha256 says; nothing was restored")
    try:
        with progress(draft.stat().st_size) as bar:
            _check(draft, file, lambda rows: bar.update(rows * BYTES_A_ROW))
        with open_database(draft) as db:
            db.execute(f"pragma user_version = {new_mark()}")
        owners = vetting.vet(draft, file)
    except (copies.Unsound, vetting.Untrusted) as error:
        raise copies.Unsound(f"{file}: {error}; nothing was restored") from error
    except sqlite3.DatabaseError as error:
        why = humanize.printable(str(error))
        raise copies.Unsound(f"{file}: it is damaged: {why}; nothing was restored") from error
    except RefusedDatabase as error:
        raise copies.Unsound(str(error).replace(str(draft), str(file))) from error
    copies.settle(draft)
    return owners


def _check(draft: Path, file: Path, advance: copies.Advance) -> None:
    """Vet and check a draft in bounded time and memory: it is opened for writing only after."""

    def look() -> None:
        vetting.vet(draft, file)
        copies.check(draft, None, advance)

    with closing(sqlite3.connect(":memory:")) as conn:
        conn.execute(f"pragma hard_heap_limit = {HEAP_LIMIT_BYTES}")  # of all connections
    patience_s = LOOK_S + draft.stat().st_size / LOOK_BYTES_A_S
    for _, error in run_with_deadline({draft: look}, patience_s):
        if isinstance(error, TimeoutError):
            raise copies.Unsound(f"looking through it was not over after {patience_s:,.0f} s")
        if isinstance(error, MemoryError):
            raise copies.Unsound("it takes too much memory to look through")
        if error:
            raise error


def resemble(db: Path, draft: Path) -> None:
    """Give the new file the old one's mode, and as root its owner, or its folder's."""
    descriptor = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if db.exists():
            os.fchmod(descriptor, stat.S_IMODE(db.stat().st_mode))
        _give(descriptor, db)
    finally:
        os.close(descriptor)


def _give(descriptor: int, path: Path) -> None:
    """As root, let an open file belong to whom ``path`` belongs, or its folder."""
    if os.geteuid() == 0:
        owner = (path if path.exists() else path.parent).stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def fold_log(db: Path) -> None:
    """Let the old database be whole without its log; a damaged one keeps it beside it."""
    set_foreign_log_aside(db)
    if db.exists():
        with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(str(db))) as conn:
            conn.execute("pragma wal_checkpoint(truncate)")


@contextmanager
def unused(db: Path) -> Iterator[None]:
    """Nobody has the database open, nor can open it meanwhile.

    Raises:
        Occupied: somebody has.
    """
    if not db.exists():
        yield
        return
    with db.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, SHARED_BYTES, SHARED_FIRST)
        except (BlockingIOError, PermissionError):
            raise Occupied(
                f"{db} is in use; stop `tmon serve`, and whatever else has it open, first"
            ) from None
        yield


def _swap(draft: Path, secret: bytes | None, settings: Settings, now_ms: int) -> list[Path]:
    """Until the database is renamed all is as it was; killed after it, the next start goes on.

    The secret is on the disk before, under a name that says which database it is of.
    """
    db, at = settings.db, stamp(now_ms)
    while (
        db.with_name(f"{db.name}.before-{at}").is_symlink()
        or db.with_name(f"{db.name}.before-{at}").exists()
    ):
        now_ms += 1000
        at = stamp(now_ms)
    aside = _keep(db, at)
    prepared = _prepare_secret(draft, secret, settings.secret_file)
    if prepared:
        aside += _keep(settings.secret_file, at)
    for suffix in LOGS:
        log = db.with_name(db.name + suffix)
        if log.exists():
            log.rename(db.with_name(f"{db.name}.before-{at}{suffix}"))
    draft.rename(db)
    sync_folder(db.parent)
    if prepared:
        prepared.rename(settings.secret_file)
        sync_folder(settings.secret_file.parent)
    return aside


def _keep(path: Path, at: str) -> list[Path]:
    """A second name for what is there; the first is about to be another's."""
    if not path.exists():
        return []
    aside = path.with_name(f"{path.name}.before-{at}")
    aside.hardlink_to(path)
    return [aside]


def _prepare_secret(draft: Path, secret: bytes | None, path: Path) -> Path | None:
    """Write the secret of a draft beside its place; None where there is none, or it is there."""
    for left in waiting(path):  # of runs that were killed
        left.unlink()
    if secret is None or (path.exists() and not _replaces(path, secret)):
        return None
    prepared = waiting_name(path, draft)
    write_secret(prepared, secret, partial(_give, path=path))
    sync_folder(path.parent)
    return prepared


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
