"""The copies of the database that `tmon backup --publish` made, for everybody to download.

A copy needs a name as given here, a SHA-256 file beside it, and must be a regular file without
other hard links. Nothing else in the folder can be downloaded, and no part of an address becomes
part of a path.
"""

import os
import re
import stat
from pathlib import Path
from typing import Any, NamedTuple

NEWEST_NAME = "tmon.db"
NAME_PATTERN = r"tmon-public-\d{4}-\d\d-\d\dT\d{6}Z\.db"
_NAME = re.compile(NAME_PATTERN, re.ASCII)
_DIGEST = re.compile(rb"([0-9a-f]{64})  ")
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class PublicCopy(NamedTuple):
    """A copy: its name, length, when it was made, and its SHA-256 in hex."""

    name: str
    size_bytes: int
    made_ms: int
    sha256: str

    @property
    def size(self) -> str:
        """The length as ``163 MB``; a MB has 1000 kB."""
        size, unit = float(self.size_bytes), "B"
        for unit in ("B", "kB", "MB", "GB", "TB"):  # noqa: B007 - used after the loop
            if size < 999.5:
                break
            size /= 1000
        return f"{size:.3g} {unit}"


def copies_dir(datasette: Any) -> Path | None:
    """The folder of the copies. It isn't in Datasette's configuration, which is public."""
    folder: Path | None = getattr(datasette, "tmon_download_dir", None)
    return folder


def newest_copy(folder: Path | None) -> PublicCopy | None:
    """The newest copy that can be read, if there is one."""
    if folder is None:
        return None
    try:
        names = sorted(os.listdir(folder), reverse=True)  # noqa: PTH208 - names alone
    except OSError:  # not made yet
        return None
    for name in names:
        if opened := open_copy(folder, name):
            copy, descriptor = opened
            os.close(descriptor)
            return copy
    return None


def open_copy(folder: Path, name: str) -> tuple[PublicCopy, int] | None:
    """A copy and its file descriptor, which stays readable when the copy is removed."""
    if not _NAME.fullmatch(name):
        return None
    try:
        with os.fdopen(os.open(folder / f"{name}.sha256", _OPEN_FLAGS), "rb") as file:
            digest = _DIGEST.match(file.read(100))
        descriptor = os.open(folder / name, _OPEN_FLAGS)
    except OSError:  # removed meanwhile, a symlink, or not readable
        return None
    status = os.fstat(descriptor)
    # A file with a second name could be anything, such as the secret.
    if digest is None or not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(descriptor)
        return None
    made_ms = status.st_mtime_ns // 1_000_000
    return PublicCopy(name, status.st_size, made_ms, digest[1].decode()), descriptor
