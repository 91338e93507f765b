"""``/refused``: what was refused lately, of whom, why, and what to do about it."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from datasette import Response
from markupsafe import Markup

from tmon.core.advice import advice_html
from tmon.core.languages import gettext
from tmon.pages.queries import run_query
from tmon.pages.responses import check_parameters, ingest_url, render_page

SEARCHED = 10_000  # of the newest refusals
MOST_KINDS = 100  # on the page; a sensor that is refused each minute is one kind

# With max(id), SQLite takes the other columns from that row: the newest of its kind.
_NEWEST = f"""
select node, gateway, sensor, measured, value, raw, code, reason, received_ms,
    count(*) as times, max(id) as newest
from (
    select * from rejected where :node in ('', node, gateway) order by id desc limit {SEARCHED}
)
group by node, gateway, sensor, code
order by newest desc
limit {MOST_KINDS}
"""


class Kind(NamedTuple):
    """Refusals of one sensor for one reason; ``sent`` is what was sent the last time."""

    reason: str
    sent: str
    times: int
    last_ms: int
    advice: Markup


class Sender(NamedTuple):
    """A node, perhaps behind a gateway, or a gateway itself, whose ``node`` is empty."""

    node: str
    gateway: str | None


async def show(datasette: Any, request: Any) -> Response:
    """``/refused``, or ``/refused?node=NAME``, which may also be a gateway's."""
    check_parameters(request)
    node = (request.args.get("node") or "").strip()
    by_sender = await run_query(datasette, lambda connection: _load(connection, node))
    context = {
        "node": node,
        "by_sender": by_sender,
        "try_url": f"{ingest_url(datasette, request)}/try",
    }
    return await render_page(datasette, request, "refused.html", context)


def _load(connection: sqlite3.Connection, node: str) -> Mapping[Sender, Sequence[Kind]]:
    """The newest refusals by sender, the latest first."""
    found: dict[Sender, list[Kind]] = {}
    for row in connection.execute(_NEWEST, {"node": node}):
        advice = Markup(advice_html(row["code"]))  # noqa: S704 - escaped
        kind = Kind(row["reason"], _sent(row), row["times"], row["received_ms"], advice)
        found.setdefault(Sender(row["node"], row["gateway"]), []).append(kind)
    return found


def _sent(row: Mapping[str, Any]) -> str:
    """What was sent: as it was, where that is kept, or else its name, value and time."""
    if row["raw"]:
        return str(row["raw"])
    value = " = ".join(filter(None, (row["sensor"], row["value"])))
    sent = (value, row["measured"])
    return (
        gettext("{value} at {time}").format(value=sent[0], time=sent[1])
        if all(sent)
        else sent[0] or sent[1] or ""
    )
