"""``tmon check --notify``: check, remember what was found, and tell."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from sqlite_utils import Database

from tmon.db.connect import open_database, sqlite3
from tmon.db.station import Chore
from tmon.maintenance.shelf import write_secret
from tmon.watch import check, incidents
from tmon.watch import outbox as telling
from tmon.watch.check import UNUSABLE, Report, Task
from tmon.watch.ping import ping

TRIES = 3  # of two seconds each (tmon/db/connect.py): others' transactions are shorter
STATUS = ("ok", "warning", "critical", "unknown")


class Told(NamedTuple):
    """What was found; and what could not be looked for, or who not be told: a line each."""

    report: Report
    failures: list[str]


def check_and_tell(task: Task, say: Callable[[str], None]) -> Told:
    """Check; in one transaction remember what began, goes on and ended; tell it.

    Where nothing can be remembered, all that is found is told, at each run.

    Raises:
        TmonError: nobody can be told, as the settings are.
    """
    began = ping(task.settings, "start")
    ended = "fail"
    try:
        told = _round(task, say)
        ended = "fail" if told.failures or told.report.unknown else "success"
    finally:
        over = ping(task.settings, ended)
    unknown = told.report.unknown
    return told._replace(failures=[*unknown, *told.failures, *filter(None, (began, over))])


def _round(task: Task, say: Callable[[str], None]) -> Told:
    task = task._replace(settings=replace(task.settings, db=task.memory), whole_file=True)
    report = Report()
    try:
        with _memory(task) as db:
            telling.enlist(db, task.settings, task.now_ms)
            check.look(task, report, say)
            _record(db, report, task.now_ms)
            return Told(report, telling.tell(db, task.settings, task.now_ms))
    except UNUSABLE as error:
        report = Report()
        report.add(check.unusable(str(error)))
        check.look(task._replace(whole_file=False), report, say)
        lines = report.lines()
        return Told(report, telling.tell_without_memory(task.settings, lines, task.now_ms))


@contextmanager
def _memory(task: Task) -> Iterator[Database]:
    """The database that remembers; a distant station's is made here, with a secret of its own."""
    if task.addresses.remote:
        task.memory.parent.mkdir(parents=True, exist_ok=True)
        if task.settings.secret is None and not task.settings.secret_file.exists():
            # Only to keep the channels' addresses out of the database.
            write_secret(task.settings.secret_file, f"{secrets.token_hex(32)}\n".encode())
    with open_database(task.memory, create=task.addresses.remote) as db:
        yield db


def _record(db: Database, report: Report, now_ms: int) -> None:
    done = {**report.done, "check": Chore(now_ms, STATUS[report.status])}
    for tries_left in reversed(range(TRIES)):
        try:
            incidents.record(db, report.findings, now_ms, blind=report.blind, done=done)
        except sqlite3.OperationalError as error:
            if not tries_left or "locked" not in str(error):
                raise
        else:
            return
