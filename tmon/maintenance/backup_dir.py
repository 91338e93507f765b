"""A folder of backups: their names, how many are kept, and a staging folder for the next one."""

import fcntl
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tmon.core.errors import TmonError

STAGING_NAME = ".tmon-backup"  # within the folder: drafts, until they are complete
COMPANIONS = (".secret", ".sha256")  # created before the backup itself, and removed after it
_NAME = re.compile(r"(tmon|tmon-public)-\d{4}-\d\d-\d\dT\d{6}Z\.db(\.secret|\.sha256)?", re.ASCII)


class Busy(TmonError):
    """Another run is using the folder."""


class UnusableFile(TmonError):
    """A file or folder that can't be used for this, or must not be."""


@contextmanager
def os_errors_explained(where: Path, outcome: str) -> Iterator[None]:
    """Raise an OSError as UnusableFile: its file, or else ``where``, and the ``outcome``."""
    try:
        yield
    except OSError as error:
        raise UnusableFile(f"{error.filename or where}: {error.strerror}; {outcome}") from error


class BackupDir(NamedTuple):
    """A folder's backups of one kind, ``tmon`` or ``tmon-public``."""

    folder: Path
    kind: str

    def newest_first(self) -> list[Path]:
        """The complete backups; their names are their times."""
        matches = (_NAME.fullmatch(path.name) for path in _files(self.folder))
        names = [match[0] for match in matches if match and match[1] == self.kind and not match[2]]
        return [self.folder / name for name in sorted(names, reverse=True)]

    def free_name(self, now_ms: int) -> str:
        """A name of the present second, or of the next one that no file there has."""
        taken = {path.name for path in _files(self.folder)}
        while True:
            name = f"{self.kind}-{timestamp(now_ms)}.db"
            if not {f"{name}{suffix}" for suffix in ("", *COMPANIONS)} & taken:
                return name
            now_ms += 1000

    def add(self, staging: Path, name: str) -> Path:
        """Rename the files in ``staging`` to ``name``: first the companions, then the backup."""
        for suffix in COMPANIONS:
            draft = staging / f"draft.db{suffix}"
            if draft.exists():
                draft.rename(self.folder / f"{name}{suffix}")
        fsync_dir(self.folder)
        added = (staging / "draft.db").rename(self.folder / name)
        fsync_dir(self.folder)
        return added

    def remove_oldest(self, keep: int, added: Path) -> None:
        """Remove the oldest backups beyond ``keep``, never the one that was just ``added``.

        Only regular files of the same owner count: files that others put there under such names
        must not push a backup out.
        """
        owner = added.stat().st_uid
        others = [one for one in self.newest_first() if one != added and _is_file(one, owner)]
        for backup in others[keep - 1 :]:
            for suffix in ("", *COMPANIONS):
                part = backup.with_name(backup.name + suffix)
                if _is_file(part, owner):
                    part.unlink()

    def remove_leftovers(self) -> None:
        """Remove what a killed run has left: companions without a backup."""
        for path in _files(self.folder):
            match = _NAME.fullmatch(path.name)
            backup = match and path.with_name(path.name.removesuffix(match[2] or ""))
            if backup and not backup.exists() and _is_file(path, os.geteuid()):
                path.unlink()


def timestamp(at_ms: int) -> str:
    """``2026-11-25T030000Z``."""
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H%M%SZ}"


def holds_secrets(folder: Path) -> bool:
    """Whether a backup's or a station's secret is in a folder."""
    return any(path.name.endswith(".secret") and is_own(path) for path in _files(folder))


def is_public(folder: Path) -> bool:
    """Whether public copies are in a folder."""
    return any(is_own(copy) for copy in BackupDir(folder, "tmon-public").newest_first())


def files_of_others(folder: Path) -> list[Path]:
    """Files of other users under the names of backups: they are left alone and don't count."""
    named = (one for one in _files(folder) if _NAME.fullmatch(one.name) or one.suffix == ".secret")
    return sorted(path for path in named if not is_own(path))


def is_own(path: Path) -> bool:
    """Whether it is a regular file of this user, of root or of the folder's owner."""
    return any(_is_file(path, owner) for owner in {os.geteuid(), 0, path.parent.stat().st_uid})


def _files(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.exists() else iter(())


def _is_file(path: Path, owner: int) -> bool:
    """Whether it is a regular file, no link, and of that user."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == owner


@contextmanager
def staging_dir(folder: Path, name: str = STAGING_NAME) -> Iterator[Path]:
    """A folder for drafts within ``folder``, locked for one run and removed at its end.

    What a killed run has left in it is removed first. Others may be able to write in ``folder``:
    no link is followed, and nothing of other users is opened or removed.

    Raises:
        Busy: another run has it.
        UnusableFile: something else has its name.
    """
    with ExitStack() as stack:
        parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, parent)
        staging = _open_own_folder(parent, folder / name)
        stack.callback(os.close, staging)
        stack.callback(os.close, _lock(staging, folder))
        stack.callback(shutil.rmtree, name, dir_fd=parent)
        with os.scandir(staging) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.name, dir_fd=staging)
                elif entry.name != "lock":
                    os.unlink(entry.name, dir_fd=staging)
        yield folder / name


def _open_own_folder(parent: int, path: Path) -> int:
    """Create and open the folder; one that exists must be this user's."""
    created = True
    try:
        os.mkdir(path.name, 0o700, dir_fd=parent)
    except FileExistsError:
        created = False
    try:
        staging = os.open(path.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        raise _busy(path.parent) from None  # another run has just ended
    except OSError:  # a link, a file, a pipe, or a folder that is closed to us
        raise _in_the_way(path) from None
    # Some network disks show all files as one user's: what was just created is ours.
    if not created and os.fstat(staging).st_uid != os.geteuid():
        os.close(staging)
        raise _in_the_way(path)
    return staging


def _lock(staging: int, folder: Path) -> int:
    """Lock a file in the staging folder, which is this user's, so nobody else can replace it."""
    try:
        lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=staging)
    except FileNotFoundError:  # the folder was removed since
        raise _busy(folder) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        current = os.stat("lock", dir_fd=staging, follow_symlinks=False)
        ours = os.path.samestat(os.fstat(lock), current)
    except (BlockingIOError, FileNotFoundError):
        ours = False
    if not ours:
        os.close(lock)
        raise _busy(folder)
    return lock


def _busy(folder: Path) -> Busy:
    return Busy(f"{folder}: another run is at work there; try again when it has ended")


def _in_the_way(path: Path) -> UnusableFile:
    return UnusableFile(
        f"{path} is in the way: not a folder that this user has made; "
        "see what it is, and move it away"
    )


def require_free_space(folder: Path, size_bytes: int) -> None:
    """Refuse at once what wouldn't fit.

    Raises:
        UnusableFile: the disk has less free space.
    """
    free = shutil.disk_usage(folder).free
    if free < size_bytes:
        needed, left = (f"{bytes_ / 1e6:,.1f} MB" for bytes_ in (size_bytes, free))
        raise UnusableFile(
            f"{folder}: {needed} are needed, and {left} are free; nothing was written"
        )


def write_secret_file(
    path: Path, secret: bytes, chown: Callable[[int], None] = lambda _descriptor: None
) -> None:
    """Write a new file that only its owner can read, and flush it; ``chown`` may set the owner."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        chown(file.fileno())
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())


def read_small_file(path: Path, most_bytes: int) -> bytes | None:
    """The content of a small regular file; None where there is nothing of that name.

    Raises:
        UnusableFile: it is a link, a pipe or the like, or larger.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnusableFile(f"{path}: {error.strerror}; a file is expected, and no link") from error
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise UnusableFile(f"{path}: a file is expected, and no link")
        content = os.read(opened, most_bytes + 1)
    finally:
        os.close(opened)
    if len(content) > most_bytes:
        raise UnusableFile(f"{path}: larger than {most_bytes:,} bytes")
    return content


def fsync_dir(folder: Path) -> None:
    """Flush a folder's entries: renames in it are on the disk then."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
