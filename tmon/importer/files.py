"""The input file of an import: opened, its encoding detected, split into lines and rows."""

import csv
import gzip
import io
import os
import re
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import copyfileobj
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from tmon.core.errors import CannotImport
from tmon.core.reading import clip

if TYPE_CHECKING:
    from _csv import Reader

SAMPLE_BYTES = 256 * 1024  # of the head and of the tail each: a thousand rows of most loggers
LINE_LIMIT = 1024 * 1024  # characters; a binary file may have no line ends at all

_BYTE_ORDER_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_NOT_CSV = {
    b"PK\x03\x04": "a spreadsheet (xlsx, ods) or a zip; save it as CSV, or unpack it",
    b"\xd0\xcf\x11\xe0": "an Excel workbook (xls); save it as CSV",
    b"SQLite format 3": "an SQLite database; `sqlite3 -header -csv FILE 'select …'` writes CSV",
    b"%PDF": "a PDF; export CSV from the program that made it",
}
# What a logger writes in cp1252: degree and micro signs, and Western European letters.
_WESTERN = re.compile(r"[\x00-\x7f°µ²³·±€‰\u2013-\u201d…ª«»À-ÖØ-öù-ÿ\xa0]*")


class InputFile:
    """A file that can be read repeatedly, up to the size that it had when it was opened."""

    def __init__(self, name: str, file: BinaryIO, encoding: str | None) -> None:
        self.name = name
        self.size_bytes = os.fstat(file.fileno()).st_size
        self._file = file
        self._reported_bytes = 0
        self.is_gzip = self._bytes_at(0, 2) == b"\x1f\x8b"
        head = self._head()
        self.is_small = len(head) < SAMPLE_BYTES  # the head's sample is the whole file
        self._check_kind(head)
        self.encoding = encoding or self._detect_encoding(head)
        try:
            head.decode(self.encoding, errors="replace")
        except LookupError:
            raise CannotImport(
                f"--encoding {clip(self.encoding)!r} is unknown; it must be like cp1252"
            ) from None
        except UnicodeError as error:
            raise CannotImport(f"--encoding {clip(self.encoding)!r}: {error}") from None

    @property
    def has_grown(self) -> bool:
        """Whether the file is longer than when it was opened."""
        return os.fstat(self._file.fileno()).st_size > self.size_bytes

    def lines(self) -> Iterator[str]:
        """All lines, each with its line end.

        Raises:
            CannotImport: a line is too long, or a compressed file is damaged.
        """
        self._file.seek(0)
        self._reported_bytes = 0
        raw: BinaryIO = io.BufferedReader(_FirstBytes(self._file, self.size_bytes), 128 * 1024)
        plain = gzip.GzipFile(fileobj=raw) if self.is_gzip else raw
        text = io.TextIOWrapper(plain, self.encoding, errors="replace", newline="")
        number = 0
        try:
            while line := text.readline(LINE_LIMIT):
                number += 1
                if len(line) >= LINE_LIMIT and line[-1] not in "\r\n":
                    raise CannotImport(
                        f"line {number:,} of {self.name} has over {LINE_LIMIT:,} characters;"
                        " is it CSV?"
                    )
                if line[-1] not in "\r\n" and self.has_grown:  # half of a line being written
                    return
                yield line
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise CannotImport(f"{self.name} is damaged after line {number:,}: {error}") from None

    def tail(self) -> list[str]:
        """Some whole lines from the file's end; none of a compressed file."""
        if self.is_gzip or self.is_small:
            return []
        start = (self.size_bytes - SAMPLE_BYTES) & ~3  # no character of UTF-16 is cut in two
        encoding = self.encoding
        if encoding == "utf-16":  # its byte order mark is at the file's start
            encoding = "utf-16-le" if self._bytes_at(0, 2) == b"\xff\xfe" else "utf-16-be"
        text = self._bytes_at(start, SAMPLE_BYTES).decode(encoding, errors="replace")
        lines = io.StringIO(text, newline="").readlines()
        return lines[1 : None if lines[-1].endswith(("\r", "\n")) else -1]

    @property
    def may_be_cut(self) -> bool:
        """Whether the last line has no end, and is shorter than those before it: half a value?"""
        start = max(self.size_bytes - SAMPLE_BYTES, 0)
        _, *lines = self._bytes_at(start, self.size_bytes - start).split(b"\n")
        if self.is_gzip or "16" in self.encoding or len(lines) < 4:
            return False
        *others, last = [len(line.strip()) for line in lines]
        return 0 < last < min(filter(None, others), default=0)

    def progress_bytes(self) -> int:
        """How many bytes were read since the last call."""
        before, self._reported_bytes = self._reported_bytes, min(self._file.tell(), self.size_bytes)
        return self._reported_bytes - before

    def _bytes_at(self, start: int, count: int) -> bytes:
        self._file.seek(start)
        return self._file.read(count)

    def _head(self) -> bytes:
        if not self.is_gzip:
            return self._bytes_at(0, SAMPLE_BYTES)
        self._file.seek(0)
        try:
            return gzip.GzipFile(fileobj=self._file).read(SAMPLE_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise CannotImport(f"{self.name} is damaged: {error}") from None

    def _check_kind(self, head: bytes) -> None:
        if not head.strip():
            raise CannotImport(f"{self.name}: the file is empty")
        for magic, what in _NOT_CSV.items():
            if head.startswith(magic):
                raise CannotImport(f"{self.name} is {what}")
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        if start.startswith(b"{") or re.match(rb"\[\s*[{\[\]]", start):
            each = "" if re.match(rb"\{[^\n]*\}\s*(\{|$)", start) else ".[] | "  # lines, or a list
            raise CannotImport(
                f"{self.name} is JSON; `jq -r '{each}[.time, .value] | @csv'` makes CSV of it"
            )
        if start[:1] == b"<":
            raise CannotImport(f"{self.name} is HTML or XML; export CSV instead")

    def _detect_encoding(self, head: bytes) -> str:
        for mark, encoding in _BYTE_ORDER_MARKS.items():
            if head.startswith(mark):
                return encoding
        sample = head + b"\n"
        if not self.is_gzip:
            sample += self._bytes_at(max(self.size_bytes - SAMPLE_BYTES, 0), SAMPLE_BYTES)
        zeros = {"be": head[::2].count(0), "le": head[1::2].count(0)}
        order = max(zeros, key=lambda one: zeros[one])
        if zeros[order] > len(head) // 4 > 2 * min(zeros.values()):  # not a card's empty blocks
            raise CannotImport(
                f"{self.name} looks like UTF-16 without a byte order mark:"
                f" --encoding utf-16-{order}"
            )
        if _is_utf_8(head) and _is_utf_8(sample[len(head) :].lstrip(bytes(range(0x80, 0xC0)))):
            return "utf-8"
        text = sample.decode(errors="replace")
        bad = text.count("\N{REPLACEMENT CHARACTER}")
        good = re.sub(r"[\x00-\x7f\N{REPLACEMENT CHARACTER}]", "", text)
        if len(good) >= bad and (_WESTERN.fullmatch(good) or len(good) > 20 * bad):
            return "utf-8"  # some bytes are damaged
        text = sample.decode("cp1252", errors="replace")
        if not _WESTERN.fullmatch(text) or re.search(r"[^\x00-\x7f]{3}", text):
            raise CannotImport(
                f"{self.name} isn't UTF-8; --encoding says what it is, such as gb18030 or cp850"
            )
        return "cp1252"


def _is_utf_8(sample: bytes) -> bool:
    """Whether a sample is UTF-8; its last character may be cut in two."""
    try:
        sample.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and error.start >= len(sample) - 3
    return True


class _FirstBytes(io.RawIOBase):
    """A stream of a file's first ``size`` bytes."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        got = self._file.read(min(len(buffer), self._left))
        buffer[: len(got)] = got
        self._left -= len(got)
        return len(got)


@contextmanager
def open_file(path: str, encoding: str | None) -> Iterator[InputFile]:
    """Open the file at ``path``, or standard input for ``-``.

    A pipe can be read only once, so it is copied to a temporary file first.

    Raises:
        CannotImport: it can't be read, or isn't text.
    """
    name = "standard input" if path == "-" else path
    with ExitStack() as stack:
        try:
            file = sys.stdin.buffer if path == "-" else stack.enter_context(Path(path).open("rb"))
            if path == "-" or not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                copy = stack.enter_context(tempfile.TemporaryFile())
                copyfileobj(file, copy)
                copy.flush()
                file = copy
            opened = InputFile(name, file, encoding)
        except OSError as error:
            raise CannotImport(f"{name}: {error.strerror or error}") from None
        yield opened


class Row(NamedTuple):
    """A row of cells, with the lines of the file in which it begins and ends."""

    line: int
    end: int
    cells: list[str]


def split(lines: Iterable[str], delimiter: str, start: int = 0) -> Iterator[Row]:
    """Rows of stripped cells; blank and malformed ones are skipped. ``start`` lines come before."""
    reader = csv_reader(lines, delimiter)
    while True:
        line = start + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            continue
        if any(cell.strip() for cell in cells):
            yield Row(line, start + reader.line_num, [cell.strip() for cell in cells])


def csv_reader(lines: Iterable[str], delimiter: str) -> "Reader":
    """A CSV reader; where the delimiter is a blank, several blanks count as one."""
    if delimiter == " ":
        lines = (line.expandtabs().strip() for line in lines)
    return csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
