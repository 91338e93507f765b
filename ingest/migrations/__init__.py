"""The tables, triggers and views, as numbered migrations.

They are the contract between tmon's processes, and the API for whoever
writes SQL: what a name means here, it means on every page.
"""

# isort: off
# Imported in the order in which they are applied: that of their numbers.
from ingest.migrations import readings as readings
from ingest.migrations import watching as watching
from ingest.migrations import telling as telling
from ingest.migrations import clean as clean
from ingest.migrations import implausible as implausible
from ingest.migrations import imports as imports
from ingest.migrations import hours as hours
from ingest.migrations import import_times as import_times
from ingest.migrations.registry import migrations as migrations
