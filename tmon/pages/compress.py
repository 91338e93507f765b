"""Text goes over the wire compressed: a page of 1,000 sensors in a tenth of its length.

Each part of an answer as it comes, so that a long CSV is never held whole.
"""

from collections.abc import Callable
from functools import partial

from datasette import hookimpl
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp

LEAST_BYTES = 1024  # below, it all fits one packet anyhow
# The whole database (tmon/pages/download.py) is asked for in parts, and goes on where it broke off.
AS_THEY_ARE = (*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/vnd.sqlite3")
LEVEL = 6  # 9 takes twice as long, for a hundredth less


@hookimpl(trylast=True)  # outermost: the other plugins see answers as they are
def asgi_wrapper() -> Callable[[ASGIApp], ASGIApp]:
    """Answer with gzip who accepts it."""
    return partial(
        GZipMiddleware,
        minimum_size=LEAST_BYTES,
        compresslevel=LEVEL,
        exclude_content_types=AS_THEY_ARE,
    )
