"""Where a request carries its token or key: devices differ in where they have room for one."""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping

from tmon.db.keys import is_key

HEADERS = (b"x-thingspeakapikey", b"thingspeakapikey", b"apikey")
FIELDS = (
    *("api_key", "apikey", "key", "token", "p", "PASSWORD", "PASSKEY"),
    *("write_api_key", "auth_token"),
)
PREFIX = "/k/"  # /k/KEY/whatever the device asks for
_TOKEN = re.compile(rb"tmon_[!-~]{40,300}")
_FIELD = re.compile(
    rb"(?:%b)\"?\s*[=:]\s*\"?((?:[0-9a-f]{32}|tmon_[\w.:-]{40,300})(?![\w.:-]))"
    % "|".join(FIELDS).encode()
)
ENDS_BYTES = 4_096  # of a large body, where its key is: before or behind its rows


def split_key(path: str) -> tuple[str, bytes]:
    """A path without ``/k/KEY``, and that key; the path as it is and nothing, if it has none."""
    if not path.startswith(PREFIX):
        return path, b""
    key, slash, rest = path[len(PREFIX) :].partition("/")
    return slash + rest or "/", key.encode()


def in_headers(headers: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Tokens and keys in headers: of vendors, and in every form of ``Authorization``."""
    for name in HEADERS:
        yield from _if_any(headers.get(name, b""))
    scheme, _, rest = headers.get(b"authorization", b"").strip().partition(b" ")
    if scheme.lower() == b"basic":
        try:
            user, _, password = b64decode(rest.strip(), validate=True).partition(b":")
        except binascii.Error:
            return
        yield from _if_any(password)
        yield from _if_any(user)
    else:  # Bearer X, Token X, Token user:X, or X alone
        yield from _if_any(rest.strip() or scheme)
        yield from _if_any(rest.strip().rpartition(b":")[2])


def in_fields(fields: Mapping[str, object]) -> Iterator[bytes]:
    """Tokens and keys among the fields of a query, a form or a JSON object."""
    for name in FIELDS:
        value = fields.get(name)
        if isinstance(value, str):
            yield from _if_any(value.encode(errors="replace"))


def at_ends(body: bytes) -> Iterator[bytes]:
    """The token or key in a body that is too large to be parsed before its sender is known."""
    if found := _FIELD.search(body[:ENDS_BYTES]) or _FIELD.search(body[-ENDS_BYTES:]):
        yield found[1]


def _if_any(text: bytes) -> Iterator[bytes]:
    if is_key(text) or _TOKEN.fullmatch(text):
        yield text
