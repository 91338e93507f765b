"""What a process says on stderr: one line a record, as text or JSON, and no secret in it."""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import UTC, datetime
from io import TextIOBase
from urllib.parse import unquote_plus

HIDDEN = "…"
MOST_CHARACTERS = 8_000  # of a message, or of an exception: a long chain of them fits
SQL_CHARACTERS = 200  # anybody may send 64 KB of it
SECRET_PARAMETERS = frozenset(
    ("token", "access_token", "p", "password", "passwd", "pw", "secret", "key", "api_key", "apikey")
)

# tmon_<name>.<uid>.<generation>.<signature>, also as it stands in an address; with two dots at
# least, so that tmon_pages.home stays what it is, and a token cut short is hidden all the same.
_TOKEN = re.compile(r"tmon(?:_|%5f)[\w.%=-]*", re.IGNORECASE)
_DOT = re.compile(r"\.|%2e", re.IGNORECASE)
_HEADER = re.compile(
    r"(authorization['\"]?\s*[:=,]\s*(?:b?['\"])?)(?:(?:bearer|basic|token|digest)\s+)?[^\s'\",;]+",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^\s/@'\"]+@")
_PARAMETER = re.compile(r"(?<![\w%])([\w%]{1,40})=([^\s&]+)")
_HINTS = ("tmon_", "tmon%", "authorization", "bearer", "basic", "://", "=")  # of all the above
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def redacted(text: str) -> str:
    """A text without tokens, passwords and what else opens a door; SQL is public, and cut."""
    lower = text.lower()
    if not any(hint in lower for hint in _HINTS):
        return text
    text = _HEADER.sub(rf"\1{HIDDEN}", text)
    text = _SCHEME.sub(rf"\1 {HIDDEN}", text)
    text = _TOKEN.sub(_without_token, text)
    text = _USER_INFO.sub(f"{HIDDEN}@", text)
    return _PARAMETER.sub(_without_value, text)


def one_line(text: str) -> str:
    """A text whose control characters are written out, so that it can't pose as another line."""
    return _CONTROL.sub(_written_out, text)


def set_up(level: str, form: str) -> None:
    """Let all loggers of this process speak through one handler, from ``level`` on.

    Args:
        level: debug, info, warning or error. Other people's loggers begin at
            warning all the same, unless it is debug.
        form: text, or json: one object a line.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.name = "tmon"
    handler.setFormatter(JsonLine() if form == "json" else TextLine())
    root = logging.getLogger()
    others = [one for one in root.handlers if one.name != handler.name]
    root.handlers = [*others, handler]
    ours = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(ours, logging.WARNING) if ours == logging.INFO else ours)
    logging.getLogger("tmon").setLevel(ours)


class Line(logging.Formatter):
    """Puts a record in words, without the secrets; whatever logger it comes from."""

    def message(self, record: logging.LogRecord) -> str:
        return redacted(record.getMessage())[:MOST_CHARACTERS]

    def exception(self, record: logging.LogRecord) -> str:
        """Its way through the code, or nothing; of a long one, the end."""
        text = self.formatException(record.exc_info) if record.exc_info else ""
        return redacted(text)[-MOST_CHARACTERS:]


class TextLine(Line):
    """``name: message``, and set in beneath it an exception's lines."""

    def format(self, record: logging.LogRecord) -> str:
        lines = [f"{record.name}: {one_line(self.message(record))}"]
        lines += [f"  {one_line(line)}" for line in self.exception(record).splitlines()]
        return "\n".join(lines)


class JsonLine(Line):
    """One object: time, level, logger, message, then what fields the record has."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.message(record),
        }
        for name, value in getattr(record, "fields", {}).items():
            told[name] = redacted(value) if isinstance(value, str) else value
        if exception := self.exception(record):
            told["exception"] = exception
        return json.dumps(told)


@contextmanager
def strays_logged() -> Iterator[None]:
    """Log what libraries write to stderr by themselves, as Datasette does with an exception."""
    with redirect_stderr(Strays()):
        yield


class Strays(TextIOBase):
    """In place of stderr: what is written while an exception is handled is that exception, once."""

    def __init__(self) -> None:
        self._log = logging.getLogger("tmon.strays")
        self._told: BaseException | None = None
        self._speaking = False

    def write(self, text: str) -> int:
        if self._speaking:  # logging itself is in trouble, and says so
            return sys.__stderr__.write(text) if sys.__stderr__ else 0
        self._speaking = True
        try:
            self._say(text.strip(), sys.exc_info()[1])
        finally:
            self._speaking = False
        return len(text)

    def _say(self, text: str, error: BaseException | None) -> None:
        if error is None and text:
            self._log.warning("%s", text)
        elif error is not None and error is not self._told:
            self._log.error("a library failed", exc_info=error)
        self._told = error


def _without_token(found: re.Match[str]) -> str:
    return f"tmon_{HIDDEN}" if len(_DOT.findall(found[0])) > 1 else found[0]


def _without_value(found: re.Match[str]) -> str:
    name, value = found.groups()
    plain = unquote_plus(name).lower()
    if plain in SECRET_PARAMETERS:
        return f"{name}={HIDDEN}"
    if plain == "sql" and len(value) > SQL_CHARACTERS:
        return f"{name}={value[:SQL_CHARACTERS]}{HIDDEN}"
    return found[0]


def _written_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
