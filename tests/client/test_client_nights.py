"""Weeks of a node behind a freezer: what it loses, what it mails, and whether that is right."""

from __future__ import annotations

import random
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from client import client
from tests.client.harness import (
    GOOD,
    HOUR_MS,
    FakeClock,
    FakeServer,
    Node,
    Once,
    Reply,
    Request,
    SysfsTree,
    scratchpad,
)

AWAY = "http://127.0.0.1:1"
DEAD = scratchpad("00 " * 8 + "00", 0)
CHIP = "temperature:28-0316a2f2c3ff"
END = "over: "


class Month:
    """A node that cron starts each hour; time is handed in, so a month takes seconds."""

    def __init__(
        self, node: Node, once: Once, clock: FakeClock, server: FakeServer, sysfs: SysfsTree
    ) -> None:
        self.node = node
        self.server = server
        self.sysfs = sysfs
        self.clock = clock
        self.hour = 0
        self._off_ms = 0  # how far the node's clock is ahead
        server.time_ms = self.true_ms
        self.begun_ms: dict[float, int] = {}  # of each run, by what its door says
        self.mails: list[tuple[int, list[str]]] = []
        self._once = once
        self._count = 0

    def true_ms(self) -> int:
        return self.clock.wall_ms - self._off_ms

    def set_clock_off(self, off_ms: int) -> None:
        """As after a boot without a network, where NTP can't say what time it is."""
        self.clock.reboot(f"boot of hour {self.hour}", self.true_ms() + off_ms)
        self.clock.synchronised = not off_ms
        self._off_ms = off_ms

    def hours(self, count: int, **environ: str) -> None:
        for _ in range(count):
            self.clock.pass_ms(HOUR_MS)
            self.hour += 1
            self._count += 1
            self.begun_ms[self._count] = self.true_ms()
            ran = self._once("--command", f"door=echo {self._count}", **environ)
            assert ran.status in {0, 1}
            if ran.said:
                self.mails.append((self.hour, ran.said))

    def mails_since(self, hour: int) -> list[str]:
        return [line for at, lines in self.mails if at > hour for line in lines]


Night = Callable[[Month], None]


def quiet(month: Month) -> None:
    month.hours(24)


def server_away_for_a_night(month: Month) -> None:
    month.hours(14)
    month.hours(10, TMON_URL=AWAY)


def server_away_for_an_hour(month: Month) -> None:
    month.hours(20)
    month.hours(1, TMON_URL=AWAY)
    month.hours(3)


def server_flaps(month: Month) -> None:
    for _ in range(12):
        month.hours(1, TMON_URL=AWAY)
        month.hours(1)


def portal(month: Month) -> None:
    """A hotel's login page, whose address has a session in it."""
    for session in range(24):
        location = f"http://login.hotel.test/?session={session}"
        month.server.always = Reply(302, "<html>", {"Location": location})
        month.hours(1)
    month.server.always = None


def answers_are_lost(month: Month) -> None:
    """It stores, and the answer doesn't come: what is sent again is sent the same."""

    def respond(request: Request) -> Reply:
        month.server.store(request)
        return Reply(502, "<html>bad gateway")

    for _ in range(12):
        month.server.next.append(respond)
        month.hours(2)


def sensor_comes_and_goes(month: Month) -> None:
    for _ in range(12):
        month.sysfs.thermometer(text=DEAD)
        month.hours(1)
        month.sysfs.thermometer(text=scratchpad(GOOD, 23125))
        month.hours(1)


def sensor_dies_for_a_day(month: Month) -> None:
    month.sysfs.thermometer(text=DEAD)
    month.hours(24)
    month.sysfs.thermometer(text=scratchpad(GOOD, 23125))


def token_revoked(month: Month) -> None:
    month.server.always = Reply(403, {"error": "the token was revoked", "code": "revoked"})
    month.hours(24)
    month.server.always = None


def clock_is_behind(month: Month) -> None:
    """A Pi has no clock of its own: it goes on with the time at which it was switched off."""
    month.set_clock_off(-71 * HOUR_MS)
    month.hours(20)
    month.set_clock_off(0)
    month.hours(4)


def clock_is_behind_and_the_server_away(month: Month) -> None:
    month.set_clock_off(-71 * HOUR_MS)
    month.hours(2, TMON_URL=AWAY)
    month.hours(22)
    month.set_clock_off(0)


@contextmanager
def full(card: Path) -> Iterator[None]:
    """No file may grow beyond the spool, and that has no free page left; nor may its journal."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(sqlite3.connect(card, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = PERSIST")
        db.execute("INSERT INTO state VALUES ('ballast', ?)", (bytes(600_000),))
        db.execute("PRAGMA page_size = 512")  # of which the last ones don't take a day to fill
        db.execute("VACUUM")
        db.execute("UPDATE state SET key = key WHERE key = 'ballast'")
    resource.setrlimit(resource.RLIMIT_FSIZE, (card.stat().st_size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        with closing(sqlite3.connect(card, isolation_level=None)) as db:
            db.execute("DELETE FROM state WHERE key = 'ballast'")


def card_is_full(month: Month) -> None:
    """Its last pages take some hours more; then readings wait in memory, until they are sent."""
    with full(month.node.spool):
        month.hours(16, TMON_URL=AWAY)
        assert waits_in_memory(month)
        month.hours(4)
        assert not waits_in_memory(month)


def card_is_full_for_a_while(month: Month) -> None:
    """They move to the card as soon as it has room, though the server is still away."""
    with full(month.node.spool):
        month.hours(16, TMON_URL=AWAY)
        assert waits_in_memory(month)
    month.hours(1, TMON_URL=AWAY)
    assert not waits_in_memory(month)
    month.hours(3)


def waits_in_memory(month: Month) -> bool:
    with client.Spool(client.memory_path(month.node.spool)) as memory:
        return not memory.is_empty()


# How many lines each may mail, its end included, which is told in the first hour of the next day.
NIGHTS: dict[Night, int] = {
    quiet: 0,
    server_away_for_a_night: 2,
    server_away_for_an_hour: 0,
    server_flaps: 0,
    portal: 2,
    answers_are_lost: 0,
    sensor_comes_and_goes: 0,
    sensor_dies_for_a_day: 2,
    token_revoked: 2,
    clock_is_behind: 0,
    clock_is_behind_and_the_server_away: 0,
    card_is_full: 4,
    card_is_full_for_a_while: 4,
}


@pytest.fixture
def month(node: Node, once: Once, clock: FakeClock, server: FakeServer, sysfs: SysfsTree) -> Month:
    sysfs.thermometer()
    return Month(node, once, clock, server, sysfs)


def is_whole(month: Month) -> None:
    """Nothing is lost, nothing stored twice, nothing stored otherwise than it was sensed."""
    doors = [(value, ms) for (sensor, ms), value in month.server.stored.items() if sensor == "door"]
    assert sorted(value for value, _ in doors) == list(month.begun_ms)
    assert all(0 <= ms - month.begun_ms[value] < 60_000 for value, ms in doors)
    chips = [value for (sensor, _), value in month.server.stored.items() if sensor == CHIP]
    assert set(chips) <= {23.125}
    assert month.server.conflicts == []
    assert month.node.kept() == []
    assert month.node.refused() == []


def live(month: Month, nights: list[Night]) -> None:
    for night in nights:
        before = month.hour
        night(month)
        month.hours(1)
        assert len(month.mails_since(before)) <= NIGHTS[night], night.__name__
    is_whole(month)


@pytest.mark.parametrize("night", NIGHTS)
def test_a_night(month: Month, night: Night) -> None:
    month.hours(1)
    before = month.hour
    live(month, [night])
    assert len(month.mails_since(before)) == NIGHTS[night]


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(4))
def test_a_month_of_nights(month: Month, seed: int) -> None:
    dice = random.Random(seed)
    nights = list(NIGHTS) * 3 + [quiet] * 3
    dice.shuffle(nights)
    live(month, nights)
    lines = [line for _, said in month.mails for line in said]
    assert len(lines) <= sum(NIGHTS.values()) * 3
    for before, after in pairwise(line for line in lines if "can't be reached" in line):
        assert before != after


@pytest.mark.timeout(300)
@pytest.mark.parametrize("days", [3, pytest.param(30, marks=pytest.mark.soak)])
def test_the_mails_of_a_server_that_is_away_for_days(month: Month, days: int) -> None:
    """One when it begins, one a day, one when it is over; and then all is there."""
    month.hours(1)
    month.hours(days * 24, TMON_URL=AWAY)
    month.hours(2)
    assert len(month.mails) == days + 1
    assert month.mails[-1][1] == [f"{END}the server takes the readings again"]
    is_whole(month)


def test_a_node_that_is_well_writes_no_word(month: Month, tmp_path: Path) -> None:
    month.hours(48)
    assert month.mails == []
    assert not [*tmp_path.rglob("*.news")]
    assert client.REPORT_AGAIN_MS == 24 * HOUR_MS
