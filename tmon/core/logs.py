"""Logging to stderr: one line for each record, as text or JSON, without secrets."""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import UTC, datetime
from io import TextIOBase

HIDDEN = "…"
MOST_CHARACTERS = 8_000  # of a message or a traceback: a long chain of exceptions fits
SQL_CHARACTERS = 200  # anybody may send 64 KB of SQL

# tmon_<name>.<uid>.<generation>.<signature>. Two dots are enough, so that a truncated token is
# hidden, and tmon_old.db isn't. The first parts have a limit: without one, matching
# tmon_tmon_tmon_… takes quadratic time.
_TOKEN = re.compile(r"tmon_[\w-]{0,80}\.[\w-]{0,80}\.[\w.=-]*", re.IGNORECASE)
_HEADER = re.compile(
    r"((?:authorization|api-?key|auth-token)['\"]?\s*[:=,]\s*(?:b?['\"])?)"
    r"(?:(?:bearer|basic|token|digest)[\s+]+)?[^\s'\",;]+",
    re.IGNORECASE,
)
_COOKIE = re.compile(r"(cookie['\"]?\s*[:=,]\s*(?:b?['\"])?)[^'\"\n]+", re.IGNORECASE)
_SCHEME = re.compile(r"\b(bearer|basic)[\s+]+[\w.~+/=-]{8,}", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^\s/@'\"]+@")
_PARAMETER = re.compile(
    r"\b(token|access_token|auth_token|p|password|passwd|passkey|pw|mac|secret|key|api_key|apikey"
    r"|write_api_key)=[^\s&]+",
    re.IGNORECASE,
)
# tmon/db/keys.py; behind /k/ anything, as a key may be mistyped.
_KEY = re.compile(r"(?<![\da-f])[\da-f]{32}(?![\da-f])|(?<=/k/)[^/?&\s]+", re.IGNORECASE)
_SQL = re.compile(rf"\b(sql=[^\s&]{{{SQL_CHARACTERS}}})[^\s&]+", re.IGNORECASE)
_HINT = re.compile(  # for a quick check: one of these is in all of the above
    r"tmon_|/k/|authorization|api-?key|auth-token|cookie|bearer|basic|://|=|%|[\da-f]{32}",
    re.IGNORECASE,
)
_ESCAPED = re.compile(r"%(?:25)*([2-7][\da-f])", re.IGNORECASE)  # %2541: escaped twice
_TRACEBACK = re.compile(r"(\+ Exception Group )?Traceback \(most recent call last\)")
_UNESCAPED = "_.-~%=?&:/@"  # besides letters and digits: the patterns above need them
_ESCAPED_TIMES = 5
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def redacted(text: str) -> str:
    """A text without tokens, passwords and other secrets; long SQL is shortened."""
    if not _HINT.search(text):
        return text
    decoded = text
    for _ in range(_ESCAPED_TIMES):  # percent-encoding, perhaps repeated, could hide a secret
        before, decoded = decoded, _ESCAPED.sub(_unescaped, decoded)
        if decoded == before:
            break
    hidden = _hidden(decoded)
    return _hidden(text) if hidden == decoded else hidden


def _hidden(text: str) -> str:
    text = _HEADER.sub(rf"\1{HIDDEN}", text)
    text = _COOKIE.sub(rf"\1{HIDDEN}", text)
    text = _SCHEME.sub(rf"\1 {HIDDEN}", text)
    text = _TOKEN.sub(f"tmon_{HIDDEN}", text)
    text = _KEY.sub(HIDDEN, text)
    text = _USER_INFO.sub(f"{HIDDEN}@", text)
    text = _PARAMETER.sub(rf"\1={HIDDEN}", text)
    return _SQL.sub(rf"\1{HIDDEN}", text)


def one_line(text: str) -> str:
    """A text with escaped control characters, so that it can't pose as another line."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def set_up(level: str, form: str) -> None:
    """Send the records of all loggers from ``level`` on to one handler.

    Args:
        level: debug, info, warning or error. Libraries' loggers begin at warning even if
            it is info.
        form: text, or json: one object for each line.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.name = "tmon"
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [*(one for one in root.handlers if one.name != handler.name), handler]
    ours = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(ours, logging.WARNING) if ours == logging.INFO else ours)
    logging.getLogger("tmon").setLevel(ours)


class RedactingFormatter(logging.Formatter):
    """Formats a record of any logger without secrets."""

    def message(self, record: logging.LogRecord) -> str:
        return redacted(record.getMessage()[: 2 * MOST_CHARACTERS])[:MOST_CHARACTERS]

    def exception(self, record: logging.LogRecord) -> str:
        """The end of its traceback, or nothing."""
        text = self.formatException(record.exc_info) if record.exc_info else ""
        return redacted(text[-2 * MOST_CHARACTERS :])[-MOST_CHARACTERS:]


class TextFormatter(RedactingFormatter):
    """``name: message``, then an exception's lines, indented."""

    def format(self, record: logging.LogRecord) -> str:
        lines = [f"{record.name}: {one_line(self.message(record))}"]
        lines += [f"  {one_line(line)}" for line in self.exception(record).splitlines()]
        return "\n".join(lines)


class JsonFormatter(RedactingFormatter):
    """One object: time, level, logger, message, then the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.message(record),
        }
        for name, value in getattr(record, "fields", {}).items():
            line[name] = redacted(value) if isinstance(value, str) else value
        if exception := self.exception(record):
            line["exception"] = exception
        return json.dumps(line)


@contextmanager
def stderr_logged() -> Iterator[None]:
    """Log what libraries print to stderr, as Datasette does with an exception."""
    with redirect_stderr(LoggedStderr()):
        yield


class LoggedStderr(TextIOBase):
    """Replaces stderr: logs what is printed; a traceback once, as its exception."""

    def __init__(self) -> None:
        self._log = logging.getLogger("tmon.strays")
        self._logged: BaseException | None = None
        self._is_logging = False

    def write(self, text: str) -> int:
        if self._is_logging:  # logging itself reports an error
            return sys.__stderr__.write(text) if sys.__stderr__ else 0
        self._is_logging = True
        try:
            self._log_text(text.strip(), sys.exc_info()[1])
        finally:
            self._is_logging = False
        return len(text)

    def _log_text(self, text: str, error: BaseException | None) -> None:
        if error is not None and error is self._logged:
            return  # traceback.print_exc() writes line by line
        is_traceback = error is not None and _TRACEBACK.match(text)
        self._logged = error if is_traceback else None
        if is_traceback:
            self._log.error("a library failed", exc_info=error)
        elif text:
            self._log.warning("%s", text)


def _unescaped(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    if character == " ":
        return "+"
    return character if character.isalnum() or character in _UNESCAPED else found[0]
