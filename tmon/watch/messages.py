"""The text of a notification, composed from stored events."""

from collections.abc import Sequence
from html import escape
from itertools import groupby
from typing import NamedTuple, Protocol
from urllib.parse import quote

from sqlite_utils import Database

from tmon.core.errors import TmonError

MAIL_BYTES = 30_000  # MOST_LINES of MOST_CHARACTERS and their links fit
MOST_LINES = 50  # more than that nobody reads: the rest is a number and a link
MOST_LINKS = 10  # with more lines than that, none has a link
MOST_CHARACTERS = 300  # of a line
SUBJECT_CHARACTERS = 120  # of a line in the subject
KINDS = ("new", "over", "going on", "found")


class Undelivered(TmonError):
    """A message was not delivered; the text says why, without addresses or secrets."""


class Picture(NamedTuple):
    """A picture for mails; ``name`` is that of a file, ``alt`` says what it shows."""

    name: str
    alt: str
    png: bytes


class Sendable(Protocol):
    """What a channel sends."""

    @property
    def pictures(self) -> Sequence[Picture]:
        """For channels that can show them."""

    @property
    def subject(self) -> str:
        """One line."""

    @property
    def severity(self) -> str:
        """critical, warning, over or report."""

    def text(self, most_bytes: int) -> str:
        """The whole text, or as much as fits."""


class AlertLine(NamedTuple):
    """One line of a message: one incident, or several that share a text."""

    kind: str  # one of KINDS
    severity: str  # critical or warning
    text: str
    page: str  # path of the page about it

    @property
    def heading(self) -> str:
        critical = self.kind == "new" and self.severity == "critical"
        return "New, critical" if critical else self.kind.capitalize()


class Message(NamedTuple):
    """One message to one channel."""

    lines: Sequence[AlertLine]
    public_url: str
    opening: str = ""

    @property
    def pictures(self) -> Sequence[Picture]:
        return ()

    @property
    def subject(self) -> str:
        """The line, if there is only one; otherwise how many of each kind."""
        if len(self.lines) == 1:
            line = self.lines[0]
            return f"tmon: {line.kind}: {_cut(line.text, SUBJECT_CHARACTERS)}"
        counts = {kind: sum(line.kind == kind for line in self.lines) for kind in KINDS}
        return "tmon: " + ", ".join(f"{n:,} {kind}" for kind, n in counts.items() if n)

    @property
    def severity(self) -> str:
        """The worst of what isn't over: critical or warning; or ``over``, if all is."""
        severities = {line.severity for line in self.lines if line.kind != "over"}
        return min(severities, default="over")  # critical sorts before warning

    def text(self, most_bytes: int) -> str:
        """The lines, or as many as fit and how many more there are."""
        for count in range(MOST_LINES, 0, -1):
            text = self._text_of(count)
            if len(text.encode()) <= most_bytes:
                return text
        return self._text_of(0).encode()[:most_bytes].decode(errors="ignore")

    def _text_of(self, count: int) -> str:
        """The text with the first ``count`` lines."""
        text = [self.opening] if self.opening else []
        linked = self.public_url and len(self.lines) <= MOST_LINKS
        for heading, lines in groupby(self.lines[:count], key=lambda line: line.heading):
            text.append(heading)
            for line in lines:
                text.append(f"- {line.text}")
                if linked:
                    text.append(f"  {self.public_url}{line.page}")
            text.append("")
        left = len(self.lines) - count
        more = f"and {left:,} more" if left > 0 else ""
        link = f"{self.public_url}/tmon/incidents?_sort_desc=id" if self.public_url else ""
        text.append(": ".join(filter(None, (more, link))))
        return "\n".join(text).strip()


def html_of(message: Sendable, most_bytes: int) -> str:
    """A message with pictures as HTML; its text stands as it is, in columns."""
    pictures = "\n".join(
        f'<p><img src="cid:{one.name}" alt="{escape(one.alt)}" style="max-width: 100%"></p>'
        for one in message.pictures
    )
    return (
        f"<html><body>\n<pre>{escape(message.text(most_bytes))}</pre>\n{pictures}\n</body></html>"
    )


def message_of_events(db: Database, after: int, last: int, public_url: str) -> Message | None:
    """The message about the events from ``after + 1`` to ``last``; None if there are none.

    An incident with several events gets one line, by its newest. Equal lines are merged.
    """
    rows = db.execute(
        """
        select events.incident, what, message, events.severity,
            coalesce(incidents.node, sensors.node), sensors.name
        from events
        join incidents on incidents.id = events.incident
        left join sensors on sensors.id = incidents.sensor
        where events.id > ? and events.id <= ? order by events.id
        """,
        [after, last],
    ).fetchall()
    began = {incident for incident, what, *_ in rows if what == "began"}
    newest = {incident: row for incident, *row in rows}  # in the order of their first events
    lines: dict[tuple[str, ...], AlertLine] = {}
    for incident, (what, message, severity, node, sensor) in newest.items():
        kind = "over" if what == "ended" else "new" if incident in began else "going on"
        text = one_line(message)
        names = [quote(name, ":/") for name in ("node", node, sensor) if name]
        page = f"/{'/'.join(names)}" if node else "/tmon/incidents"
        same = lines.get((kind, severity, text))
        if same and same.page != page:
            page = "/".join(same.page.split("/")[:3])  # several sensors: their node's page
        lines[kind, severity, text] = AlertLine(kind, severity, text, page)
    ordered = sorted(lines.values(), key=lambda line: (KINDS.index(line.kind), line.severity))
    return Message(ordered, public_url) if ordered else None


def one_line(text: str) -> str:
    """Text without line breaks, control characters and direction marks, and not too long."""
    visible = "".join(character if character.isprintable() else " " for character in text)
    return _cut(" ".join(visible.split()), MOST_CHARACTERS)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
