"""The handlers: identify, parse, store, respond."""

from collections.abc import Awaitable, Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TypedDict

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ingest.errors import ApiError
from ingest.limits import limited_body
from ingest.nodes import now_ms
from ingest.rate import RateLimit
from ingest.reading import Batch, Receipt
from ingest.tokens import Door
from ingest.wire import json as json_wire

NDJSON = {"application/x-ndjson", "application/ndjson", "application/jsonl"}


class Json(Response):
    """JSON by msgspec, which takes a third of the standard library's time."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return msgspec.json.encode(content)


class State(TypedDict):
    """What the handlers share, made at start-up."""

    door: Door
    rate: RateLimit
    store: Callable[[Batch], Awaitable[Receipt]]
    backlog: Callable[[], int]


async def post_readings(request: Request[State]) -> Json:
    """``POST /readings``: store one batch for the node its token names."""
    node = request.state["door"].identify(request.headers)
    body = await limited_body(request)
    received_ms = now_ms()
    batch = json_wire.parse(
        body,
        ndjson=_media_type(request) in NDJSON,
        node=node,
        received_ms=received_ms,
        clock_skew_s=_clock_skew_s(request, received_ms),
    )
    receipt = await _store_in_time(request, batch)
    return Json(receipt.as_json(), status_code=201)


async def _store_in_time(request: Request[State], batch: Batch) -> Receipt:
    rate, readings = request.state["rate"], len(batch.readings) + len(batch.rejected)
    rate.admit(batch.node.uid, readings)
    try:
        return await request.state["store"](batch)
    except ApiError:
        rate.refund(batch.node.uid, readings)
        raise


async def get_healthz(request: Request[State]) -> Json:
    """``GET /healthz``: that ingest answers, and what time it is (Unix ms)."""
    return Json(
        {"status": "ok", "time_ms": now_ms(), "backlog": request.state["backlog"]()},
        headers={"Cache-Control": "no-store"},
    )


def _media_type(request: Request[State]) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _clock_skew_s(request: Request[State], received_ms: int) -> float | None:
    """How far the node's clock is ahead, as far as its ``Date`` header tells (1 s)."""
    try:
        sent = parsedate_to_datetime(request.headers["date"])
        sent = sent if sent.tzinfo else sent.replace(tzinfo=UTC)  # -0000 says: unknown
        return round(sent.timestamp() - received_ms / 1000, 1)
    except (KeyError, ValueError, OverflowError):
        return None
