"""The pages for people: home, nodes and sensors, and what tells machines of them; CSV; turns.

Datasette loads single files; what these pages are made of is the package beside
this one, whose modules each have hooks of their own.
"""

import sys
from pathlib import Path

from datasette.plugins import pm

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.append(HERE)

from tmon_pages import (  # noqa: E402
    admission,
    dataset,
    download,
    export,
    facets,
    feed,
    home,
    limited,
    methods,
    node,
    selection,
    station,
)

for _module in (
    *(admission, dataset, download, export, facets, feed, home),
    *(limited, methods, node, selection, station),
):
    if not pm.is_registered(_module):
        pm.register(_module)
