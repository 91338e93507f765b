"""The schema: one migration a file, applied in the order of their numbers.

The tables and views are the contract between tmon's processes, and the API for people who
write SQL: a name means the same here and on every page. A migration's function is as long as
its SQL, which is one text.
"""

from importlib import import_module
from pkgutil import iter_modules

from tmon.db.migrations.registry import migrations as migrations

for _name in sorted(module.name for module in iter_modules(__path__)):
    import_module(f"{__name__}.{_name}")
