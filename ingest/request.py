"""The head of one HTTP request: parsed, and refused if it can be read in more than one way."""

import urllib.parse
from typing import Any

import httptools

from ingest.limits import PIPELINED

SINGLE_HEADERS = frozenset(
    (b"host", b"authorization", b"content-encoding", b"content-type", b"date")
)
VERSION = b"HTTP/1."  # occurs once in each head
ASGI = {"version": "3.0", "spec_version": "2.3"}


class RequestHead:
    """URL and headers of a request, as they arrive."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.wants_continue = False  # Expect: 100-continue
        self._seen: set[bytes] = set()  # of SINGLE_HEADERS
        self._repeated = b""
        self._codings: list[bytes] = []

    @property
    def size_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def add(self, name: bytes, value: bytes) -> None:
        """Add one header."""
        name = name.lower()
        self.headers.append((name, value))
        if name in SINGLE_HEADERS:
            self._repeated = name if name in self._seen else self._repeated
            self._seen.add(name)
        elif name == b"transfer-encoding":
            self._codings.append(value.strip().lower())
        elif name == b"expect" and value.lower() == b"100-continue":
            self.wants_continue = True

    def without_upgrade(self, method: str, version: str) -> bytes:
        """The head once more, without the wish for another protocol."""
        kept = [b"%s: %s" % one for one in self.headers if one[0] != b"upgrade"]
        line = b"%s %s HTTP/%s" % (method.encode(), self.url, version.encode())
        return b"\r\n".join([line, *kept, b"", b""])

    def error(self, method: str, version: str) -> str:
        """Why this request is invalid or ambiguous; empty if it is neither."""
        try:
            if self.url.startswith(b"/") and b"#" not in self.url:
                path, _, self._query = self.url.partition(b"?")
            else:
                parsed = httptools.parse_url(self.url)
                path, self._query = parsed.path or b"/", parsed.query or b""
            self._path = path.decode("ascii")
        except (ValueError, httptools.HttpParserInvalidURLError):
            return "the address can't be understood"
        if method == "CONNECT":
            return "tmon is no proxy"
        if version not in ("1.0", "1.1"):
            return "only HTTP/1.0 and HTTP/1.1 are spoken here"
        if self._codings and (version == "1.0" or self._codings != [b"chunked"]):
            return "send Transfer-Encoding: chunked, or none; HTTP/1.0 has none"
        if self._repeated or (b"host" not in self._seen and version == "1.1"):
            return f"send one {(self._repeated or b'host').decode().title()} header"
        return ""

    def scope(self, method: str, version: str) -> dict[str, Any]:
        """ASGI's scope, once ``error`` has found none; the connection adds what it knows."""
        path = self._path
        return {
            "type": "http",
            "asgi": ASGI,
            "http_version": version,
            "scheme": "http",
            "root_path": "",
            "method": method,
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": path.encode(),
            "query_string": self._query,
            "headers": self.headers,
        }


def end_of_few_requests(data: bytes) -> int:
    """Where to cut ``data`` so that at most PIPELINED requests begin before the cut."""
    end = 0
    for _ in range(PIPELINED):
        found = data.find(VERSION, end)
        if found < 0:
            return len(data)
        end = found + len(VERSION)
    return end


def address_of(name: object) -> tuple[Any, ...] | None:
    return name[:2] if isinstance(name, tuple) else None
