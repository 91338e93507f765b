"""Registers the hooks of tmon.pages. Datasette loads this file because of --plugins-dir."""

from importlib import import_module

from datasette.plugins import pm

# If several modules have the same hook, Datasette calls the last one first.
MODULES = (
    *("concurrency", "bad_requests", "cells", "headings", "contents", "schema_org", "download"),
    *("too_costly", "limited_connection", "accessibility_patches", "middleware", "routes"),
    *("paging", "csv_pages", "queries", "sql_functions", "languages", "table_words"),
)
for _name in MODULES:
    _module = import_module(f"tmon.pages.{_name}")
    if not pm.is_registered(_module):
        pm.register(_module)
