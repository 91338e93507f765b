"""What would become of a request that somebody pastes at ``/try``. Nothing is stored.

It is parsed by the same code as a real one. What only the database can tell isn't checked: the
sensor's unit, another value at the same time.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from time import monotonic
from urllib.parse import unquote

from msgspec import Struct

from ingest import credentials
from ingest.auth import Authenticator
from ingest.wire import json as json_wire
from ingest.wire.batch_builder import BatchBuilder
from ingest.wire.flat import Flat
from ingest.wire.wire import WireRequest
from ingest.wires import WireRequests, check_claim, in_head
from tmon.core.errors import (
    ApiError,
    InvalidBody,
    Revoked,
    TooFast,
    Unauthorized,
    UnknownMethod,
)
from tmon.core.languages import N_, gettext
from tmon.core.reading import Batch, Gateway, Node, Sender

READINGS = "/readings"
EVERY_S = 0.2  # so strangers take a tenth of a core at most
OWN = N_("tmon's JSON")

# An address as a line of its own, with or without a method before it, or as HTTP has it.
_ADDRESS = re.compile(
    r"(?:(GET|POST|PUT) +)?(?:https?://[^/\s?]+)?([/?]\S*)( HTTP/[0-9.]+)?", re.IGNORECASE
)
_LINE = re.compile(r"[^\s={\[\"&]\S* +[^\s=]+=\S")  # measurement,tag=a field=1


class Verdict(Struct, frozen=True):
    """What became of a request: its readings by device, or why it was refused as a whole.

    ``key`` says whose key is in it, that none is, or why it can't be used.
    """

    wire: str
    key: str | ApiError
    batches: Mapping[str, Batch] = {}
    notes: Iterable[str] = ()
    error: ApiError | None = None


class AnyNode(Node, frozen=True):
    """Stands in for the node of a request without a valid key: every name is its own."""

    def is_called(self, name: str) -> bool:  # noqa: ARG002 - all are
        return True


NOBODY = AnyNode("", "NODE", "NODE")


class Trials:
    """Tries out what anybody pastes, at most five times a second.

    Args:
        wires: parse it.
        authenticator: tells whose key is in it.
        now_ms: the server's clock, Unix milliseconds.
        prefix: the path that a proxy has before ingest's own.
        clock: seconds.
    """

    def __init__(
        self,
        wires: WireRequests,
        authenticator: Authenticator,
        now_ms: Callable[[], int],
        prefix: str = "",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._wires = wires
        self._authenticator = authenticator
        self._now_ms = now_ms
        self._prefix = prefix
        self._clock = clock
        self._next_s = 0.0

    def charge(self) -> None:
        """Count one.

        Raises:
            TooFast: the one before was less than a fifth of a second ago.
        """
        now_s = self._clock()
        if now_s < self._next_s:
            raise TooFast(gettext("others try something too; wait a second, and try again"), 1)
        self._next_s = now_s + EVERY_S

    def verdict(self, text: str) -> Verdict:
        """The verdict on what was pasted."""
        at_ms = self._now_ms()
        return try_out(text, self._wires, self._authenticator, at_ms, self._prefix)


def try_out(
    text: str, wires: WireRequests, authenticator: Authenticator, received_ms: int, prefix: str = ""
) -> Verdict:
    """Parse an address, a body, or an address with a body below it.

    Args:
        text: what was pasted.
        wires: parse it.
        authenticator: tells whose key is in it.
        received_ms: the time of arrival, Unix milliseconds.
        prefix: the path that a proxy has before ingest's own.
    """
    request, found_key = _request(text, prefix)
    sender, key = _sender(authenticator, request, found_key)
    request.wire = wires.wire_of(request.path)
    name = OWN if _is_own(request, found_key) else ""
    notes: list[str] = []
    try:
        if name:
            batches = _parse_own(request, sender, received_ms)
        elif request.wire and request.wire.probe(request):
            batches = {}
            key = gettext("this address is answered without a key, and stores nothing")
        elif request.method not in (request.wire or Flat).methods:
            raise UnknownMethod(f"this address doesn't take {request.method}")
        else:
            builder = BatchBuilder(sender, received_ms)
            wires.parse(request, request.body, builder)
            check_claim(authenticator, builder)
            is_gateway = isinstance(sender, Gateway)
            # What is pasted is too short for more than one part.
            parts = (("", part) for part in builder.parts(NOBODY))
            batches = builder.batches() if is_gateway else dict(parts)
            notes = builder.notes
    except ApiError as error:
        return Verdict(name or (request.wire or Flat).name, key, error=error)
    return Verdict(name or (request.wire or Flat).name, key, batches, notes)


def _request(text: str, prefix: str) -> tuple[WireRequest, bytes]:
    """The request that a text describes, and the key in its path."""
    text = text.replace("\r\n", "\n").strip()
    first, _, rest = text.partition("\n")
    address = _ADDRESS.fullmatch(first.strip())
    if address is None:
        path = "/write" if _LINE.match(text) else "/"
        return WireRequest("POST", path, b"", {}, text.encode(errors="replace")), b""
    if address[3]:  # its headers come first
        _, _, rest = rest.partition("\n\n")
    body = rest.strip().encode(errors="replace")
    method = address[1] or ("POST" if body else "GET")
    path, _, query = address[2].partition("?")
    path = re.sub("//+", "/", unquote(path).removeprefix(prefix)) or "/"
    path, key = credentials.split_key(path)
    return WireRequest(method.upper(), path, query.encode(errors="replace"), {}, body), key


def _sender(
    authenticator: Authenticator, request: WireRequest, found_key: bytes
) -> tuple[Sender, str | ApiError]:
    """Whose key is in a request, or a stand-in; and the same in words, or why it isn't taken."""
    found = [found_key] if found_key else [*in_head(request)]
    if not found:
        with suppress(InvalidBody):
            found = [*credentials.in_fields(request.fields)]
    if not found:
        return NOBODY, gettext("no key or token was found in it; a real request needs one")
    try:
        sender = authenticator.first_valid(found)
    except (Unauthorized, Revoked) as error:
        return NOBODY, error
    is_gateway = isinstance(sender, Gateway)
    text = (
        gettext("it has the key of the gateway {name}")
        if is_gateway
        else gettext("it has the key of {name}")
    )
    return sender, text.format(name=sender.name)


def _is_own(request: WireRequest, found_key: bytes) -> bool:
    """Whether it is in our own JSON: by its address, or by its contents where it has none."""
    if request.wire is not None or request.path != "/" or found_key:
        return request.path == READINGS
    if _is_ndjson(request.body):
        return True
    try:
        document = request.json
    except InvalidBody:
        return False
    if isinstance(document, dict):
        is_list = isinstance(document.get("readings"), list)
        return is_list or ("value" in document and "name" not in document)
    return isinstance(document, list) and not any(
        isinstance(one, dict) and "rawValue" in one for one in document
    )


def _is_ndjson(body: bytes) -> bool:
    lines = body.splitlines()
    return len(lines) > 1 and all(line.strip()[:1] == b"{" for line in lines[:2])


def _parse_own(request: WireRequest, sender: Sender, received_ms: int) -> Mapping[str, Batch]:
    if request.method != "POST":
        raise UnknownMethod("readings go to POST /readings")
    ndjson = _is_ndjson(request.body)
    if isinstance(sender, Gateway):
        return json_wire.parse_of_devices(request.body, ndjson=ndjson, received_ms=received_ms)
    batch = json_wire.parse(
        request.body, ndjson=ndjson, node=sender, received_ms=received_ms, clock_skew_s=None
    )
    return {"": batch}
