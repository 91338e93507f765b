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
from tmon.core.languages import ENGLISH, gettext, language, ngettext, speaking, thousands
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
    "Vary": "Accept-Language",
}


async def get_try(request: Request[State]) -> HTMLResponse:
    """``GET /try``: the empty form."""
    with speaking(_languages(request)):
        return _page("", [], 200)


async def post_try(request: Request[State]) -> HTMLResponse:
    """``POST /try``: the verdict on the form's ``text``."""
    trials, text = request.state["trials"], ""
    with speaking(_languages(request)):
        try:
            trials.charge()
            text = await _text(request)
            return _page(text, _result(trials.verdict(text)), 200)
        except ApiError as error:
            response = _page(text, _refusal(escape(str(error))), error.status)
            if error.retry_after_s is not None:
                response.headers["Retry-After"] = str(error.retry_after_s)
            return response


def _languages(request: Request[State]) -> str:
    """The languages that the browser asks for."""
    return ", ".join(request.headers.getlist("accept-language"))


async def _text(request: Request[State]) -> str:
    """What was pasted into the form."""
    headers = dict(request.scope["headers"])
    too_large = gettext("over {bytes} bytes; paste less").format(bytes=thousands(TRY_BYTES))
    try:
        body = await limited_body(headers, request.receive, FORM_BYTES)
        fields = parse_qs(body.decode(errors="replace"), max_num_fields=2)
    except TooLarge:
        raise TooLarge(too_large) from None
    except ValueError:
        raise InvalidBody(gettext("send one field of a form, called text")) from None
    text = fields.get("text", [""])[0]
    if not text.strip():
        raise InvalidBody(gettext("there is nothing in it: paste what a device sends"))
    if len(text.encode(errors="replace")) > TRY_BYTES:
        raise TooLarge(too_large)
    return text


def _page(text: str, result: Iterable[str], status: int) -> HTMLResponse:
    """The page; the text in its form has no keys and tokens any more, and needs none."""
    words = {
        "language": language.get(),
        "title": gettext("Try a request"),
        "what_it_does": gettext(
            "Paste what a device sends, and see which readings it holds, or why it is refused. "
            "Nothing is stored."
        ),
        "label": gettext("An address, a body, or an address with the body below it:"),
        "button": gettext("Try it"),
        "examples": gettext("For example"),
        "text": redacted(text),
    }
    shown = {name: escape(word) for name, word in words.items()}
    html = Template(PAGE).substitute(shown, result="\n".join(result))
    return HTMLResponse(html, status, headers=HEADERS)


def _result(verdict: Verdict) -> Iterator[str]:
    """A verdict as HTML."""
    if verdict.error is not None:
        yield from _refusal(_as_answered(verdict.error), verdict.error.code)
    readings = sum(len(batch.readings) for batch in verdict.batches.values())
    refused = [one for batch in verdict.batches.values() for one in batch.rejected]
    if verdict.error is None:
        counts = [ngettext("{n} reading", "{n} readings", readings).format(n=thousands(readings))]
        if refused:
            counts.append(gettext("{n} refused").format(n=thousands(len(refused))))
        yield f"<h2>{', '.join(counts)}</h2>"
    key = escape(verdict.key) if isinstance(verdict.key, str) else _as_answered(verdict.key)
    read_as = escape(gettext("Read as {wire}: {key}."))
    yield f"<p>{read_as.format(wire=escape(gettext(verdict.wire)), key=key)}</p>"
    for note in verdict.notes:
        yield f"<p>{escape(gettext('Note: {note}.')).format(note=_as_answered(note))}</p>"
    if readings:
        yield from _table(verdict.batches)
    for one in refused[:MOST_SHOWN]:
        yield from _refusal(_as_answered(one.error), one.code)
    if readings:
        more = gettext(
            "Only a real request shows whether the sensor has another unit, or another value at "
            "that time."
        )
        yield f'<p class="soft">{escape(more)}</p>'


def _as_answered(text: object) -> str:
    """What the device would be answered: in English, in a page of whichever language."""
    lang = "" if language.get() == ENGLISH else ' lang="en"'
    return f"<span{lang}>{escape(str(text))}</span>"


def _refusal(reason: str, code: str = "") -> Iterator[str]:
    """A reason, as HTML, and what to do about it."""
    yield f'<p><span class="refused">{escape(gettext("Refused"))}</span>: {reason}.</p>'
    if code:
        yield f'<p class="soft">{advice_html(code)}</p>'


def _table(batches: Mapping[str, Batch]) -> Iterator[str]:
    """The readings, each with its device if they are of a gateway's."""
    names = [gettext("Sensor"), gettext("Value"), gettext("Unit"), gettext("Time (UTC)")]
    rows = [
        [device, one.sensor, f"{one.value!r}", _unit(one), _time(one)]
        for device, batch in batches.items()
        for one in batch.readings
    ]
    has_devices = any(batches)
    header = [gettext("Device"), *names] if has_devices else names
    label = escape(gettext("Readings"))
    yield f'<div class="scroll" role="region" aria-label="{label}" tabindex="0"><table><thead><tr>'
    yield "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    yield "</tr></thead><tbody>"
    for row in rows[:MOST_SHOWN]:
        shown = row if has_devices else row[1:]
        yield f"<tr>{''.join(f'<td>{escape(redacted(text))}</td>' for text in shown)}</tr>"
    yield "</tbody></table></div>"
    if len(rows) > MOST_SHOWN:
        first = gettext("These are the first {n}.").format(n=MOST_SHOWN)
        yield f'<p class="soft">{escape(first)}</p>'


def _unit(reading: Reading) -> str:
    """Its unit, or the one that a new sensor of its name gets."""
    return (default_unit(reading.sensor) if reading.unit is None else reading.unit) or ""


def _time(reading: Reading) -> str:
    return iso(reading.measured_ms) if reading.timed else gettext("of arrival")
