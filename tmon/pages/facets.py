"""Facets cost what they may: each is a statement, and each of its values repeats the address."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

from datasette import hookimpl

from tmon.pages.admission import App, Receive, Scope
from tmon.pages.errors import send_error
from tmon.pages.sending import Send

MOST_FACETS = 10
MOST_VALUES = 100
MOST_ADDRESS_BYTES = 2000


@hookimpl(tryfirst=True)  # innermost, so that its answers carry the security headers too
def asgi_wrapper(datasette: Any) -> Callable[[App], App]:
    """Refuse many facets, and a long address with any; show at most ``MOST_VALUES`` of each."""

    def bounded(app: App) -> App:
        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            query = scope.get("query_string", b"").decode("latin-1")
            asked = parse_qsl(query, keep_blank_values=True)
            facets = [name for name, _ in asked if _is_facet(name)]
            if len(facets) > MOST_FACETS or (facets and len(query) > MOST_ADDRESS_BYTES):
                message = (
                    f"There are at most {MOST_FACETS} facets at once, in an address"
                    f" of at most {MOST_ADDRESS_BYTES:,} characters."
                )
                await send_error(datasette, scope, send, 400, message, title="Too much at once")
                return
            if any(name == "_facet_size" for name, _ in asked):
                query = urlencode([(name, _bounded(name, value)) for name, value in asked])
                scope = {**scope, "query_string": query.encode("latin-1")}
            await app(scope, receive, send)

        return wrapped

    return bounded


def _is_facet(name: str) -> bool:
    return name.startswith("_facet") and name != "_facet_size"


def _bounded(name: str, value: str) -> str:
    if name != "_facet_size" or not (value == "max" or value.isdecimal()):
        return value
    few = value != "max" and len(value) <= 3 and int(value) <= MOST_VALUES
    return value if few else str(MOST_VALUES)
