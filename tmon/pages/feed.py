"""``/incidents.atom``: the newest incidents as an Atom feed (RFC 4287)."""

import re
import sqlite3
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

from datasette import Response

from tmon.core.time import iso
from tmon.pages.queries import DATABASE, run_query
from tmon.pages.responses import absolute_url, node_path

MAX_ENTRIES = 100
CACHE_CONTROL = "max-age=300"  # checks run every few minutes at most

# Characters that XML can't contain, even escaped (XML 1.0, 2.2).
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Entry(NamedTuple):
    """An incident; ``to_ms`` is None while it is open."""

    id: int
    finding: str
    severity: str
    node: str | None
    sensor: str | None
    subject: str
    reason: str
    from_ms: int
    to_ms: int | None

    @property
    def changed_ms(self) -> int:
        return self.from_ms if self.to_ms is None else self.to_ms

    @property
    def path(self) -> str:
        """The page of its node or sensor, or its own row."""
        return node_path(self.node, self.sensor) if self.node else self.row

    @property
    def row(self) -> str:
        return f"/{DATABASE}/incidents/{self.id}"

    @property
    def title(self) -> str:
        place = " ".join(filter(None, (self.node, self.sensor))) or self.subject
        state = self.severity.capitalize() if self.to_ms is None else "Over"
        return f"{state}: {place}: {self.reason}" if place else f"{state}: {self.reason}"

    @property
    def text(self) -> str:
        until = "still open" if self.to_ms is None else f"until {iso(self.to_ms)}"
        return f"{self.reason}, from {iso(self.from_ms)} {until} ({self.finding}, {self.severity})"


async def show(datasette: Any, request: Any) -> Response:
    """The feed, or 304 when the reader has it already."""
    entries = await run_query(datasette, _newest)
    station = await datasette.get_instance_metadata()
    template = datasette.get_jinja_environment().get_template("incidents.xml")
    text = await template.render_async(
        title=station.get("title") or "tmon",
        entries=entries,
        changed_ms=max((entry.changed_ms for entry in entries), default=0),
        url=partial(absolute_url, datasette, request),
        iso=iso,
    )
    text = _ILLEGAL.sub("", text)
    etag = f'W/"{sha256(text.encode()).hexdigest()[:32]}"'
    headers = {"etag": etag, "cache-control": CACHE_CONTROL}
    known = request.headers.get("if-none-match", "")
    if etag in {one.strip() for one in known.split(",")}:
        return Response("", status=304, headers=headers)
    content_type = "application/atom+xml; charset=utf-8"
    return Response(text, content_type=content_type, headers=headers)


def _newest(connection: sqlite3.Connection) -> list[Entry]:
    rows = connection.execute(
        """
        select incidents.id, finding, severity, coalesce(incidents.node, sensors.node),
            sensors.name, subject, reason, from_ms, to_ms
        from incidents left join sensors on sensors.id = incidents.sensor
        order by incidents.id desc limit ?
        """,
        [MAX_ENTRIES],
    )
    return [Entry(*row) for row in rows]
