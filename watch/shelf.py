"""The folder that backups stand in: their names, which of them stay, and one run at a time."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ingest.errors import TmonError

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
        """The present second's, or the next that no copy has."""
        while (self.folder / (name := f"{self.kind}-{stamp(now_ms)}.db")).exists():
            now_ms += 1000
        return name

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
        """Remove the oldest beyond ``most``, never the one just ``made``; what was removed."""
        others = [copy for copy in self.newest_first() if copy != made]
        for copy in others[most - 1 :]:
            for suffix in ("", *BESIDE):
                copy.with_name(copy.name + suffix).unlink(missing_ok=True)
        return others[most - 1 :]

    def clear(self) -> None:
        """Remove what a run that was killed has left: what belongs to no copy."""
        for path in self.folder.iterdir():
            made = _MADE.fullmatch(path.name)
            if made and made[2] and not path.with_name(path.name.removesuffix(made[2])).exists():
                path.unlink()


def stamp(at_ms: int) -> str:
    """``2026-11-25T030000Z``."""
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H%M%SZ}"


def holds_secrets(folder: Path) -> bool:
    """Whether there is a file with a secret, of a backup or of a station."""
    return any(path.name.endswith(".secret") for path in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.exists() else iter(())


def is_public(folder: Path) -> bool:
    """Whether copies for everybody stand there."""
    return bool(Shelf(folder, "tmon-public").newest_first())


@contextmanager
def workshop(folder: Path, name: str = WORKSHOP) -> Iterator[Path]:
    """A folder within ``folder`` for drafts, gone at the end; one run at a time has it.

    What a run that was killed has left in it is removed first.

    Raises:
        Busy: another run has it.
    """
    work = folder / name
    work.mkdir(mode=0o700, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(lock.fileno()), (work / "lock").stat())
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if not ours:
            raise Busy(f"{folder}: another run is at work there; try again when it has ended")
        try:
            _empty(work)
            yield work
        finally:
            shutil.rmtree(work)


def _empty(work: Path) -> None:
    for path in work.iterdir():
        if path.name != "lock":
            path.unlink()


def need_room(folder: Path, size_bytes: int) -> None:
    """Refuse early what wouldn't fit.

    Raises:
        Unfit: the disk has less room.
    """
    free = shutil.disk_usage(folder).free
    if free < size_bytes:
        needed, left = (f"{bytes_ / 1e6:,.1f} MB" for bytes_ in (size_bytes, free))
        raise Unfit(f"{folder}: {needed} are needed, and {left} are free; nothing was written")


def write_secret(path: Path, secret: bytes) -> None:
    """A new file that its owner alone can read, on the disk."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names of a folder's files on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
