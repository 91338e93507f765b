"""A station with events to send, and a process that sends them."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from sqlite_utils import Database

from tmon.core.settings import Settings
from tmon.db.connect import open_database

NOW_MS = 1_795_348_800_000  # 2026-11-22T12:00:00Z
HOUR_MS = 3_600_000
SECRET = "a secret of at least sixteen bytes"

SENDER = """
import logging, os, sys
logging.basicConfig(level=logging.WARNING)  # as `tmon` has it
from tmon.db.connect import open_database
from tmon.core.settings import Settings
from tmon.watch.outbox import send_new_events
settings = Settings.load(os.environ)
with open_database(settings.db) as db:
    print(*send_new_events(db, settings, int(sys.argv[1])), sep="\\n", end="")
"""


class Station:
    """A database with a node, a sensor and what happens there."""

    def __init__(self, folder: Path, *notify: str, **environ: str) -> None:
        self.environ = {
            "TMON_DB": str(folder / "tmon.db"),
            "TMON_SECRET": SECRET,
            "TMON_NOTIFY": " ".join(notify),
            **environ,
        }
        self.db: Database = open_database(self.settings.db, create=True)
        if not self.db.execute("select count(*) from nodes").fetchone()[0]:
            self.db.execute("insert into nodes (name, uid, created_ms) values ('cellar', 'u', 0)")
            self.db.execute("insert into sensors (id, node, name) values (1, 'cellar', 'freezer')")

    @property
    def settings(self) -> Settings:
        return Settings.load(self.environ)

    def began(self, text: str = "cellar/freezer: -3 °C is above -15 °C", **more: object) -> int:
        row = {
            "finding": "T02",
            "severity": "warning",
            "sensor": 1,
            "reason": text,
            "from_ms": NOW_MS,
            "subject": f"{self.db.execute('select count(*) from incidents').fetchone()[0]}",
            **{name: value for name, value in more.items() if name != "at_ms"},
        }
        names = ", ".join(row)
        marks = ", ".join("?" for _ in row)
        cursor = self.db.execute(
            f"insert into incidents ({names}) values ({marks})", [*row.values()]
        )
        incident = int(cursor.lastrowid or 0)
        self.event(incident, "began", text, int(str(more.get("at_ms", NOW_MS))))
        return incident

    def event(self, incident: int, what: str, text: str, at_ms: int = NOW_MS) -> None:
        self.db.execute(
            "insert into events (at_ms, incident, what, message) values (?, ?, ?, ?)",
            [at_ms, incident, what, text],
        )

    def channels(self) -> list[tuple[object, ...]]:
        rows: Iterable[tuple[object, ...]] = self.db.execute(
            "select last_sent_event, failed_ms from channels order by name"
        )
        return [*rows]

    def failed(self) -> list[str]:
        """The schemes of channels whose last message failed."""
        rows = self.db.execute("select name from channels where failed_ms is not null")
        return [name.partition(":")[0] for (name,) in rows]

    def process(self, now_ms: int = NOW_MS) -> "subprocess.Popen[str]":
        """A process that sends notifications; to be killed."""
        return subprocess.Popen(
            [sys.executable, "-c", SENDER, str(now_ms)],
            env={**os.environ, **self.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
