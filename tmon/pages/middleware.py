"""All middleware around Datasette's application, in one order."""

from collections.abc import Callable
from functools import partial
from typing import Any

from datasette import hookimpl
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from tmon.pages.allowed_methods import AllowedMethods
from tmon.pages.asgi import Middleware
from tmon.pages.bad_requests import BadRequests
from tmon.pages.concurrency import ConcurrencyLimit
from tmon.pages.cors import Cors
from tmon.pages.csv_export import CsvExport
from tmon.pages.facet_limits import FacetLimits
from tmon.pages.languages import Languages
from tmon.pages.paging import PageLimits
from tmon.pages.security_headers import SecurityHeaders

# Innermost first. The pages that make up a CSV pass through what stands before CsvExport.
MIDDLEWARE: tuple[type[Middleware], ...] = (
    ConcurrencyLimit,
    AllowedMethods,
    FacetLimits,
    CsvExport,
    PageLimits,
    SecurityHeaders,
    BadRequests,
    Cors,
    Languages,
)

SMALLEST_GZIP_BYTES = 1024  # less fits in one packet anyway
# Outermost. Each chunk is compressed by itself, so that a long CSV is never held in memory.
gzip = partial(
    GZipMiddleware,
    minimum_size=SMALLEST_GZIP_BYTES,
    compresslevel=6,  # 9 takes twice as long and saves 1 % more
    # The whole database (download.py) is sent in ranges, which compression would break.
    exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/vnd.sqlite3"),
)


@hookimpl
def asgi_wrapper(datasette: Any) -> Callable[[ASGIApp], ASGIApp]:
    """Wrap Datasette's application for HTTP requests; anything else goes straight to it."""

    def wrap(app: ASGIApp) -> ASGIApp:
        http_app: ASGIApp = app
        for middleware in MIDDLEWARE:
            http_app = middleware(http_app, datasette)
        http_app = gzip(http_app)

        async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
            await (http_app if scope["type"] == "http" else app)(scope, receive, send)

        return dispatch

    return wrap
