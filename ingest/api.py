"""The handlers: authenticate, parse, store, respond."""

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from ingest.body import beginning, is_compressed, limited_body
from ingest.readiness import check_ready
from ingest.refused import keep_refused
from ingest.state import State
from ingest.wire import json as json_wire
from tmon.core.errors import ApiError, ClockDiffers, Damaged, Unavailable
from tmon.core.reading import Batch, Gateway, Node, Receipt
from tmon.db.damage import DAMAGED_MESSAGE

STUCK_S = 10.0  # a commit takes milliseconds; this long means that something is wrong
NDJSON = {b"application/x-ndjson", b"application/ndjson", b"application/jsonl"}


class Json(Response):
    """JSON by msgspec, which takes a third of the standard library's time."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return msgspec.json.encode(content)


async def post_readings(request: Request[State]) -> Json:
    """``POST /readings``: store one batch for the node its token names."""
    scope = request.scope
    headers, state = dict(scope["headers"]), scope["state"]
    node = state["authenticator"].authenticate(headers, scope["query_string"])
    check_ready(state)  # before the body is read
    body = b""
    try:
        body = await limited_body(headers, request.receive)
        if isinstance(node, Gateway):
            return await _store_of_devices(scope, node, headers, body)
        return await _store_of_node(scope, node, headers, body)
    except ApiError as error:
        await keep_refused(scope, node, error, beginning(headers, body))
        raise


async def _store_of_node(
    scope: Scope, node: Node, headers: Mapping[bytes, bytes], body: bytes
) -> Json:
    """Store a node's readings."""
    state, received_ms = scope["state"], scope["state"]["now_ms"]()
    scope["node"] = node
    clock_skew_s = _clock_skew_s(headers, received_ms)
    sender = scope["extensions"]["tmon.sender"]
    parse = partial(
        json_wire.parse,
        ndjson=_is_ndjson(headers.get(b"content-type", b"")),
        node=node,
        received_ms=received_ms,
        clock_skew_s=clock_skew_s,
    )
    try:
        batch = await state["parser"].parse(body, parse, packed=is_compressed(headers))
    except ClockDiffers:
        # An empty batch writes no reading, but the store notes the node's clock.
        await state["store"](Batch(node, received_ms, (), (), clock_skew_s), lambda: sender.closed)
        raise
    receipt = await state["store"](batch, lambda: sender.closed)
    if receipt.rejected:
        return Json(receipt.as_json(), status_code=201)
    return _all_stored(receipt.accepted, receipt.duplicates)


async def _store_of_devices(
    scope: Scope, gateway: Gateway, headers: Mapping[bytes, bytes], body: bytes
) -> Json:
    """Store what a gateway sends, each device's readings as its node's."""
    state, sender = scope["state"], scope["extensions"]["tmon.sender"]
    parse = partial(
        json_wire.parse_of_devices,
        ndjson=_is_ndjson(headers.get(b"content-type", b"")),
        received_ms=state["now_ms"](),
    )
    batches = await state["parser"].parse(body, parse, packed=is_compressed(headers))
    receipt = await state["devices"].store(
        gateway, batches, lambda batch: state["store"](batch, lambda: sender.closed)
    )
    return Json(receipt.as_json(), status_code=201)


@lru_cache(maxsize=64)
def _is_ndjson(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() in NDJSON


@lru_cache(maxsize=1024)
def _all_stored(accepted: int, duplicates: int) -> Json:
    """The usual response, rendered once."""
    return Json(Receipt(accepted, duplicates, ()).as_json(), status_code=201)


async def get_healthz(request: Request[State]) -> Json:
    """``GET /healthz``: whether ingest commits, and the server's time (Unix ms).

    With a token, the answer also says whether that token could be one of this station's.
    """
    headers, state = dict(request.scope["headers"]), request.state
    oldest_s = state["writer"].oldest_waiting_s
    answer: dict[str, object] = {"status": "ok"}
    if state["damage"].is_known:
        answer = {"error": DAMAGED_MESSAGE, "code": Damaged.code}
    elif oldest_s > STUCK_S:
        error = f"nothing is committed: the oldest reading has waited for {oldest_s:.0f} s"
        answer = {"error": error, "code": "stuck"}
    else:
        try:
            await state["writer"].check_health()
        except Unavailable as unavailable:
            answer = {"error": str(unavailable), "code": unavailable.code}
    if b"authorization" in headers:
        answer["token"] = state["authenticator"].token_status(headers)
    return health(answer, state["now_ms"](), state["writer"].backlog, oldest_s)


def health(
    answer: Mapping[str, object], now_ms: int, backlog: int = 0, oldest_waiting_s: float = 0.0
) -> Json:
    """What ``/healthz`` says, an error or not, with the figures that all of its answers have."""
    figures = {
        "time_ms": now_ms,
        "backlog": backlog,
        "oldest_waiting_s": round(oldest_waiting_s, 1),
    }
    status = 503 if "error" in answer else 200
    return Json({**answer, **figures}, status, headers={"Cache-Control": "no-store"})


async def get_metrics(request: Request[State]) -> Response:
    """``GET /metrics``: counts for Prometheus, in its text format."""
    return Response(request.state["metrics"].render(), media_type=CONTENT_TYPE_LATEST)


def _clock_skew_s(headers: Mapping[bytes, bytes], received_ms: int) -> float | None:
    """How far the node's clock is ahead by its ``Date`` header, which has whole seconds."""
    date = headers.get(b"date")
    if date is None:
        return None
    try:
        sent = parsedate_to_datetime(date.decode())
        sent = sent if sent.tzinfo else sent.replace(tzinfo=UTC)  # -0000: the zone is unknown
        return round(sent.timestamp() - received_ms / 1000, 1)
    except (ValueError, OverflowError):
        return None
