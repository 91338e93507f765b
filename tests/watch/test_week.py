"""A simulated week: readings, silences, values around a limit, a checker that is killed.

The mailbox gets exactly the messages that the week's script implies, computed here in
another way than the checker does; a repeat only after a kill, with the same text.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.notify.receivers import Mailbox, mail_server, text_of
from tests.watch.watched import DAY_MS, MINUTE_MS, NOW_MS, NOWHERE, Watched
from tmon.core.settings import Settings
from tmon.watch.check import CheckOptions
from tmon.watch.notify import check_and_notify

ROUND_MS = 10 * MINUTE_MS
FOR_MS = 30 * MINUTE_MS
SILENT_MS = 15 * MINUTE_MS
HYSTERESIS, LIMIT = 1.0, -15.0
USUAL, FLAPPING, THAWED = (-18.0, -18.2), (-14.8, -15.2), (-8.0, -9.0)
KILLED_WITHIN_S = 1.0  # of its start: a run takes about half of it


class Episode(NamedTuple):
    """From a minute of the week up to another: what the freezer says, or nothing of the attic."""

    begin: int
    end: int
    values: tuple[float, float] | None = None  # in turn, a minute each

    @property
    def span_ms(self) -> tuple[int, int]:
        return NOW_MS + self.begin * MINUTE_MS, NOW_MS + self.end * MINUTE_MS


# Minutes of the week. Too short to count; flapping, which is one incident; then a thaw of 30 hours.
FREEZER = (
    Episode(200, 220, THAWED),
    Episode(400, 520, FLAPPING),
    Episode(700, 731, THAWED),
    Episode(2000, 2000 + 30 * 60, THAWED),
    Episode(5000, 5029, THAWED),
    Episode(6000, 6300, FLAPPING),
)
ATTIC = (Episode(300, 312), Episode(600, 680), Episode(1500, 1500 + 50 * 60), Episode(8000, 8016))

Expected = dict[int, set[tuple[str, str]]]  # by the round that sends it


def rounds(minutes: int) -> range:
    return range(NOW_MS, NOW_MS + minutes * MINUTE_MS, ROUND_MS)


def first_round(at_ms: int) -> int:
    """The first round at an instant or later."""
    return NOW_MS + -(-(at_ms - NOW_MS) // ROUND_MS) * ROUND_MS


def expected(minutes: int) -> Expected:
    """The events by round: begin, a reminder each whole day, end."""
    told: Expected = {}
    for place, began_ms, over_ms in _incidents():
        for at_ms in range(began_ms, over_ms, DAY_MS):
            told.setdefault(at_ms, set()).add(("new" if at_ms == began_ms else "on", place))
        told.setdefault(over_ms, set()).add(("over", place))
    return {at_ms: lines for at_ms, lines in told.items() if at_ms in rounds(minutes)}


def _incidents() -> Iterator[tuple[str, int, int]]:
    for episode in FREEZER:
        start_ms, end_ms = episode.span_ms  # the reading at the end is back at the usual
        if end_ms - start_ms >= FOR_MS:
            yield "cellar/freezer", first_round(start_ms + FOR_MS), first_round(end_ms)
    for episode in ATTIC:
        start_ms, end_ms = episode.span_ms
        silent_ms = first_round(start_ms - MINUTE_MS + SILENT_MS + 1000)
        if silent_ms < end_ms:
            yield "attic/temperature", silent_ms, first_round(end_ms)


def freezer_at(minute: int) -> float:
    for begin, end, values in FREEZER:
        if begin <= minute < end and values:
            return values[minute % 2]
    return USUAL[minute % 2]


def attic_speaks(minute: int) -> bool:
    return not any(begin <= minute < end for begin, end, _ in ATTIC)


class Week:
    """The station as time goes by, and its rounds."""

    def __init__(self, folder: Path, box: Mailbox) -> None:
        self.watched = Watched(folder)
        secret = folder / "tmon.db.secret"
        secret.write_text("a secret of sixteen bytes")
        secret.chmod(0o600)
        self.environ = {
            "TMON_DB": str(self.watched.path),
            "TMON_NOTIFY": f"mailto://{box.address}?from=tmon@example.org&to=me@example.org",
        }
        for node in ("cellar", "attic"):
            self.watched.node(node)
        self.freezer = self.watched.sensor("cellar", "freezer")
        self.attic = self.watched.sensor("attic")
        self.watched.limit(self.freezer, above=LIMIT, for_s=FOR_MS // 1000, hysteresis=HYSTERESIS)
        for number in ("T08", "T09", "T13"):  # this machine's own
            self.watched.mute(number, NOW_MS * 2)
        self._minute = -60

    def go_on_to(self, now_ms: int) -> None:
        """Readings of every minute up to now, this one included."""
        minutes = range(self._minute, (now_ms - NOW_MS) // MINUTE_MS + 1)
        at = {minute: NOW_MS + minute * MINUTE_MS for minute in minutes}
        self.watched.measure(self.freezer, [(at[minute], freezer_at(minute)) for minute in minutes])
        spoken = [minute for minute in minutes if attic_speaks(minute)]
        self.watched.measure(self.attic, [(at[minute], 20.0) for minute in spoken])
        self._minute = minutes.stop

    def check(self, now_ms: int) -> None:
        settings = Settings.load(self.environ)
        report = check_and_notify(CheckOptions(settings, NOWHERE, now_ms), lambda _: None)
        assert report.failures == []

    def check_and_be_killed(self, now_ms: int, after_s: float) -> None:
        command = [sys.executable, "-m", "tests.watch.test_week", str(now_ms)]
        environ = {**os.environ, **self.environ}
        running = subprocess.Popen(command, env=environ, cwd=Path(__file__).parents[2])
        time.sleep(after_s)
        running.send_signal(signal.SIGKILL)
        running.wait()


def main(now_ms: int) -> None:
    """One round, to be killed."""
    settings = Settings.load(os.environ)
    check_and_notify(CheckOptions(settings, NOWHERE, now_ms), lambda _: None)


def read(mail: EmailMessage) -> set[tuple[str, str]]:
    """What a mail says of which place."""
    kinds = {"New": "new", "Over": "over", "Going on": "on"}
    found, kind = set(), ""
    for line in text_of(mail).splitlines():
        kind = kinds.get(line.partition(",")[0], kind)
        for place in ("cellar/freezer", "attic/temperature"):
            if line.lstrip("- ").startswith(place):
                found.add((kind, place))
    return found


def live(folder: Path, minutes: int, kills: int) -> dict[int, list[EmailMessage]]:
    """The mails of so many minutes, by round; the checker is killed so often."""
    chance = random.Random(7)
    mails = {}
    with mail_server() as box:
        week = Week(folder, box)
        # Where there is something to tell, a kill can do harm; elsewhere, a few.
        busy = [at_ms for at_ms in rounds(minutes) if at_ms in expected(minutes)]
        killed = chance.choices([*busy, *rounds(minutes)[:: len(rounds(minutes)) // 4]], k=kills)
        for now_ms in rounds(minutes):
            before = len(box.mails)
            week.go_on_to(now_ms)
            for _ in range(killed.count(now_ms)):
                week.check_and_be_killed(now_ms, chance.random() * KILLED_WITHIN_S)
            week.check(now_ms)
            if box.mails[before:]:
                mails[now_ms] = box.mails[before:]
        week.watched.db.close()
    return mails


def check_told(mails: dict[int, list[EmailMessage]], minutes: int, kills: int) -> None:
    assert {at_ms: read(first) for at_ms, (first, *_) in mails.items()} == expected(minutes)
    repeats = 0
    for first, *again in mails.values():
        assert {text_of(mail) for mail in again} <= {text_of(first)}
        repeats += len(again)
    assert repeats <= kills


def test_half_a_day_gives_exactly_its_messages(tmp_path: Path) -> None:
    minutes = 13 * 60
    assert len(expected(minutes)) == 6
    mails = live(tmp_path, minutes, kills=4)
    check_told(mails, minutes, kills=4)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_week_gives_exactly_its_messages(tmp_path: Path) -> None:
    minutes = 7 * DAY_MS // MINUTE_MS
    mails = live(tmp_path, minutes, kills=60)
    check_told(mails, minutes, kills=60)


if __name__ == "__main__":
    main(int(sys.argv[1]))
