"""What a process says on stderr: one line a record, as text or JSON, and no secret in it."""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import UTC, datetime
from io import TextIOBase

HIDDEN = "…"
MOST_CHARACTERS = 8_000  # of a message, or of an exception: a long chain of them fits
SQL_CHARACTERS = 200  # anybody may send 64 KB of it

# tmon_<name>.<uid>.<generation>.<signature>; with two dots at least, so that tmon_old.db
# stays what it is, and a token cut short is hidden all the same.
# Its first parts are bounded, or what says tmon_tmon_tmon_… takes time with the square.
_TOKEN = re.compile(r"tmon_[\w-]{0,80}\.[\w-]{0,80}\.[\w.=-]*", re.IGNORECASE)
_HEADER = re.compile(
    r"((?:authorization|api-key|auth-token)['\"]?\s*[:=,]\s*(?:b?['\"])?)"
    r"(?:(?:bearer|basic|token|digest)[\s+]+)?[^\s'\",;]+",
    re.IGNORECASE,
)
_COOKIE = re.compile(r"(cookie['\"]?\s*[:=,]\s*(?:b?['\"])?)[^'\"\n]+", re.IGNORECASE)
_SCHEME = re.compile(r"\b(bearer|basic)[\s+]+[\w.~+/=-]{8,}", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^\s/@'\"]+@")
_PARAMETER = re.compile(
    r"\b(token|access_token|p|password|passwd|pw|secret|key|api_key|apikey)=[^\s&]+", re.IGNORECASE
)
_SQL = re.compile(rf"\b(sql=[^\s&]{{{SQL_CHARACTERS}}})[^\s&]+", re.IGNORECASE)
_HINT = re.compile(  # of all the above
    r"tmon_|authorization|api-key|auth-token|cookie|bearer|basic|://|=|%", re.IGNORECASE
)
_ESCAPED = re.compile(r"%(?:25)*([2-7][\da-f])", re.IGNORECASE)  # also what was escaped again
_TRACEBACK = re.compile(r"(\+ Exception Group )?Traceback \(most recent call last\)")
_UNESCAPED = "_.-~%=?&:/@"  # beside letters and digits: what secrets are recognised by
_ESCAPED_TIMES = 5
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def redacted(text: str) -> str:
    """A text without tokens, passwords and what else opens a door; SQL is public, and cut."""
    if not _HINT.search(text):
        return text
    plain = _without_escapes(text)
    hidden = _hidden(plain)
    return _hidden(text) if hidden == plain else hidden


def _hidden(text: str) -> str:
    text = _HEADER.sub(rf"\1{HIDDEN}", text)
    text = _COOKIE.sub(rf"\1{HIDDEN}", text)
    text = _SCHEME.sub(rf"\1 {HIDDEN}", text)
    text = _TOKEN.sub(f"tmon_{HIDDEN}", text)
    text = _USER_INFO.sub(f"{HIDDEN}@", text)
    text = _PARAMETER.sub(rf"\1={HIDDEN}", text)
    return _SQL.sub(rf"\1{HIDDEN}", text)


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
        return redacted(record.getMessage()[: 2 * MOST_CHARACTERS])[:MOST_CHARACTERS]

    def exception(self, record: logging.LogRecord) -> str:
        """Its way through the code, or nothing; of a long one, the end."""
        text = self.formatException(record.exc_info) if record.exc_info else ""
        return redacted(text[-2 * MOST_CHARACTERS :])[-MOST_CHARACTERS:]


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
    """In place of stderr: a traceback that is printed is logged as its exception, once."""

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
        if error is not None and error is self._told:
            return  # traceback.print_exc() writes each line by itself
        is_traceback = error is not None and _TRACEBACK.match(text)
        self._told = error if is_traceback else None
        if is_traceback:
            self._log.error("a library failed", exc_info=error)
        elif text:
            self._log.warning("%s", text)


def _without_escapes(text: str) -> str:
    """A text in which no percent-encoding hides a secret, however often it was encoded."""
    for _ in range(_ESCAPED_TIMES):
        before, text = text, _ESCAPED.sub(_unescaped, text)
        if text == before:
            break
    return text


def _unescaped(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    if character == " ":
        return "+"
    return character if character.isalnum() or character in _UNESCAPED else found[0]


def _written_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
