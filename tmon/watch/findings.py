"""What the checks can find, by number; docs/watching.md has the details."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """The severities of Nagios and other monitoring plugins."""

    WARNING = "warning"
    CRITICAL = "critical"


class Kind(NamedTuple):
    """What all findings of one number have in common."""

    title: str
    remedy: str


CATALOGUE = {
    "T01": Kind("Silent", "Look at the node: power, network, `client.py --status`."),
    "T02": Kind("Above its limit", "Look after what it measures; `tmon limit` changes the limit."),
    "T03": Kind("Below its limit", "Look after what it measures; `tmon limit` changes the limit."),
    "T04": Kind("Ingest doesn't answer", "Start it: `tmon serve`; the nodes keep their readings."),
    "T05": Kind("Datasette doesn't answer", "Start it: `tmon serve`; readings are still accepted."),
    "T06": Kind("Many readings are rejected", "See the page /refused: it says what to do."),
    "T07": Kind("A clock is off", "Synchronise it: `timedatectl set-ntp true`."),
    "T08": Kind("The disk is nearly full", "Make room, or `tmon prune` old raw readings."),
    "T09": Kind(
        "The write-ahead log grows", "End what reads the file for hours, or restart ingest."
    ),
    "T10": Kind("The backup is too old", "Run `tmon backup DIR`, and see why it didn't run daily."),
    "T11": Kind("The database is damaged", "Stop tmon, keep a copy of the file, `tmon restore`."),
    "T12": Kind("`hourly` isn't what the readings say", "Run `tmon rollup --rebuild`."),
    "T13": Kind(
        "SQLite has the WAL-reset bug",
        "Let no other program write to the file while tmon runs; then mute T13.",
    ),
    "T14": Kind(
        "The secret can be read by others",
        "`chmod 600` it; if others read it, make a new one (docs/watching.md).",
    ),
    "T15": Kind("A message can't be delivered", "See that the addresses in TMON_NOTIFY work."),
    "T16": Kind("The database can't be used", "See whether the file exists, and who locks it."),
    "T17": Kind("The log can't be written back", "End what keeps the file open: `lsof tmon.db`."),
    "T18": Kind("A published page is older than the file", "Restart Datasette."),
    "T19": Kind("Readings from a clock ahead", "Correct that clock, then `tmon remove-ahead`."),
    "T20": Kind("The server's clock is off", "Synchronise it: `timedatectl set-ntp true`."),
    "T21": Kind("Nothing is committed", "See what blocks the disk: `dmesg`; restart ingest."),
    "T22": Kind("New tokens are refused", "Give ingest and the commands the same settings."),
    "T23": Kind("A factor of ten?", "See which unit the sensor sends, or `tmon calibrate` it."),
    "T24": Kind("NATS can't be used", "Start its servers; the nodes keep their readings."),
    "T25": Kind("The sink is behind", "Wait; if it stays so, see what slows this machine's disk."),
    "T26": Kind("The sink has stopped", "Its log says why: `journalctl -u tmon-sink`."),
    "T27": Kind("A NATS server is missing", "Start it, or replace it: docs/cluster.md."),
    "T28": Kind("The streams are nearly full", "Give them more room: docs/cluster.md."),
    "T29": Kind("The machines' files may differ", "`tmon compare` says where: docs/cluster.md."),
}
SILENT = "T01"


class Key(NamedTuple):
    """Findings with the same key belong to the same incident."""

    number: str
    node: str | None  # None for a sensor's: it keeps its incident when it moves to another node
    sensor_id: int | None
    subject: str


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or was: what a check yields, and what an incident is about.

    Args:
        number: of the catalogue, such as ``T01``.
        severity: how bad it is.
        reason: what is wrong, in a few words.
        node: the node's name, if it is about a node or a sensor.
        sensor: the sensor's name, if it is about one.
        sensor_id: the sensor's row in ``sensors``.
        subject: what else it is about, such as ``disk``.
        since_ms: when it began; None if only the open incident knows.
        until_ms: when it ended; None while it lasts.
        meets_threshold: False if it is too small to open an incident, but keeps one open.
        muted_until_ms: until when it is muted; only `run_checks` sets it.
    """

    number: str
    severity: Severity
    reason: str
    node: str | None = None
    sensor: str | None = None
    sensor_id: int | None = None
    subject: str = ""
    since_ms: int | None = None
    until_ms: int | None = None
    meets_threshold: bool = True
    muted_until_ms: int | None = None

    @property
    def key(self) -> Key:
        node = self.node if self.sensor_id is None else None
        return Key(self.number, node, self.sensor_id, self.subject)

    @property
    def place(self) -> str:
        """``node/sensor``, the node, or the subject."""
        if self.node is None:
            return self.subject
        return f"{self.node}/{self.sensor}" if self.sensor else self.node
