"""``GET`` and ``POST /try``: the page on which people paste a request. It works without scripts."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse

from ingest.body import limited_body
from ingest.state import State
from ingest.trial import Verdict
from tmon.core.advice import advice_html
from tmon.core.errors import ApiError, InvalidBody, TooLarge
from tmon.core.logs import redacted
from tmon.core.reading import Batch, Reading
from tmon.core.time import iso
from tmon.core.units import default_unit

TRY_BYTES = 16 * 1024  # of pasted text: parsed within 20 ms
FORM_BYTES = 3 * TRY_BYTES + 100  # percent-encoded
MOST_SHOWN = 100  # readings, and refusals

PAGE = Path(__file__).with_name("try.html").read_text("utf-8")
_STYLE = PAGE.partition("<style>")[2].partition("</style>")[0]
_DIGEST = b64encode(sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_DIGEST}';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


async def get_try(_: Request[State]) -> HTMLResponse:
    """``GET /try``: the empty form."""
    return _page("", [], 200)


async def post_try(request: Request[State]) -> HTMLResponse:
    """``POST /try``: the verdict on the form's ``text``."""
    trials, text = request.state["trials"], ""
    try:
        trials.charge()
        text = await _text(request)
        return _page(text, _result(trials.verdict(text)), 200)
    except ApiError as error:
        response = _page(text, _refusal(str(error)), error.status)
        if error.retry_after_s is not None:
            response.headers["Retry-After"] = str(error.retry_after_s)
        return response


async def _text(request: Request[State]) -> str:
    """What was pasted into the form."""
    headers = dict(request.scope["headers"])
    body = await limited_body(headers, request.receive, FORM_BYTES)
    try:
        fields = parse_qs(body.decode(errors="replace"), max_num_fields=2)
    except ValueError:
        raise InvalidBody("send one field of a form, called text") from None
    text = fields.get("text", [""])[0]
    if not text.strip():
        raise InvalidBody("there is nothing in it: paste what a device sends")
    if len(text.encode(errors="replace")) > TRY_BYTES:
        raise TooLarge(f"over {TRY_BYTES:,} bytes; paste less")
    return text


def _page(text: str, result: Iterable[str], status: int) -> HTMLResponse:
    """The page; the text in its form has no keys and tokens any more, and needs none."""
    shown = escape(redacted(text))
    html = Template(PAGE).substitute(text=shown, result="\n".join(result))
    return HTMLResponse(html, status, headers=HEADERS)


def _result(verdict: Verdict) -> Iterator[str]:
    """A verdict as HTML."""
    if verdict.error is not None:
        yield from _refusal(str(verdict.error), verdict.error.code)
    readings = sum(len(batch.readings) for batch in verdict.batches.values())
    refused = [one for batch in verdict.batches.values() for one in batch.rejected]
    if verdict.error is None:
        count = f"{readings:,} reading{'s' * (readings != 1)}"
        yield f"<h2>{count}{f', {len(refused):,} refused' if refused else ''}</h2>"
    yield f"<p>Read as {escape(verdict.wire)}: {escape(verdict.key)}.</p>"
    yield from (f"<p>Note: {escape(note)}.</p>" for note in verdict.notes)
    if readings:
        yield from _table(verdict.batches)
    for one in refused[:MOST_SHOWN]:
        yield from _refusal(one.error, one.code)
    if readings:
        yield (
            '<p class="soft">Only a real request shows whether the sensor has another unit, or '
            "another value at that time.</p>"
        )


def _refusal(reason: str, code: str = "") -> Iterator[str]:
    yield f'<p><span class="refused">Refused</span>: {escape(reason)}.</p>'
    if code:
        yield f'<p class="soft">{advice_html(code)}</p>'


def _table(batches: Mapping[str, Batch]) -> Iterator[str]:
    """The readings, each with its device if they are of a gateway's."""
    names = ["Sensor", "Value", "Unit", "Time (UTC)"]
    rows = [
        [device, one.sensor, f"{one.value!r}", _unit(one), _time(one)]
        for device, batch in batches.items()
        for one in batch.readings
    ]
    has_devices = any(batches)
    header = ["Device", *names] if has_devices else names
    yield '<div class="scroll" role="region" aria-label="Readings" tabindex="0"><table><thead><tr>'
    yield "".join(f'<th scope="col">{name}</th>' for name in header)
    yield "</tr></thead><tbody>"
    for row in rows[:MOST_SHOWN]:
        shown = row if has_devices else row[1:]
        yield f"<tr>{''.join(f'<td>{escape(redacted(text))}</td>' for text in shown)}</tr>"
    yield "</tbody></table></div>"
    if len(rows) > MOST_SHOWN:
        yield f'<p class="soft">These are the first {MOST_SHOWN}.</p>'


def _unit(reading: Reading) -> str:
    """Its unit, or the one that a new sensor of its name gets."""
    return (default_unit(reading.sensor) if reading.unit is None else reading.unit) or ""


def _time(reading: Reading) -> str:
    return iso(reading.measured_ms) if reading.timed else "of arrival"
