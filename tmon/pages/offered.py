"""The copies of the database that `tmon backup --publish` has made, for everybody to download.

What has one of its names, is a regular file by no other name too, and has its SHA-256 beside it
is offered; nothing else of the folder is, and no part of an address becomes part of a path.
"""

import os
import re
import stat
from pathlib import Path
from typing import Any, NamedTuple

NEWEST = "tmon.db"
NAME = r"tmon-public-\d{4}-\d\d-\d\dT\d{6}Z\.db"
_NAME = re.compile(NAME, re.ASCII)
_DIGEST = re.compile(rb"([0-9a-f]{64})  ")
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Offered(NamedTuple):
    """A copy: its name, how long it is, when it was made, and its SHA-256 in hex."""

    name: str
    size_bytes: int
    made_ms: int
    sha256: str

    @property
    def size(self) -> str:
        """``163 MB``, of a thousand each, as disks and networks have it."""
        size, unit = float(self.size_bytes), "B"
        for unit in ("B", "kB", "MB", "GB", "TB"):  # noqa: B007 - the last one looked at
            if size < 999.5:
                break
            size /= 1000
        return f"{size:.3g} {unit}"


def folder_of(datasette: Any) -> Path | None:
    """Where the copies are: told beside the configuration, which is shown to everybody."""
    folder: Path | None = getattr(datasette, "tmon_download_dir", None)
    return folder


def newest(folder: Path | None) -> Offered | None:
    """The newest copy, if there is any that can be read."""
    names = [] if folder is None else sorted(_listed(folder), reverse=True)
    found = (look(folder, name) for name in names if folder)
    return next((one for one in found if one), None)


def look(folder: Path, name: str) -> Offered | None:
    """The copy of that name, if there is one."""
    opened = take(folder, name)
    if opened is None:
        return None
    offered, descriptor = opened
    os.close(descriptor)
    return offered


def take(folder: Path, name: str) -> tuple[Offered, int] | None:
    """A copy and an open file: it stays whole for who has it, even when it is removed."""
    if not _NAME.fullmatch(name):
        return None
    try:
        digest = _digest(folder / f"{name}.sha256")
        descriptor = os.open(folder / name, _OPEN)
    except OSError:  # removed since, a link, or not to be read by us: then it isn't offered
        return None
    status = os.fstat(descriptor)
    # A second name may be that of the secret, say.
    if digest is None or not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(descriptor)
        return None
    return Offered(name, status.st_size, status.st_mtime_ns // 1_000_000, digest), descriptor


def _listed(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if _NAME.fullmatch(name)]  # noqa: PTH208
    except OSError:  # not made yet
        return []


def _digest(path: Path) -> str | None:
    with os.fdopen(os.open(path, _OPEN), "rb") as file:
        found = _DIGEST.match(file.read(100))
    return found[1].decode() if found else None
