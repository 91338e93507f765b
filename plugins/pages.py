"""Makes tmon's pages known to Datasette; what they are made of is the package tmon.pages.

Datasette loads single files, and this is the one: the modules it registers have the hooks.
"""

from datasette.plugins import pm

from tmon.pages import (
    admission,
    bad_requests,
    cells,
    compress,
    contents,
    dataset,
    download,
    export,
    facets,
    feed,
    guard,
    home,
    limited,
    mended,
    methods,
    node,
    paging,
    selection,
    station,
)

for _module in (
    admission,
    bad_requests,
    cells,
    compress,
    contents,
    dataset,
    download,
    export,
    facets,
    feed,
    guard,
    home,
    limited,
    mended,
    methods,
    node,
    paging,
    selection,
    station,
):
    if not pm.is_registered(_module):
        pm.register(_module)
