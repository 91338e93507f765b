"""What people are told in one message: composed of stored events, the same each time."""

import secrets
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple
from urllib.parse import quote

from sqlite_utils import Database

MOST_LINES = 50  # that somebody reads; the rest is a number and a link
MOST_LINKED = 10  # each with a link of its own
MOST_CHARACTERS = 300  # of one line
IN_SUBJECT = 120  # characters of a line that stands in the subject
KINDS = ("new", "over", "going on", "found")


class Item(NamedTuple):
    """One incident in a message."""

    kind: str  # one of KINDS
    severity: str  # critical or warning
    told: str
    page: str  # the path of the page it is about

    @property
    def heading(self) -> str:
        critical = self.kind == "new" and self.severity == "critical"
        return "New, critical" if critical else self.kind.capitalize()


class Message(NamedTuple):
    """One message to one channel; ``id`` is a Message-ID, and ``at_ms`` when it was found."""

    id: str
    at_ms: int
    items: Sequence[Item]
    public_url: str
    opening: str = ""

    @property
    def subject(self) -> str:
        """The one line that it tells, or how many."""
        if len(self.items) == 1:
            item = self.items[0]
            return f"tmon: {item.kind}: {cut(item.told, IN_SUBJECT)}"
        counts = {kind: sum(item.kind == kind for item in self.items) for kind in KINDS}
        return "tmon: " + ", ".join(f"{n:,} {kind}" for kind, n in counts.items() if n)

    @property
    def severity(self) -> str:
        """critical, warning or over, for channels with colours; of what isn't over, the worst."""
        severities = {item.severity for item in self.items if item.kind != "over"}
        return min(severities, default="over")  # as the words happen to be ordered

    def text(self, most_bytes: int) -> str:
        """All lines, or as many as there is room for, and how many more there are."""
        for shown in range(MOST_LINES, 0, -1):
            text = self._first(shown)
            if len(text.encode()) <= most_bytes:
                return text
        return self._first(0).encode()[:most_bytes].decode(errors="ignore")

    def _first(self, count: int) -> str:
        lines = [self.opening] if self.opening else []
        linked = self.public_url and len(self.items) <= MOST_LINKED
        for heading, items in groupby(self.items[:count], key=lambda item: item.heading):
            lines.append(heading)
            for item in items:
                lines.append(f"- {item.told}")
                if linked:
                    lines.append(f"  {self.public_url}{item.page}")
            lines.append("")
        more = len(self.items) - count
        told_more = f"and {more:,} more" if more > 0 else ""
        link = f"{self.public_url}/tmon/incidents?_sort_desc=id" if self.public_url else ""
        lines.append(": ".join(filter(None, (told_more, link))))
        return "\n".join(lines).strip()


def of_events(
    db: Database, after: int, last: int, *, public_url: str, sender: str
) -> Message | None:
    """The message that tells the events after ``after`` up to ``last``, if there are any.

    Args:
        db: where the events are.
        after: the last event that was told before.
        last: the last event to tell.
        public_url: the pages' address, for links; empty for none.
        sender: makes the Message-ID this channel's and this station's, like ``hash@host``.

    """
    rows = db.execute(
        """
        select events.incident, what, told, at_ms, events.severity,
            coalesce(incidents.node, sensors.node), sensors.name
        from events
        join incidents on incidents.id = events.incident
        left join sensors on sensors.id = incidents.sensor
        where events.id > ? and events.id <= ? order by events.id
        """,
        [after, last],
    ).fetchall()
    if not rows:
        return None
    at_ms = rows[-1][3]
    # With the time: a database brought back from a backup counts its events anew.
    message_id = f"<tmon.{after + 1}-{last}.{at_ms}.{sender}>"
    by_incident: dict[int, list[tuple[str, ...]]] = {}
    for incident, *row in rows:
        by_incident.setdefault(incident, []).append(tuple(row))
    items = _together(map(_item, by_incident.values()))
    return Message(message_id, at_ms, items, public_url)


def of_lines(lines: Iterable[str], now_ms: int, *, public_url: str, host: str) -> Message:
    """A message of lines that are stored nowhere; each has an id of its own."""
    items = [Item("found", "critical", plain(line), "/") for line in lines]
    opening = "The database can't be written, so this may be told again at each check.\n"
    message_id = f"<tmon.{secrets.token_hex(8)}@{host}>"
    return Message(message_id, now_ms, items, public_url, opening)


def _item(events: Sequence[tuple[str, ...]]) -> Item:
    """What is told of one incident: how it is now, by its newest event."""
    last, told, _, severity, node, sensor = events[-1]
    began = any(what == "began" for what, *_ in events)
    kind = "over" if last == "ended" else "new" if began else "going on"
    page = "/" + "/".join(quote(name, ":/") for name in ("node", node, sensor) if name)
    return Item(kind, severity, plain(told), page if node else "/tmon/incidents")


def _together(items: Iterable[Item]) -> list[Item]:
    """New ones first, and of these the critical ones; incidents that share a line, once."""
    lines: dict[tuple[str, ...], Item] = {}
    for item in items:
        *line, page = item
        known = lines.get(tuple(line))
        lines[tuple(line)] = item._replace(page=_shared(known.page, page)) if known else item
    return sorted(lines.values(), key=lambda item: (KINDS.index(item.kind), item.severity))


def _shared(page: str, other: str) -> str:
    """The page of both: the same one, or the node's that both are of."""
    return page if page == other else "/".join(page.split("/")[:3])


def plain(text: str) -> str:
    """One line of what can be seen: no breaks, no controls, nothing that turns text around."""
    seen = "".join(character if character.isprintable() else " " for character in text)
    return cut(" ".join(seen.split()), MOST_CHARACTERS)


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
