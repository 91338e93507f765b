"""The handlers: identify, parse, store, respond."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TypedDict

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from ingest.auth import Door
from ingest.body import BodyParser
from ingest.limits import decompress, is_compressed, limited_body
from ingest.metrics import Metrics
from ingest.wire import json as json_wire
from tmon.core.errors import ClockDiffers, Damaged
from tmon.core.reading import SET_FROM_MS, Batch, Node, Receipt
from tmon.db.damage import ANSWER, Damage

STUCK_S = 10.0  # then something is wrong: a commit takes milliseconds
NDJSON = {b"application/x-ndjson", b"application/ndjson", b"application/jsonl"}


class Json(Response):
    """JSON by msgspec, which takes a third of the standard library's time."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return msgspec.json.encode(content)


class State(TypedDict):
    """What the handlers share, made at start-up."""

    door: Door
    now_ms: Callable[[], int]  # the server's clock, Unix milliseconds
    check_room: Callable[[], object]
    parser: BodyParser
    store: Callable[[Batch, Callable[[], bool]], Awaitable[Receipt]]
    backlog: Callable[[], int]
    damage: Damage
    oldest_waiting_s: Callable[[], float]
    metrics: Metrics
    answered: Callable[[int], object]  # each status, by the connections


async def post_readings(request: Request[State]) -> Json:
    """``POST /readings``: store one batch for the node its token names."""
    scope = request.scope
    headers, state = dict(scope["headers"]), scope["state"]
    node = scope["node"] = state["door"].identify(headers)
    if state["damage"].is_known:
        raise Damaged(ANSWER)
    _check_own_clock(state["now_ms"]())
    state["check_room"]()  # before a body is read that there is no room for
    body = await limited_body(headers, request.receive)
    received_ms = state["now_ms"]()
    clock_skew_s = _clock_skew_s(headers, received_ms)
    sender = scope["extensions"]["tmon.sender"]
    known = body, headers, node, received_ms, clock_skew_s
    packed = is_compressed(headers)
    try:
        batch = await state["parser"].parse(len(body), _parse, *known, is_compressed=packed)
    except ClockDiffers:
        # A batch of nothing is not written; the store notes the node's clock, as of each batch.
        await state["store"](Batch(node, received_ms, (), (), clock_skew_s), lambda: sender.closed)
        raise
    receipt = await state["store"](batch, lambda: sender.closed)
    if receipt.rejected:
        return Json(receipt.as_json(), status_code=201)
    return _all_stored(receipt.accepted, receipt.duplicates)


def _parse(
    body: bytes,
    headers: Mapping[bytes, bytes],
    node: Node,
    received_ms: int,
    clock_skew_s: float | None,
) -> Batch:
    return json_wire.parse(
        decompress(body) if body and is_compressed(headers) else body,
        ndjson=_is_ndjson(headers.get(b"content-type", b"")),
        node=node,
        received_ms=received_ms,
        clock_skew_s=clock_skew_s,
    )


@lru_cache(maxsize=1024)
def _all_stored(accepted: int, duplicates: int) -> Json:
    """The usual answer, which is rendered once."""
    return Json(Receipt(accepted, duplicates, ()).as_json(), status_code=201)


async def get_healthz(request: Request[State]) -> Json:
    """``GET /healthz``: that ingest answers and commits, and what time it is (Unix ms).

    Asked with a token it also says whether it could be one of this station's.
    """
    headers, oldest_s = dict(request.scope["headers"]), request.state["oldest_waiting_s"]()
    figures = {
        "time_ms": request.state["now_ms"](),
        "backlog": request.state["backlog"](),
        "oldest_waiting_s": round(oldest_s, 1),
    }
    told: dict[str, object] = {"status": "ok", **figures}
    is_stuck, is_damaged = oldest_s > STUCK_S, request.state["damage"].is_known
    if is_damaged:
        told = {"error": ANSWER, "code": Damaged.code, **figures}
    elif is_stuck:
        error = f"nothing is committed: the oldest reading has waited for {oldest_s:.0f} s"
        told = {"error": error, "code": "stuck", **figures}
    if b"authorization" in headers:
        told["token"] = request.state["door"].recognize(headers)
    status = 503 if is_damaged or is_stuck else 200
    return Json(told, status, headers={"Cache-Control": "no-store"})


async def get_metrics(request: Request[State]) -> Response:
    """``GET /metrics``: counts for Prometheus, in its text format."""
    return Response(request.state["metrics"].render(), media_type=CONTENT_TYPE_LATEST)


def _check_own_clock(now_ms: int) -> None:
    """Whether the server's clock was ever set; a machine without a battery begins in 1970.

    Raises:
        ClockDiffers: it wasn't, so that no reading could get its right time.
    """
    if now_ms < SET_FROM_MS:
        raise ClockDiffers(
            "the server's clock was not set since it was switched on; nothing was stored: "
            "keep the readings until it is"
        )


@lru_cache(maxsize=64)
def _is_ndjson(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() in NDJSON


def _clock_skew_s(headers: Mapping[bytes, bytes], received_ms: int) -> float | None:
    """How far the node's clock is ahead, as far as its ``Date`` header tells (1 s)."""
    told = headers.get(b"date")
    if told is None:
        return None
    try:
        sent = parsedate_to_datetime(told.decode())
        sent = sent if sent.tzinfo else sent.replace(tzinfo=UTC)  # -0000 says: unknown
        return round(sent.timestamp() - received_ms / 1000, 1)
    except (ValueError, OverflowError):
        return None
