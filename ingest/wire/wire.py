"""What a wire is: which requests it takes, what readings they hold, and how they are answered."""

import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from starlette.responses import PlainTextResponse, Response

from ingest.wire.batch_builder import BatchBuilder
from tmon.core.errors import ApiError, InvalidBody, TooLarge
from tmon.core.reading import Receipt, Sender, clip
from tmon.db.numbered import Number

_GLUED = re.compile("[?&]")
SHOWN_BYTES = 4096  # more than is ever shown
FIELDS_LIMIT = 1_000  # of a query or a form
NO_STORE = {"Cache-Control": "no-store"}  # a GET that stores must reach us each time


class WireRequest:
    """A request of a device: its path without ``/k/KEY``, its query, and its body."""

    def __init__(
        self,
        method: str,
        path: str,
        query_string: bytes,
        headers: Mapping[bytes, bytes],
        body: bytes = b"",
    ) -> None:
        self.method = method
        # Consoles glue their parameters to the path that was typed in: /data/report/&tempf=38.5,
        # or /data/report/??tempf=38.5 where that ends in a question mark.
        self.path, *glued = _GLUED.split(path, maxsplit=1)
        self.headers = headers
        self.body = body
        self.wire: Wire | None = None
        self.sender: Sender | None = None  # once its key is known to be valid
        self.numbered: dict[Number, int] = {}  # measurements that devices number, and their times
        self.repeated: dict[Number, int] = {}  # those received before, and their first times
        self._query_strings = [query_string.decode(errors="replace").lstrip("?"), *glued]

    @property
    def shown(self) -> str:
        """What people are shown of it: the beginning of its body, or its address."""
        body = self.body[:SHOWN_BYTES].decode(errors="replace")
        return body or "?".join(filter(None, [self.path, *self._query_strings]))

    @cached_property
    def query(self) -> dict[str, str]:
        """The fields of the query."""
        return fields_of("&".join(filter(None, self._query_strings)))

    @cached_property
    def json(self) -> Any:
        """The body as JSON.

        Raises:
            InvalidBody: it isn't JSON.
        """
        try:
            return json.loads(self.body.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise InvalidBody(f"the body is not JSON: {clip(str(error))}") from None

    @cached_property
    def form(self) -> dict[str, str]:
        """The body as a form; empty where it is none."""
        if self.body[:1] in (b"{", b"[") or b"=" not in self.body:
            return {}
        return fields_of(self.body.decode(errors="replace").strip())

    @cached_property
    def fields(self) -> dict[str, Any]:
        """All fields of the query and the body, be it a form or a JSON object."""
        if self.body[:1] != b"{":
            return {**self.query, **self.form}
        document = self.json
        return {**self.query, **document} if isinstance(document, dict) else self.query


class Wire:
    """One way in which devices send. Subclasses say what differs; the defaults suit most.

    ``parse`` raises ApiError where nothing can be made of the request at all.
    """

    name: ClassVar[str] = ""
    methods: ClassVar[frozenset[str]] = frozenset(("POST",))

    def takes_path(self, path: str) -> bool:
        """Whether a path is this wire's own, wherever the key is."""
        return False

    def takes(self, request: WireRequest) -> bool:
        """Whether a request behind ``/k/KEY`` is this wire's, by what is in it."""
        return self.takes_path(request.path)

    def probe(self, request: WireRequest) -> Response | None:
        """The response to a request that needs no key and stores nothing."""
        return None

    def keyless_device(self, request: WireRequest) -> str:
        """The id of the device, on a wire whose devices can't carry a key; else empty."""
        return ""

    def parse(self, request: WireRequest, batch: BatchBuilder) -> None:
        """Add a request's readings to ``batch``."""
        raise NotImplementedError

    def success(
        self,
        request: WireRequest,
        receipt: Receipt,
        notes: list[str],
    ) -> Response:
        """The response once all that can be stored is stored."""
        return PlainTextResponse(summary(receipt, notes), headers=NO_STORE)

    def failure(self, error: ApiError) -> Response:
        """The response where nothing was stored."""
        return PlainTextResponse(f"{error}\n", error.status, headers=NO_STORE)


def fields_of(text: str) -> dict[str, str]:
    """The fields of a query or a form; the last of those with the same name.

    Raises:
        TooLarge: over 1,000 fields.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_LIMIT)
    except ValueError:
        raise TooLarge(f"over {FIELDS_LIMIT:,} fields in one request; send fewer") from None
    return dict(pairs)


def summary(receipt: Receipt, notes: list[str]) -> str:
    """What became of a request's readings, for a person."""
    parts = [f"{receipt.accepted} stored"]
    if receipt.duplicates:
        parts.append(f"{receipt.duplicates} stored before")
    parts += [f"refused: {each.error}" for each in receipt.rejected[:10]]
    return "; ".join([*parts, *notes]) + "\n"
