"""Registers the hooks of tmon.pages with Datasette, which loads this file with --plugins-dir."""

from datasette.plugins import pm

from tmon.pages import (
    accessibility_patches,
    bad_requests,
    cells,
    concurrency,
    contents,
    csv_pages,
    download,
    limited_connection,
    middleware,
    paging,
    queries,
    routes,
    schema_org,
    too_costly,
)

# Of two modules with the same hook, Datasette calls the one further down first.
for _module in (
    concurrency,
    bad_requests,
    cells,
    contents,
    schema_org,
    download,
    too_costly,
    limited_connection,
    accessibility_patches,
    middleware,
    routes,
    paging,
    csv_pages,
    queries,
):
    if not pm.is_registered(_module):
        pm.register(_module)
