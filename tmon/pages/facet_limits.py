"""Limits for Datasette's facets: each runs a statement, and each value repeats the address."""

from urllib.parse import parse_qsl, urlencode

from starlette.types import Receive, Scope, Send

from tmon.core.languages import gettext, thousands
from tmon.pages.asgi import Middleware

MAX_FACETS = 10
MAX_VALUES = 100
MAX_QUERY_CHARACTERS = 2000


class FacetLimits(Middleware):
    """Rejects many facets, or facets in a long address, and lowers a large ``_facet_size``."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = scope.get("query_string", b"").decode("latin-1")
        parameters = parse_qsl(query, keep_blank_values=True)
        names = [name for name, _ in parameters]
        facets = [name for name in names if name.startswith("_facet") and name != "_facet_size"]
        if len(facets) > MAX_FACETS or (facets and len(query) > MAX_QUERY_CHARACTERS):
            message = gettext(
                "There are at most {facets} facets at once, in an address"
                " of at most {characters} characters."
            ).format(facets=MAX_FACETS, characters=thousands(MAX_QUERY_CHARACTERS))
            title = gettext("Too much at once")
            return await self.send_error(scope, send, 400, message, title=title)
        if "_facet_size" in names:
            query = urlencode([(name, _lowered(name, value)) for name, value in parameters])
            scope = {**scope, "query_string": query.encode("latin-1")}
        return await self.app(scope, receive, send)


def _lowered(name: str, value: str) -> str:
    """A parameter's value, at most ``MAX_VALUES`` for ``_facet_size``."""
    if name != "_facet_size" or not (value == "max" or value.isdecimal()):
        return value
    small = value != "max" and len(value) <= 3 and int(value) <= MAX_VALUES
    return value if small else str(MAX_VALUES)
