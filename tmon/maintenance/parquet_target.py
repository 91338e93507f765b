"""Where Parquet files are kept: a folder, or object storage. A file appears there whole."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time

import pyarrow.parquet as pq
from pyarrow import fs

from tmon.core.errors import TmonError

COPIED_BYTES = 8 * 1024 * 1024
UNFINISHED, UNFINISHED_S = ".tmon-", 86_400.0


class TargetError(TmonError):
    """The target can't be read or written, or belongs to another station."""


class Target:
    """A folder of files ``readings/day=2026-11-26/readings.parquet``."""

    def __init__(self, place: str, environ: Mapping[str, str] = os.environ) -> None:
        """Open a folder's path, or ``s3://bucket/prefix``.

        Raises:
            TargetError: no such bucket, or it can't be reached.
        """
        self.name = place.rstrip("/")
        scheme, _, rest = self.name.rpartition("://")
        if scheme not in ("", "s3") or not rest.strip("/"):
            raise TargetError(f"{place!r} must be a folder, or like s3://bucket/prefix")
        self._is_folder = not scheme
        if self._is_folder:
            self._files: fs.FileSystem = fs.LocalFileSystem()
            self._root = str(Path(rest).absolute())
        else:
            self._files, self._root = _s3(environ), rest
            bucket = rest.partition("/")[0]
            with _named(self.name):
                if self._files.get_file_info(bucket).type == fs.FileType.NotFound:
                    raise TargetError(f"{self.name}: there is no bucket {bucket}; make it first")

    def days(self) -> set[str]:
        """The days that have a file."""
        selector = fs.FileSelector(f"{self._root}/readings", recursive=True, allow_not_found=True)
        with _named(self.name):
            found = self._files.get_file_info(selector)
        folders = [
            Path(one.path).parent.name for one in found if one.base_name == "readings.parquet"
        ]
        return {name.removeprefix("day=") for name in folders if name.startswith("day=")}

    def metadata(self, day: str) -> dict[str, str]:
        """What a file says of itself.

        Raises:
            TargetError: it is no Parquet file.
        """
        path = self._path(day)
        with _named(path), self._files.open_input_file(path) as file:
            found = pq.read_schema(file).metadata or {}
        return {name.decode(): value.decode() for name, value in found.items()}

    @contextmanager
    def replacing(self, day: str) -> Iterator[Path]:
        """A path to write a day's new file to; when that is complete, it replaces the old one."""
        path = self._path(day)
        beside = Path(path).parent if self._is_folder else None
        if beside:
            beside.mkdir(parents=True, exist_ok=True)
            _remove_old(beside)
        with TemporaryDirectory(prefix=UNFINISHED, dir=beside) as folder:
            new = Path(folder, "readings.new")
            yield new
            if self._is_folder:
                _sync(new)
                new.replace(path)
                _sync(Path(path).parent)
                return
            # Complete here before it is sent: a stream that is closed after half of it is stored.
            with (
                _named(path),
                new.open("rb") as made,
                self._files.open_output_stream(path) as sent,
            ):
                shutil.copyfileobj(made, sent, COPIED_BYTES)

    def delete(self, day: str) -> None:
        with _named(self._path(day)):
            self._files.delete_file(self._path(day))

    def _path(self, day: str) -> str:
        return f"{self._root}/readings/day={day}/readings.parquet"


def _s3(environ: Mapping[str, str]) -> fs.FileSystem:
    """S3 by the usual AWS_* variables; pyarrow itself reads those for credentials."""
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or None
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or None
    if endpoint is None:
        return fs.S3FileSystem(region=region)
    return fs.S3FileSystem(region=region or "us-east-1", endpoint_override=endpoint)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Turn an error of pyarrow's into one sentence that names the file.

    Raises:
        TargetError: in its place.
    """
    try:
        yield
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        reason = " ".join(str(error).split())
        raise TargetError(f"{path}: {reason}") from error


def _remove_old(folder: Path) -> None:
    """Remove what a run that was killed has left; a newer one may be another run's."""
    for left in folder.glob(f"{UNFINISHED}*"):
        if time() - left.stat().st_mtime > UNFINISHED_S:
            shutil.rmtree(left, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
