"""A folder of backups: their names, how many are kept, and a staging folder for the next one."""

import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tmon.core.errors import TmonError

STAGING_NAME = ".tmon-backup"  # within the folder: drafts, until they are complete
COMPANIONS = (
    ".secret",
    ".devices",
    ".sha256",
)  # created before the backup itself, and removed after it
_NAME = re.compile(
    r"(tmon|tmon-public)-\d{4}-\d\d-\d\dT\d{6}Z\.db(\.secret|\.devices|\.sha256)?", re.ASCII
)


class InUse(TmonError):
    """Another run is using the folder, a program the database; or its name is taken."""


class UnusableFile(TmonError):
    """A file or folder is missing, or can't or must not be used for this."""


@contextmanager
def os_errors_explained(where: Path, outcome: str) -> Iterator[None]:
    """Raise an OSError as UnusableFile: its file, or else ``where``, and the ``outcome``."""
    try:
        yield
    except OSError as error:
        raise UnusableFile(f"{error.filename or where}: {error.strerror}; {outcome}") from error


class BackupDir(NamedTuple):
    """A folder of backups with their secrets, or of public copies; and how many are kept."""

    folder: Path
    is_public: bool
    keep: int

    @property
    def kind(self) -> str:
        """What the names of the backups begin with."""
        return "tmon-public" if self.is_public else "tmon"

    def refuse_other_kind(self, download_dir: Path | None) -> None:
        """Keep secrets out of public folders, and public copies out of folders with secrets.

        Raises:
            UnusableFile: the folder is of the other kind.
        """
        folder = self.folder.resolve()
        if self.is_public:
            if any(path.name.endswith(".secret") and _is_own(path) for path in _files(folder)):
                raise UnusableFile(f"{folder} holds secrets; publish to a folder of its own")
        elif (download_dir and folder.is_relative_to(download_dir.resolve())) or any(
            map(_is_own, _newest_first(folder, "tmon-public"))
        ):
            raise UnusableFile(
                f"{folder} is for everybody; a backup with its secret needs another folder"
            )

    def add(self, draft: Path, digest: str, secret: bytes | None, now_ms: int) -> Path:
        """Write the draft's companions, and rename all: the draft last, so it is complete.

        The name is of the present second, or of the next one that no file there has.
        """
        taken = {path.name for path in _files(self.folder)}
        while True:
            name = f"{self.kind}-{datetime.fromtimestamp(now_ms // 1000, UTC):%Y-%m-%dT%H%M%SZ}.db"
            if not {f"{name}{suffix}" for suffix in ("", *COMPANIONS)} & taken:
                break
            now_ms += 1000
        digest_file = draft.with_name("draft.db.sha256")
        with digest_file.open("w", encoding="ascii") as file:
            file.write(f"{digest}  {name}\n")
            file.flush()
            os.fsync(file.fileno())
        if self.is_public:  # for Datasette's user too, whatever the umask
            draft.chmod(0o644)
            digest_file.chmod(0o644)
        if secret is not None:
            secret_file = draft.with_name("draft.db.secret")
            write_secret_file(secret_file, secret)
            secret_file.rename(self.folder / f"{name}.secret")
        devices_file = draft.with_name("draft.db.devices")
        if devices_file.exists():
            devices_file.rename(self.folder / f"{name}.devices")
        digest_file.rename(self.folder / f"{name}.sha256")
        fsync_dir(self.folder)
        added = draft.rename(self.folder / name)
        fsync_dir(self.folder)
        return added

    def remove_oldest(self, added: Path) -> None:
        """Remove the oldest backups beyond ``keep``, never the one that was just ``added``.

        Only regular files of the same owner count: files that others put there under such names
        must not push a backup out.
        """
        owner = _owner(added)
        backups = _newest_first(self.folder, self.kind)
        others = [path for path in backups if path != added and _owner(path) == owner]
        for backup in others[self.keep - 1 :]:
            for suffix in ("", *COMPANIONS):
                part = backup.with_name(f"{backup.name}{suffix}")
                if _owner(part) == owner:
                    part.unlink()

    def remove_leftovers(self) -> None:
        """Remove what a killed run has left: companions without a backup."""
        for path in _files(self.folder):
            is_companion = path.suffix in COMPANIONS and _NAME.fullmatch(path.name)
            if is_companion and not path.with_suffix("").exists() and _owner(path) == os.geteuid():
                path.unlink()

    def files_of_others(self) -> list[Path]:
        """Files of other users under the names of backups: they are left alone and don't count."""
        return sorted(
            path
            for path in _files(self.folder)
            if (_NAME.fullmatch(path.name) or path.suffix == ".secret") and not _is_own(path)
        )


def _files(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.exists() else iter(())


def _newest_first(folder: Path, kind: str) -> list[Path]:
    """A folder's complete backups of one kind; their names are their times."""
    matches = (_NAME.fullmatch(path.name) for path in _files(folder))
    names = [match[0] for match in matches if match and match[1] == kind and not match[2]]
    return [folder / name for name in sorted(names, reverse=True)]


def _is_own(path: Path) -> bool:
    """Whether it is a regular file of this user, of root or of the folder's owner."""
    return _owner(path) in {os.geteuid(), 0, path.parent.stat().st_uid}


def _owner(path: Path) -> int | None:
    """The user whom a regular file belongs to; None for a link, a folder or nothing at all."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_uid if stat.S_ISREG(status.st_mode) else None


@contextmanager
def staging_dir(folder: Path, name: str = STAGING_NAME) -> Iterator[Path]:
    """A folder for drafts within ``folder``, locked for one run and removed at its end.

    What a killed run has left in it is removed first. Others may be able to write in ``folder``:
    no link is followed, and nothing of other users is opened or removed.

    Raises:
        InUse: another run has it.
        UnusableFile: something else has its name.
    """
    with ExitStack() as stack:
        parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, parent)
        try:
            staging = _open_own_folder(parent, folder / name)
            stack.callback(os.close, staging)
            fcntl.flock(staging, fcntl.LOCK_EX | fcntl.LOCK_NB)
            at_path = os.stat(name, dir_fd=parent, follow_symlinks=False)
            is_locked = os.path.samestat(os.fstat(staging), at_path)
        except (BlockingIOError, FileNotFoundError):  # another run has it, or has just removed it
            is_locked = False
        if not is_locked:
            raise InUse(f"{folder}: another run is at work there; try again when it has ended")
        stack.callback(shutil.rmtree, name, dir_fd=parent)
        with os.scandir(staging) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.name, dir_fd=staging)
                else:
                    os.unlink(entry.name, dir_fd=staging)
        yield folder / name


def _open_own_folder(parent: int, path: Path) -> int:
    """Create and open the folder; one that exists must be this user's."""
    in_the_way = UnusableFile(
        f"{path} is in the way: not a folder that this user has made; "
        "see what it is, and move it away"
    )
    created = True
    try:
        os.mkdir(path.name, 0o700, dir_fd=parent)
    except FileExistsError:
        created = False
    try:
        opened = os.open(path.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        raise
    except OSError:  # a link, a file, a pipe, or a folder that is closed to us
        raise in_the_way from None
    # Some network disks show all files as one user's: what was just created is ours.
    if not created and os.fstat(opened).st_uid != os.geteuid():
        os.close(opened)
        raise in_the_way
    return opened


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


def write_secret_file(path: Path, secret: bytes, owner_of: Path | None = None) -> None:
    """Write a new file that only its owner can read, and flush it; see ``chown_like``."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        if owner_of:
            chown_like(file.fileno(), owner_of)
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())


def chown_like(descriptor: int, path: Path) -> None:
    """As root, give an open file to the owner of ``path``, or of its folder."""
    if os.geteuid() == 0:
        owner = (path if path.exists() else path.parent).stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


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
