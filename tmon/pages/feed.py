"""``/incidents.atom``: the newest incidents, for whoever reads feeds (RFC 4287)."""

import re
import sqlite3
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from datasette import Response, hookimpl

from tmon.core.time import iso
from tmon.pages.station import PUBLISHED_AS, address, ask

NEWEST = 100
KEPT = "max-age=300"  # a checker runs each few minutes at most
TYPE = "application/atom+xml"

# What no XML may contain, however it is escaped (XML 1.0, 2.2).
_IMPOSSIBLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Incident(NamedTuple):
    """One, as its row has it; ``to_ms`` is None while it goes on."""

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
    def title(self) -> str:
        place = " ".join(filter(None, (self.node, self.sensor))) or self.subject
        state = self.severity.capitalize() if self.to_ms is None else "Over"
        return f"{state}: {place}: {self.reason}" if place else f"{state}: {self.reason}"

    @property
    def text(self) -> str:
        until = "and goes on" if self.to_ms is None else f"until {iso(self.to_ms)}"
        return f"{self.reason}, from {iso(self.from_ms)} {until} ({self.finding}, {self.severity})"


@hookimpl
def register_routes() -> list[tuple[str, Any]]:
    """The feed; our pages name it in their heads."""
    return [(r"/incidents\.atom$", show)]


async def show(datasette: Any, request: Any) -> Response:
    """The feed, or that it is still the one that the reader has."""
    incidents = await ask(datasette, _newest)
    station = await datasette.get_instance_metadata()
    text = _feed(station.get("title") or "tmon", incidents, partial(address, datasette, request))
    tag = f'W/"{sha256(text.encode()).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": KEPT}
    known = request.headers.get("if-none-match", "")
    if tag in {one.strip() for one in known.split(",")}:
        return Response("", status=304, headers=headers)
    return Response(text, content_type=f"{TYPE}; charset=utf-8", headers=headers)


def _newest(conn: sqlite3.Connection) -> list[Incident]:
    rows = conn.execute(
        """
        select incidents.id, finding, severity, coalesce(incidents.node, sensors.node),
            sensors.name, subject, reason, from_ms, to_ms
        from incidents left join sensors on sensors.id = incidents.sensor
        order by incidents.id desc limit ?
        """,
        [NEWEST],
    )
    return [Incident(*row) for row in rows]


def _feed(title: str, incidents: Sequence[Incident], link: Any) -> str:
    changed_ms = max((_changed_ms(one) for one in incidents), default=0)
    entries = "".join(_entry(one, link) for one in incidents)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en">\n'
        f"<id>{_clean(link('/incidents.atom'))}</id>\n"
        f"<title>{_clean(title)}: incidents</title>\n"
        f"<updated>{iso(changed_ms)}</updated>\n"
        f"<author><name>{_clean(title)}</name></author>\n"
        f'<link rel="self" type="{TYPE}" href={_quoted(link("/incidents.atom"))}/>\n'
        f'<link rel="alternate" href={_quoted(link(f"/{PUBLISHED_AS}/incidents"))}/>\n'
        f"{entries}</feed>\n"
    )


def _entry(incident: Incident, link: Any) -> str:
    """Its id has its time, too: a file brought back from a backup counts anew."""
    row = link(f"/{PUBLISHED_AS}/incidents/{incident.id}")
    names = [name for name in (incident.node, incident.sensor) if name]
    page = link("/".join(["/node", *(quote(name, ":/") for name in names)])) if names else row
    return (
        "<entry>\n"
        f"<id>{_clean(f'{row}#{incident.from_ms}')}</id>\n"
        f"<title>{_clean(incident.title)}</title>\n"
        f"<published>{iso(incident.from_ms)}</published>\n"
        f"<updated>{iso(_changed_ms(incident))}</updated>\n"
        f'<link rel="alternate" href={_quoted(page)}/>\n'
        f"<category term={_quoted(incident.finding)}/>\n"
        f"<content>{_clean(incident.text)}</content>\n"
        "</entry>\n"
    )


def _changed_ms(incident: Incident) -> int:
    return incident.from_ms if incident.to_ms is None else incident.to_ms


def _clean(text: str) -> str:
    return escape(_IMPOSSIBLE.sub("", text))


def _quoted(text: str) -> str:
    return quoteattr(_IMPOSSIBLE.sub("", text))
