"""What a request got wrong is a 400 that says so; what is a fault of ours stays a 500.

Datasette takes some parameters for what they should be, and fails where they are not: with a
ValueError, a KeyError, whatever comes first. Such an error is its request's own where none of
our code is among what was called, and the request told anything that could be wrong.
"""

import json
import logging
import re
import traceback
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import suppress
from errno import ENAMETOOLONG
from inspect import iscoroutine
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import datasette.app
from datasette import NotFound, Response, hookimpl
from datasette.utils.asgi import BadRequest
from datasette.views.base import DatasetteError

THEIRS = str(Path(datasette.app.__file__).parent)
OURS = str(Path(__file__).parent)
OF_REQUESTS = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
NO_FORMAT = re.compile(r"Invalid format: (.*)")
LOGGED_CHARACTERS = TOLD_CHARACTERS = 200
# Datasette names pragmas that its own check lets pass; some of them are denied here.
DATASETTES_PRAGMAS = "Allowed pragma functions are"
PRAGMAS_TOLD = (
    "SQL can only read here. Of pragmas there are pragma_table_list(), pragma_table_info(),"
    " pragma_table_xinfo(), pragma_index_list(), pragma_index_info(), pragma_foreign_key_list()"
    " and pragma_schema_version(), each as a function to select from."
)
ANSWER = "tmon.answer"  # in a scope

Scope = dict[str, Any]
App = Callable[..., Awaitable[None]]

log = logging.getLogger("tmon.publish")


@hookimpl(wrapper=True)
def handle_exception(
    datasette: Any, request: Any, exception: Exception
) -> Generator[None, list[Any], list[Any]]:
    """Answer what is the request's own as such; and let one answer be enough.

    Datasette awaits them all, and its own prints a traceback.
    """
    first, *others = yield
    told = _told(request, exception)
    _leave(others if told is None else (first, *others))
    _leave(_facets_left(exception))
    if told is None:
        return [first]
    log.info("%s %.*r: %r", request.method, LOGGED_CHARACTERS, request.full_path, exception)
    answers: list[Any] = datasette.pm.hook.handle_exception(
        datasette=datasette, request=request, exception=told
    )
    return answers


@hookimpl
def asgi_wrapper() -> Callable[[App], App]:
    """Refuse addresses that are none before Datasette decodes them; SQL's errors are 400s.

    Datasette's page for a question shows them, as if that were an answer; query.html knows.
    """

    def checked(app: App) -> App:
        async def wrapped(scope: Scope, receive: Any, send: Any) -> None:
            if scope.get("raw_path", b"").isascii() and scope.get("query_string", b"").isascii():
                return await _with_status(app, scope, receive, send)
            told = "An address is made of ASCII characters; the others are percent-encoded"
            await Response.error(told, 400).asgi_send(send)
            return None

        return wrapped

    return checked


async def _with_status(app: App, scope: Scope, receive: Any, send: Any) -> None:
    """Answer with the status that a template has put into the scope."""
    answer: dict[str, int] = {}

    async def send_with_status(message: Scope) -> None:
        await send({**message, **answer} if message["type"] == "http.response.start" else message)

    await app({**scope, ANSWER: answer}, receive, send_with_status)


def _told(request: Any, exception: Exception) -> Any:
    """The same error as Datasette's own for requests; None where it isn't the request's."""
    if isinstance(exception, DatasetteError):
        if DATASETTES_PRAGMAS in str(exception.message):
            return BadRequest(PRAGMAS_TOLD)
        return BadRequest(exception.message) if exception.status == 500 else None
    if not _is_datasettes(exception):
        return None
    if isinstance(exception, OSError) and exception.errno == ENAMETOOLONG:
        return NotFound("Not here")
    if no_format := NO_FORMAT.fullmatch(str(exception)):
        return NotFound(f"There is no format {no_format[1]}")
    return _of_request(request) if isinstance(exception, OF_REQUESTS) else None


def _of_request(request: Any) -> Any:
    """A sentence that names the parameter; Python's own words would say nothing to its reader."""
    asked = parse_qsl(request.query_string, keep_blank_values=True)
    if not asked:
        return None
    for name, value in asked:
        if name in FORMS and not FORMS[name].accepts(value):
            return BadRequest(f"{name} has to be {FORMS[name].told}")
    names = dict.fromkeys(name for name, _ in asked if name.startswith("_") or "__" in name)
    which = f" ({', '.join(names)})" if names else ""
    return BadRequest(
        f"A parameter of this address is not as it has to be{which:.{TOLD_CHARACTERS}}"
    )


def _is_through(value: str) -> bool:
    with suppress(ValueError, RecursionError):
        through = json.loads(value)
        return isinstance(through, dict) and all(
            isinstance(through.get(name), str) for name in ("table", "column", "value")
        )
    return False


class Form(NamedTuple):
    """How a parameter of Datasette's has to be."""

    accepts: Callable[[str], Any]
    told: str


FORMS = {
    "_through": Form(_is_through, 'a JSON object with the texts "table", "column" and "value"'),
    "_timelimit": Form(re.compile(r"\d{1,9}", re.ASCII).fullmatch, "a number of milliseconds"),
}


def _is_datasettes(exception: Exception) -> bool:
    """Whether it was raised in Datasette, and passed through none of our code."""
    files = [frame.filename for frame in traceback.extract_tb(exception.__traceback__)]
    return any(file.startswith(THEIRS) for file in files) and not any(
        file.startswith(OURS) for file in files
    )


def _facets_left(exception: Exception) -> Iterable[Any]:
    """The facets after one that failed, which Datasette has made and not asked."""
    for frame, _ in traceback.walk_tb(exception.__traceback__):
        if frame.f_code.co_name == "run_sequential":
            yield from frame.f_locals["args"]


def _leave(unasked: Iterable[Any]) -> None:
    """Say of coroutines that nobody will await them; others are functions that nobody calls."""
    for one in unasked:
        if iscoroutine(one):
            one.close()
