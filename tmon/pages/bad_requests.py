"""Errors that a request caused are answered with 400; errors of ours stay 500.

Datasette converts some parameters without a check and fails with whatever Python raises. Such an
error counts as the request's own when no code of ours was called and the request had parameters.
"""

import json
import logging
import re
import traceback
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from errno import ENAMETOOLONG
from inspect import iscoroutine
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import datasette.app
from datasette import NotFound, Response, hookimpl
from datasette.utils.asgi import BadRequest
from datasette.views.base import DatasetteError
from starlette.types import Message, Receive, Scope, Send

from tmon.core.languages import N_, gettext
from tmon.pages.asgi import Middleware

DATASETTE_FOLDER = str(Path(datasette.app.__file__).parent)
OUR_FOLDER = str(Path(__file__).parent)
CONVERSION_ERRORS = (
    *(ValueError, LookupError, TypeError, AttributeError),
    *(OverflowError, RecursionError),
)
INVALID_FORMAT = re.compile(r"Invalid format: (.*)")
MAX_LOGGED_CHARACTERS = MAX_SHOWN_CHARACTERS = 200
# Datasette's message lists pragmas that its own check allows; some of them are denied here.
DATASETTE_PRAGMA_MESSAGE = "Allowed pragma functions are"
PRAGMA_MESSAGE = N_(
    "SQL can only read here. The pragmas are pragma_table_list(), pragma_table_info(),"
    " pragma_table_xinfo(), pragma_index_list(), pragma_index_info(), pragma_foreign_key_list()"
    " and pragma_schema_version(), each as a function to select from."
)
STATUS_KEY = "tmon.answer"  # in a scope: a dict in which a template may set a status

log = logging.getLogger("tmon.publish")


@hookimpl(wrapper=True)
def handle_exception(
    datasette: Any, request: Any, exception: Exception
) -> Generator[None, list[Any], list[Any]]:
    """Replace an error that the request caused, and leave one handler to answer.

    Datasette would await all handlers, and its own prints a traceback.
    """
    first, *others = yield
    replacement = _replacement(request, exception)
    _close_coroutines(others if replacement is None else (first, *others))
    _close_coroutines(_unawaited_facets(exception))
    if replacement is None:
        return [first]
    log.info("%s %.*r: %r", request.method, MAX_LOGGED_CHARACTERS, request.full_path, exception)
    answers: list[Any] = datasette.pm.hook.handle_exception(
        datasette=datasette, request=request, exception=replacement
    )
    return answers


class BadRequests(Middleware):
    """Refuses addresses that Datasette can't decode, and sets 400 where query.html asks for it.

    Datasette's SQL page shows SQL errors with status 200.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not (scope.get("raw_path", b"").isascii() and scope.get("query_string", b"").isascii()):
            message = "An address is made of ASCII characters; percent-encode all others"
            await Response.error(message, 400).asgi_send(send)
            return
        status: dict[str, int] = {}

        async def send_with_status(message: Message) -> None:
            is_start = message["type"] == "http.response.start"
            await send({**message, **status} if is_start else message)

        await self.app({**scope, STATUS_KEY: status}, receive, send_with_status)


def _replacement(request: Any, exception: Exception) -> Any:
    """The error to answer with; None where the request didn't cause it."""
    if isinstance(exception, DatasetteError):
        if DATASETTE_PRAGMA_MESSAGE in str(exception.message):
            return BadRequest(gettext(PRAGMA_MESSAGE))
        return BadRequest(exception.message) if exception.status == 500 else None
    files = [frame.filename for frame in traceback.extract_tb(exception.__traceback__)]
    in_datasette = any(file.startswith(DATASETTE_FOLDER) for file in files)
    if not in_datasette or any(file.startswith(OUR_FOLDER) for file in files):
        return None
    if isinstance(exception, OSError) and exception.errno == ENAMETOOLONG:
        return NotFound(gettext("Not here"))
    if invalid := INVALID_FORMAT.fullmatch(str(exception)):
        return NotFound(gettext("There is no format {name}").format(name=invalid[1]))
    return _bad_parameter(request) if isinstance(exception, CONVERSION_ERRORS) else None


def _bad_parameter(request: Any) -> Any:
    """A message that names the parameter: Python's own would mean nothing to the visitor."""
    parameters = parse_qsl(request.query_string, keep_blank_values=True)
    if not parameters:
        return None
    for name, value in parameters:
        is_valid, expected = EXPECTED.get(name, (None, ""))
        if is_valid and not is_valid(value):
            message = gettext("{name} has to be {expected}")
            return BadRequest(message.format(name=name, expected=gettext(expected)))
    names = dict.fromkeys(name for name, _ in parameters if name.startswith("_") or "__" in name)
    which = f" ({', '.join(names)})" if names else ""
    message = gettext("A parameter of this address is not valid")
    return BadRequest(message + which[:MAX_SHOWN_CHARACTERS])


def _is_through(value: str) -> bool:
    with suppress(ValueError, RecursionError):
        through = json.loads(value)
        return isinstance(through, dict) and all(
            isinstance(through.get(name), str) for name in ("table", "column", "value")
        )
    return False


EXPECTED: dict[str, tuple[Callable[[str], Any], str]] = {
    "_through": (_is_through, N_('a JSON object with the texts "table", "column" and "value"')),
    "_timelimit": (re.compile(r"\d{1,9}", re.ASCII).fullmatch, N_("a number of milliseconds")),
}


def _unawaited_facets(exception: Exception) -> Iterable[Any]:
    """Coroutines that Datasette made for the facets after one that failed."""
    for frame, _ in traceback.walk_tb(exception.__traceback__):
        if frame.f_code.co_name == "run_sequential":
            yield from frame.f_locals["args"]


def _close_coroutines(unawaited: Iterable[Any]) -> None:
    """Close coroutines, or Python warns that nobody awaited them; the rest are functions."""
    for one in unawaited:
        if iscoroutine(one):
            one.close()
