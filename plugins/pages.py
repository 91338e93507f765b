"""Registers the hooks of tmon.pages with Datasette, which loads this file with --plugins-dir."""

from importlib import import_module

from datasette.plugins import pm

# Of two modules with the same hook, Datasette calls the one further down first.
MODULES = (
    *("concurrency", "bad_requests", "cells", "contents", "schema_org", "download"),
    *("too_costly", "limited_connection", "accessibility_patches", "middleware", "routes"),
    *("paging", "csv_pages", "queries"),
)
for _name in MODULES:
    _module = import_module(f"tmon.pages.{_name}")
    if not pm.is_registered(_module):
        pm.register(_module)
