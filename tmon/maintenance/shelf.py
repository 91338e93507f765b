"""The folder that backups stand in: their names, which of them stay, and one run at a time."""

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

WORKSHOP = ".tmon-backup"  # within the folder: what isn't whole yet
BESIDE = (".secret", ".sha256")  # there before the file itself is, and gone after it
_MADE = re.compile(r"(tmon|tmon-public)-\d{4}-\d\d-\d\dT\d{6}Z\.db(\.secret|\.sha256)?", re.ASCII)


class Busy(TmonError):
    """Another run is at it."""


class Unfit(TmonError):
    """A folder that such a copy must not, or can't, be put into."""


class Shelf(NamedTuple):
    """A folder's copies of one kind, ``tmon`` or ``tmon-public``."""

    folder: Path
    kind: str

    def newest_first(self) -> list[Path]:
        """The copies that are whole; their names are their times."""
        made = (_MADE.fullmatch(path.name) for path in _files(self.folder))
        names = [one[0] for one in made if one and one[1] == self.kind and not one[2]]
        return [self.folder / name for name in sorted(names, reverse=True)]

    def free_name(self, now_ms: int) -> str:
        """The present second's, or the next that nothing there has, whatever it is."""
        taken = {path.name for path in _files(self.folder)}
        while {f"{self.kind}-{stamp(now_ms)}.db{suffix}" for suffix in ("", *BESIDE)} & taken:
            now_ms += 1000
        return f"{self.kind}-{stamp(now_ms)}.db"

    def put(self, work: Path, name: str) -> Path:
        """Give what lies in ``work`` its name: the file is there last, when all else is."""
        for suffix in BESIDE:
            draft = work / f"draft.db{suffix}"
            if draft.exists():
                draft.rename(self.folder / f"{name}{suffix}")
        sync_folder(self.folder)
        made = (work / "draft.db").rename(self.folder / name)
        sync_folder(self.folder)
        return made

    def keep(self, most: int, made: Path) -> list[Path]:
        """Remove the oldest beyond ``most``, never the one just ``made``; what was removed.

        Only regular files of the same owner count, so that nothing that somebody else has put
        there under such a name pushes a copy out.
        """
        owner = made.stat().st_uid
        others = [one for one in self.newest_first() if one != made and _is_file(one, owner)]
        for copy in others[most - 1 :]:
            for suffix in ("", *BESIDE):
                part = copy.with_name(copy.name + suffix)
                if _is_file(part, owner):
                    part.unlink()
        return others[most - 1 :]

    def clear(self) -> None:
        """Remove what a run that was killed has left: files that belong to no copy."""
        for path in _files(self.folder):
            made = _MADE.fullmatch(path.name)
            whole = made and path.with_name(path.name.removesuffix(made[2] or ""))
            if whole and not whole.exists() and _is_file(path, os.geteuid()):
                path.unlink()


def stamp(at_ms: int) -> str:
    """``2026-11-25T030000Z``."""
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H%M%SZ}"


def holds_secrets(folder: Path) -> bool:
    """Whether there is a file with a secret, of a backup or of a station."""
    return any(path.name.endswith(".secret") and is_own(path) for path in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.exists() else iter(())


def is_public(folder: Path) -> bool:
    """Whether copies for everybody stand there."""
    return any(is_own(copy) for copy in Shelf(folder, "tmon-public").newest_first())


def strangers(folder: Path) -> list[Path]:
    """What others have put there under a name of ours: it is left, and counts for nothing."""
    named = (one for one in _files(folder) if _MADE.fullmatch(one.name) or one.suffix == ".secret")
    return sorted(path for path in named if not is_own(path))


def is_own(path: Path) -> bool:
    """Whether it is a regular file of this user's, of root's or of the folder's owner."""
    return any(_is_file(path, owner) for owner in {os.geteuid(), 0, path.parent.stat().st_uid})


@contextmanager
def workshop(folder: Path, name: str = WORKSHOP) -> Iterator[Path]:
    """A folder within ``folder`` for drafts, gone at the end; one run at a time has it.

    What a run that was killed has left in it is removed first. Others may be able to write in
    ``folder``: no link is followed, and nothing that is somebody else's is opened or removed.

    Raises:
        Busy: another run has it.
        Unfit: something else has its name.
    """
    with ExitStack() as ended:
        parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        ended.callback(os.close, parent)
        work = _open_own_folder(parent, folder / name)
        ended.callback(os.close, work)
        ended.callback(os.close, _lock(work, folder))
        ended.callback(shutil.rmtree, name, dir_fd=parent)
        _empty(work)
        yield folder / name


def _open_own_folder(parent: int, path: Path) -> int:
    """Make and open the folder; one that is there must be this user's."""
    made = True
    try:
        os.mkdir(path.name, 0o700, dir_fd=parent)
    except FileExistsError:
        made = False
    try:
        work = os.open(path.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        raise _busy(path.parent) from None  # another run has just ended
    except OSError:  # a link, a file, a pipe, or a folder that is closed to us
        raise _in_the_way(path) from None
    # Some network disks show all files as one user's: what was made just now is ours.
    if not made and os.fstat(work).st_uid != os.geteuid():
        os.close(work)
        raise _in_the_way(path)
    return work


def _lock(work: int, folder: Path) -> int:
    """The lock of a folder that is our own, so that nobody else has put anything in its place."""
    try:
        lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=work)
    except FileNotFoundError:  # the folder was removed since
        raise _busy(folder) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = os.stat("lock", dir_fd=work, follow_symlinks=False)
        ours = os.path.samestat(os.fstat(lock), there)
    except (BlockingIOError, FileNotFoundError):
        ours = False
    if not ours:
        os.close(lock)
        raise _busy(folder)
    return lock


def _busy(folder: Path) -> Busy:
    return Busy(f"{folder}: another run is at work there; try again when it has ended")


def _in_the_way(path: Path) -> Unfit:
    return Unfit(
        f"{path} is in the way: not a folder that this user has made; "
        "see what it is, and move it away"
    )


def _empty(work: int) -> None:
    with os.scandir(work) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.name, dir_fd=work)
            elif entry.name != "lock":
                os.unlink(entry.name, dir_fd=work)


def _is_file(path: Path, owner: int) -> bool:
    """Whether it is a regular file, no link to one, and that user's."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == owner


def need_room(folder: Path, size_bytes: int) -> None:
    """Refuse early what wouldn't fit.

    Raises:
        Unfit: the disk has less room.
    """
    free = shutil.disk_usage(folder).free
    if free < size_bytes:
        needed, left = (f"{bytes_ / 1e6:,.1f} MB" for bytes_ in (size_bytes, free))
        raise Unfit(f"{folder}: {needed} are needed, and {left} are free; nothing was written")


def write_secret(
    path: Path, secret: bytes, give: Callable[[int], None] = lambda _descriptor: None
) -> None:
    """A new file that its owner alone can read, on the disk; ``give`` may change whose it is."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        give(file.fileno())
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())


def read_small(path: Path, most_bytes: int) -> bytes | None:
    """All of a small regular file; None where there is nothing of that name.

    Raises:
        Unfit: it is a link, a pipe or the like, or larger.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unfit(f"{path}: {error.strerror}; a file is expected, and no link") from error
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise Unfit(f"{path}: a file is expected, and no link")
        content = os.read(opened, most_bytes + 1)
    finally:
        os.close(opened)
    if len(content) > most_bytes:
        raise Unfit(f"{path}: larger than {most_bytes:,} bytes")
    return content


def sync_folder(folder: Path) -> None:
    """Have the names of a folder's files on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
