#!/usr/bin/env python3
# /// script
# requires-python = ">=3.9"
# dependencies = ["requests"]
# ///
"""tmon's client: senses what is on this machine, keeps it on disk, sends it to the server.

A reading is on disk before the first byte of it is sent, and stays there until the server has
said that it is stored. Its time is settled once, before it is first sent. So the client may be
killed at any moment: nothing is lost, and nothing is stored twice.

    client.py                senses once and sends: for cron, or a systemd timer
    client.py --loop 60      starts such a run every 60 seconds, until it is stopped
    client.py --print        shows what the sensors say, sends nothing
    client.py --status       shows what is kept, what is wrong, and since when

Exit status: 0 all was sent, or is safely kept; 2 set up wrong: a person is needed; 1 it failed or
was stopped, or, with --strict, readings are kept for later or another run is sending them.

Trouble is told on stderr when it lasts (three runs, or six hours without sending), then once a
day, and when it is over; at a terminal, or with --verbose, at once.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import io
import json
import math
import os
import random
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections import Counter
from dataclasses import asdict, astuple, dataclass, field, replace
from datetime import datetime, timezone
from email.utils import formatdate, parsedate_to_datetime
from functools import partial
from itertools import chain, islice
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, Any
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from requests import PreparedRequest

# Settings. A flag goes before the environment, and the environment before these.
URL = ""  # TMON_URL, such as http://192.168.1.10:13117
TOKEN = ""  # TMON_TOKEN, from `tmon token get NAME` on the server
SPOOL = ""  # TMON_SPOOL; empty: see default_spool
SPOOL_MAX = "500000"  # TMON_SPOOL_MAX, in readings: about 60 MB, ten sensors a minute for a month
JITTER_S = "20"  # TMON_JITTER_S
CA_FILE = ""  # TMON_CA_FILE
COMMANDS: Sequence[str] = []  # TMON_COMMANDS, one a line, such as "load:1=cut -c1-4 /proc/loadavg"

VERSION = "0.1.0"
SENT, KEPT, FAILED, WRONG = 0, 1, 1, 2

SENSOR_NAME = r"(?!.*(//|\.\.|/\.(/|$)))[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}"
ATTEMPTS = 4  # once, and three times again: 1-Wire and DHT22 fail now and then on long wires
ATTEMPT_PAUSE_S = 0.5
COMMAND_TIMEOUT_S = 10

BATCH_READINGS = 500  # about 50 kB, far below the server's 1 MiB
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10, 30
ANSWER_MAX_BYTES, ANSWER_MAX_S = 1 << 18, 60  # a batch that is all rejected takes 100 kB
LASTS_ROUNDS, LASTS_MS = 3, 6 * 3_600_000  # trouble that ends sooner needs nobody
TELL_AGAIN_MS = 24 * 3_600_000
OTHER_RUN_MAX_MS = 3_600_000  # a long spool takes its time to send
RUNS_AT_ONCE = 2  # of a loop: one that senses, and one that is still sending

OFFSET_GOOD_FOR_MS = 6 * 3_600_000  # a crystal off by 50 ppm drifts a second in that time
OFFSET_IGNORED_MS = 2_000  # what a slow network can make of a right clock
AHEAD_MS = 10 * 60_000  # what the server takes of readings ahead of its clock
TOLD_SLACK_MS = 60_000  # two clocks may differ so much, and both be fit for use
FOREVER_MS = 1 << 62
YEAR_2020_MS = 1_577_836_800_000  # no server of ours is older: an earlier time is no time

LOCK_TIMEOUT_S = 30
REFUSED_MAX = 1_000
RESERVE_BYTES = 256 * 1024  # room for some 2,000 readings when the disk is full
APPLICATION_ID = 0x746D6F6E  # "tmon"
SCHEMA = """
CREATE TABLE readings (
  id INTEGER PRIMARY KEY, sensor TEXT NOT NULL, value REAL NOT NULL, unit TEXT,
  wall_ms INTEGER NOT NULL, monotonic_ms INTEGER NOT NULL, boot TEXT NOT NULL,
  told_ms INTEGER NOT NULL,  -- the last time that the server had told by then
  measured_ms INTEGER  -- NULL until settled, then for good
);
CREATE UNIQUE INDEX one_at_a_time ON readings (sensor, measured_ms);
CREATE INDEX unsettled ON readings (id) WHERE measured_ms IS NULL;
CREATE TABLE refused (
  id INTEGER PRIMARY KEY, sensor TEXT NOT NULL, value REAL NOT NULL, unit TEXT,
  measured_ms INTEGER NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE boots (
  boot TEXT PRIMARY KEY, offset_ms INTEGER NOT NULL, learned_monotonic_ms INTEGER NOT NULL
);
CREATE TABLE state (key TEXT PRIMARY KEY, value NOT NULL)
"""


class SetupError(Exception):
    """A person has to put this right; each argument is one problem, in words."""


class BadReading(ValueError):
    """A sensor answered, but not with a reading."""


class Kept(Exception):
    """The server didn't take the readings; they stay in the spool."""

    def __init__(self, reason: str, topic: str = "server") -> None:
        super().__init__(reason)
        self.topic = topic  # trouble of one topic is told together


# ---- words and times


def one_line(text: str, most: int = 200) -> str:
    """Anything from outside, fit for one line of a log."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:most]


def cause(error: BaseException) -> str:
    """The first cause in a chain, which names no objects in memory and so reads alike each time."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return one_line(f"{type(error).__name__}: {error}")


def at(ms: int) -> str:
    """Unix milliseconds as ISO 8601 in UTC."""
    return datetime.fromtimestamp(ms // 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def spread(most: float) -> float:
    """Anything up to ``most``, so that a thousand nodes don't act in the same second."""
    return random.uniform(0, most)  # noqa: S311 - no secret hangs on it


class Log:
    """Tells people, on stderr, one line each; quiet when all is well, as cron mails any output."""

    def __init__(self, *, verbose: bool, by_hand: bool) -> None:
        """``by_hand``: a person waits for the run, and wants to hear all of its trouble."""
        self.verbose = verbose
        self.everything = verbose or by_hand
        self.watched = by_hand or sys.stderr.isatty()

    def say(self, text: str) -> None:
        line = f"{at(time.time_ns() // 1_000_000)} {one_line(text, 500)}"
        with contextlib.suppress(OSError):  # such as a log file on a full disk
            print(line, file=sys.stderr, flush=True)

    def detail(self, text: str) -> None:
        if self.verbose:
            self.say(text)


# ---- the clock


@dataclass(frozen=True)
class Instant:
    """One moment by both clocks; ``monotonic_ms`` counts from the start of ``boot``."""

    wall_ms: int
    monotonic_ms: int
    boot: str
    synchronised: bool


class _Timex(ctypes.Structure):
    """The head of Linux's ``struct timex``, and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


class Clock:
    """This machine's clocks. A Pi has no battery: after a boot its wall clock may be far off."""

    # Suspend included; where that clock is missing, the plain one.
    _STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    _STA_UNSYNC = 0x0040

    def __init__(self) -> None:
        """Find out which boot this is; where nobody knows, each process is its own."""
        try:
            self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            self._boot = str(uuid.uuid4())

    def now(self) -> Instant:
        return Instant(
            wall_ms=time.time_ns() // 1_000_000,
            monotonic_ms=time.clock_gettime_ns(self._STEADY) // 1_000_000,
            boot=self._boot,
            synchronised=self._synchronised(),
        )

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def _synchronised(self) -> bool:
        """Whether the kernel says that NTP has set the clock; not knowing is no."""
        timex = _Timex()
        try:
            state = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
        except (OSError, AttributeError):
            return False
        return state >= 0 and not timex.status & self._STA_UNSYNC


# ---- senses


@dataclass(frozen=True)
class Reading:
    """One value at one moment, as the node's clocks had it."""

    sensor: str
    value: float
    unit: str | None
    instant: Instant


@dataclass(frozen=True)
class Probe:
    """A way to read one sensor: ``read`` returns the value in ``unit``, or raises."""

    sensor: str
    unit: str | None
    source: str
    read: Callable[[], float]
    attempts: int = ATTEMPTS

    def sense(self, clock: Clock) -> Reading:
        """The value and its moment; the last attempt's error if none succeeds."""
        for _ in range(self.attempts - 1):
            try:
                return Reading(self.sensor, self._value(), self.unit, clock.now())
            except (OSError, ValueError):
                clock.sleep(ATTEMPT_PAUSE_S)
        return Reading(self.sensor, self._value(), self.unit, clock.now())

    def _value(self) -> float:
        value = round(self.read(), 6)
        if not math.isfinite(value):
            raise BadReading(f"{value} is no number")
        if self.unit == "°C" and value < -273.15:
            raise BadReading(f"{value} °C is below absolute zero")
        return value


def probes(sysfs: Path, commands: Iterable[Probe] = ()) -> Iterator[Probe]:
    """Every sensor found under ``sysfs``, then the commands, each under a name of its own."""
    seen: Counter[str] = Counter()
    finders = (onewire_probes, thermal_probes, hwmon_probes, iio_probes)
    for probe in chain(*(finder(sysfs) for finder in finders), commands):
        seen[probe.sensor] += 1
        again = f":{seen[probe.sensor]}" if seen[probe.sensor] > 1 else ""
        yield replace(probe, sensor=probe.sensor + again)


def sensor_name(*parts: str) -> str:
    """The parts that aren't empty, joined by ``:``, in letters that the server takes."""
    clean = (re.sub(r"[^A-Za-z0-9_.-]+|\.\.+", "-", part).strip("-.") for part in parts)
    return ":".join(filter(None, clean))[:60]  # of 64, to leave room for a number


def content(path: Path, default: str = "") -> str:
    """A small file's text, or ``default`` where it can't be read."""
    try:
        return path.read_text().strip() or default
    except (OSError, ValueError):
        return default


def number(path: Path, factor: float = 1) -> float:
    """The number that a file holds, times ``factor``."""
    return float(path.read_text()) * factor


def address(chip: Path) -> str:
    """The I2C or SPI address a chip is wired to (``1-0076``, ``spi0.1``), else nothing.

    The numbers that the kernel gives (``hwmon3``) change from boot to boot; this doesn't, and a
    second chip of the same kind, wired in later, leaves the name of the first as it is.
    """
    places = (chip.resolve().parent.name, (chip / "device").resolve().name)
    return next((p for p in places if re.fullmatch(r"\d+-[0-9a-f]{4}|spi\d+\.\d+", p)), "")


def by_device(paths: Iterable[Path]) -> list[Path]:
    """Sorted by where the hardware is, not by the number the kernel gave it at this boot."""
    return sorted(paths, key=lambda path: (str((path / "device").resolve()), str(path)))


def onewire_probes(sysfs: Path) -> Iterator[Probe]:
    """DS18S20, DS1822, DS18B20, DS1825 or MAX31850, and DS28EA00, by their family codes."""
    for path in sorted(sysfs.glob("bus/w1/devices/*/w1_slave")):
        chip = path.parent.name
        if chip.split("-")[0] in {"10", "22", "28", "3b", "42"}:
            name = sensor_name("temperature", chip)
            yield Probe(name, "°C", str(path), partial(onewire_celsius, path))


def onewire_celsius(path: Path) -> float:
    """One conversion of a 1-Wire thermometer; takes the chip up to 750 ms."""
    return scratchpad_celsius(path.read_text())


def scratchpad_celsius(text: str) -> float:
    """Temperature from a 1-Wire thermometer's ``w1_slave`` text.

    Args:
        text: two lines, each with the scratchpad's bytes; the first ends in YES when the CRC
            held, the second in ``t=`` and thousandths of a degree.

    Returns:
        Degrees Celsius.

    Raises:
        BadReading: the CRC failed; nobody answered; or the chip lost its power and answered
            85.0 with byte 6 = 0x0c, where a measured 85.0 has 0x10 (DS18B20 datasheet, table 1
            and the scratchpad's reserved byte).
    """
    match = re.match(r"((?:[0-9a-f]{2} )+): crc=[0-9a-f]{2} YES\n.* t=(-?\d+)\s*$", text)
    if not match:
        raise BadReading("the CRC failed")
    scratchpad, celsius = bytes.fromhex(match[1]), int(match[2]) / 1000
    if len(set(scratchpad)) == 1:  # a line held low reads as zeros, whose CRC is right
        raise BadReading("no chip answered")
    if celsius == 85.0 and scratchpad[6:7] == b"\x0c":
        raise BadReading("85.0 °C is the value after power-on, not a measurement")
    if celsius == -127.0:
        raise BadReading("-127 °C stands for a lost chip, not a measurement")
    return celsius


def thermal_probes(sysfs: Path) -> Iterator[Probe]:
    """CPU and board, by the type of their thermal zone."""
    for zone in sorted(sysfs.glob("class/thermal/thermal_zone*")):
        name = sensor_name("temperature", content(zone / "type", zone.name))
        path = zone / "temp"
        yield Probe(name, "°C", str(path), partial(number, path, 0.001))


HWMON = (("temp", "temperature", "°C"), ("humidity", "humidity", "%"))  # both in thousandths


def hwmon_probes(sysfs: Path) -> Iterator[Probe]:
    """Chips of ``class/hwmon``, but for those that mirror a sensor found elsewhere."""
    zones = (content(path) for path in sysfs.glob("class/thermal/thermal_zone*/type"))
    mirrors = {"w1_slave_temp", "iio_hwmon"} | {zone.replace("-", "_") for zone in zones}
    for chip in by_device(sysfs.glob("class/hwmon/hwmon*")):
        model = content(chip / "name", "hwmon")
        if model.replace("-", "_") not in mirrors:
            yield from hwmon_chip_probes(chip, model)


def hwmon_chip_probes(chip: Path, model: str) -> Iterator[Probe]:
    """One chip's inputs, by their labels; its first needs none."""
    for kind, quantity, unit in HWMON:
        for path in sorted(chip.glob(f"{kind}*_input")):
            stem = path.name[: -len("_input")]
            label = content(chip / f"{stem}_label", "" if stem == f"{kind}1" else stem)
            name = sensor_name(quantity, model, address(chip), label)
            yield Probe(name, unit, str(path), partial(number, path, 0.001))


# The kernel's units are thousandths of a degree and of a percent, kilopascal, and lux
# (Documentation/ABI/testing/sysfs-bus-iio).
IIO = {
    "temp": ("temperature", "°C", 0.001),
    "humidityrelative": ("humidity", "%", 0.001),
    "pressure": ("pressure", "hPa", 10.0),
    "illuminance": ("illuminance", "lx", 1.0),
}
IIO_CHANNEL = re.compile(rf"in_({'|'.join(IIO)})(\w*)_(input|raw)")


def iio_probes(sysfs: Path) -> Iterator[Probe]:
    """Chips such as DHT22, BME280 and BH1750; a channel's finished value goes before its raw."""
    for chip in by_device(sysfs.glob("bus/iio/devices/iio:device*")):
        model = content(chip / "name", "iio")
        files = {path.name: path for path in sorted(chip.glob("in_*"))}
        for match in filter(None, map(IIO_CHANNEL.fullmatch, files)):
            kind, channel, form = match.groups()
            if form == "input" or f"in_{kind}{channel}_input" not in files:
                quantity, unit, factor = IIO[kind]
                name = sensor_name(quantity, model, address(chip), channel.strip("_"))
                path = files[match[0]]
                read = number if form == "input" else partial(iio_raw, kind=kind)
                yield Probe(name, unit, str(path), partial(read, path, factor))


def iio_raw(path: Path, factor: float, kind: str) -> float:
    """A raw value, with the offset and scale of its channel, else those of its kind."""

    def beside(suffix: str, default: float) -> float:
        names = (f"{path.name[: -len('_raw')]}_{suffix}", f"in_{kind}_{suffix}")
        paths = (path.with_name(name) for name in names)
        return next((number(path) for path in paths if path.exists()), default)

    return (number(path) + beside("offset", 0)) * beside("scale", 1) * factor


def command_probe(text: str) -> Probe:
    """``name:unit=shell command`` or ``name=shell command``, as a probe.

    Raises:
        ValueError: in words, if it isn't of that form.
    """
    head, _, command = text.partition("=")
    name, _, unit = head.strip().rpartition(":") if ":" in head else (head.strip(), "", "")
    if not command.strip() or not re.fullmatch(SENSOR_NAME, name):
        raise ValueError(f"command {text!r}: write it as name:unit=shell command")
    return Probe(name, unit or None, text, partial(command_value, command), attempts=1)


def command_value(command: str, timeout_s: float = COMMAND_TIMEOUT_S) -> float:
    """The one number that a shell command prints within ``timeout_s``."""
    with subprocess.Popen(  # noqa: S602 - a command line is what the user gave
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the shell's children hold its pipes open
            raise BadReading(f"took longer than {timeout_s} s") from None
    if process.returncode:
        raise BadReading(f"exit status {process.returncode}: {err.decode(errors='replace')}")
    try:
        return float(out)
    except ValueError:
        raise BadReading(f"no number: {out[:80].decode(errors='replace')!r}") from None


# ---- the spool


@dataclass(frozen=True)
class Settled:
    """A reading whose time is settled: what is sent, the same to the byte each time."""

    id: int
    sensor: str
    value: float
    unit: str | None
    measured_ms: int

    def as_json(self) -> dict[str, object]:
        wire = asdict(self)
        return {key: wire[key] for key in wire if key != "id" and wire[key] is not None}


@dataclass(frozen=True)
class Rejection:
    """Why the server won't have one reading of a batch."""

    index: int
    code: str
    reason: str


class Spool:
    """Owns the file in which readings wait, and what the client must remember between runs.

    Whatever a method has written is on the disk when it returns, or nothing of it is.

    Its journal is a rollback journal that stays (PERSIST). It costs an SD card little, as no
    directory is written; it holds its room on a full disk; with synchronous=FULL the end of a
    transaction is on the disk; and the WAL of SQLite before 3.51.3 can corrupt a file.
    """

    def __init__(self, path: Path, most: int = int(SPOOL_MAX), *, only_look: bool = False) -> None:
        """Open the file at ``path``, made where there is none; it keeps ``most`` readings.

        ``only_look``: for ``status`` alone, which needs no right to write.
        """
        self._most = most
        if only_look and not writable(path):
            self._db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=LOCK_TIMEOUT_S)
            return
        self._db = open_database(path)
        try:
            self._prepare(path)
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _prepare(self, path: Path) -> None:
        self._db.execute("PRAGMA journal_mode = PERSIST")
        self._db.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            if self._one("PRAGMA application_id") == APPLICATION_ID:
                return
            if self._one("SELECT count(*) FROM sqlite_master"):
                raise SetupError(f"{path} is another program's database: set TMON_SPOOL")
            for statement in SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self.remember("reserve", bytes(RESERVE_BYTES))
        with self._transaction():
            self.forget("reserve")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite itself rolls back when the disk is full
                self._db.execute("ROLLBACK")
            raise

    def _one(self, sql: str, *parameters: object) -> Any:
        row = self._db.execute(sql, parameters).fetchone()
        return row and row[0]

    # -- small things to remember

    def recall(self, key: str, default: Any = 0) -> Any:
        value = self._one("SELECT value FROM state WHERE key = ?", key)
        return default if value is None else value

    def remember(self, key: str, value: object) -> None:
        self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, value))

    def forget(self, *keys: str) -> None:
        self._db.executemany("DELETE FROM state WHERE key = ?", [(key,) for key in keys])

    # -- readings come in, and get their time

    def add(self, readings: Sequence[Reading]) -> int:
        """Keep the readings; returns how many old ones had to be thinned out for them."""
        with self._transaction():
            told_ms = self.recall("told_ms")
            for reading in readings:
                self._add(reading, told_ms)
            return self._thin()

    def _add(self, reading: Reading, told_ms: int) -> None:
        now = reading.instant
        cursor = self._db.execute(
            "INSERT INTO readings (sensor, value, unit, wall_ms, monotonic_ms, boot, told_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(reading.sensor, reading.value, reading.unit),
                *(now.wall_ms, now.monotonic_ms, now.boot, told_ms),
            ),
        )
        if now.synchronised and now.wall_ms >= told_ms - TOLD_SLACK_MS:
            self._settle(cursor.lastrowid, now.wall_ms)
        elif self.knows_time(now):
            self._settle(cursor.lastrowid, self._corrected_ms(now))

    def _settle(self, id_: int | None, measured_ms: int) -> None:
        """Fix a reading's time for good; a millisecond later where the sensor has one then."""
        sql = "UPDATE OR IGNORE readings SET measured_ms = ? WHERE id = ?"
        while not self._db.execute(sql, (measured_ms, id_)).rowcount:
            measured_ms += 1

    def _corrected_ms(self, then: Instant) -> int:
        """The time by the monotonic clock, if the wall clock was plainly wrong."""
        offset_ms = self._one("SELECT offset_ms FROM boots WHERE boot = ?", then.boot)
        true_ms = int(then.monotonic_ms + offset_ms)
        return true_ms if abs(true_ms - then.wall_ms) > OFFSET_IGNORED_MS else then.wall_ms

    def knows_time(self, now: Instant) -> bool:
        """Whether the server told the time in this boot, lately enough to go by it."""
        learned_ms = self._one("SELECT learned_monotonic_ms FROM boots WHERE boot = ?", now.boot)
        return learned_ms is not None and now.monotonic_ms - learned_ms < OFFSET_GOOD_FOR_MS

    def learn_time(self, now: Instant, offset_ms: int) -> None:
        """Note what the server's time was: ``offset_ms`` more than the monotonic clock."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO boots VALUES (?, ?, ?)",
                (now.boot, offset_ms, now.monotonic_ms),
            )
            self.remember("told_ms", now.monotonic_ms + offset_ms)
            self._db.execute(
                "DELETE FROM boots WHERE boot NOT IN"
                " (SELECT boot FROM readings WHERE measured_ms IS NULL UNION SELECT ?)",
                (now.boot,),
            )

    def settle(self, now: Instant) -> int:
        """Settle the times of up to a batch of readings; returns how many couldn't be.

        Those of this boot wait until the server has told the time. Those of an earlier boot that
        never learned it keep their wall clock, unless it was before the last time the server had
        told by then: such a time is surely wrong, and the reading is set aside.
        """
        with self._transaction():
            rows = self._db.execute(
                "SELECT id, wall_ms, monotonic_ms, boot, told_ms, boot IN (SELECT boot FROM boots)"
                " FROM readings WHERE measured_ms IS NULL AND (boot <> ? OR ?)"
                " ORDER BY id LIMIT ?",
                (now.boot, self.knows_time(now), BATCH_READINGS),
            ).fetchall()
            lost = []
            for id_, wall_ms, monotonic_ms, boot, told_ms, learned in rows:
                if learned:
                    then = Instant(wall_ms, monotonic_ms, boot, synchronised=False)
                    self._settle(id_, self._corrected_ms(then))
                elif wall_ms >= told_ms - TOLD_SLACK_MS:
                    self._settle(id_, wall_ms)
                else:
                    lost.append(id_)
            self._refuse([(id_, "unknown_time", "the clock was wrong then") for id_ in lost])
            return len(lost)

    def is_empty(self) -> bool:
        return not self._one("SELECT EXISTS (SELECT 1 FROM readings)")

    def waits_for_time(self) -> bool:
        """Whether readings are left that can't be sent before the server tells the time."""
        return bool(self._one("SELECT EXISTS (SELECT 1 FROM readings WHERE measured_ms IS NULL)"))

    def _thin(self) -> int:
        """Over the limit, drop every second reading of each sensor in the older half."""
        count = self._one("SELECT count(*) FROM readings")
        if count <= self._most:
            return 0
        return self._db.execute(
            "DELETE FROM readings WHERE id IN (SELECT id FROM"
            " (SELECT id, row_number() OVER (PARTITION BY sensor ORDER BY id) AS n"
            "  FROM (SELECT id, sensor FROM readings ORDER BY id LIMIT ?)) WHERE n % 2 = 0)",
            (count // 2,),
        ).rowcount

    # -- readings go out

    def batch(self, until_ms: int = FOREVER_MS) -> list[Settled]:
        """The oldest readings that can be sent; none that was measured after ``until_ms``."""
        rows = self._db.execute(
            "SELECT id, sensor, value, unit, measured_ms FROM readings"
            " WHERE measured_ms <= ? ORDER BY id LIMIT ?",
            (until_ms, BATCH_READINGS),
        )
        return [Settled(*row) for row in rows]

    def close_batch(
        self, batch: Sequence[Settled], rejections: Sequence[Rejection], now_ms: int, told_ms: int
    ) -> None:
        """The server has the batch, or won't ever: what it rejected is set aside."""
        with self._transaction():
            self._refuse([(batch[r.index].id, r.code, r.reason) for r in rejections])
            self._db.executemany("DELETE FROM readings WHERE id = ?", [(r.id,) for r in batch])
            self.remember("sent_ms", now_ms)
            if told_ms:
                self.remember("told_ms", told_ms)

    def _refuse(self, refusals: Sequence[tuple[int, str, str]]) -> None:
        self._db.executemany(
            "INSERT INTO refused (sensor, value, unit, measured_ms, code, reason)"
            " SELECT sensor, value, unit, coalesce(measured_ms, wall_ms), ?2, ?3"
            " FROM readings WHERE id = ?1",
            refusals,
        )
        self._db.executemany("DELETE FROM readings WHERE id = ?", [(r[0],) for r in refusals])
        if refusals:
            few = "DELETE FROM refused WHERE id <= (SELECT max(id) FROM refused) - ?"
            self._db.execute(few, (REFUSED_MAX,))

    # -- for people

    def status(self) -> Iterator[str]:
        """What a person wants to know, a line each."""
        count, oldest, newest = self._db.execute(
            "SELECT count(*), min(coalesce(measured_ms, wall_ms)),"
            " max(coalesce(measured_ms, wall_ms)) FROM readings"
        ).fetchone()
        yield f"kept      {count}" + (f", from {at(oldest)} to {at(newest)}" if count else "")
        sent_ms = self.recall("sent_ms")
        yield f"last sent {at(sent_ms) if sent_ms else 'never'}"
        yield f"refused   {self._one('SELECT count(*) FROM refused')}"
        for measured_ms, *words in self._db.execute(
            "SELECT measured_ms, sensor, value, coalesce(unit, ''), code, reason FROM refused"
            " ORDER BY id DESC LIMIT 5"
        ):
            yield f"          {at(measured_ms)} {' '.join(map(str, words))}"


def open_database(path: Path) -> sqlite3.Connection:
    """A connection to ``path``; SetupError where it can't be one, or this user can't write it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"the spool's folder can't be made: {error}: set TMON_SPOOL") from error
    for suffix in ("", "-journal", "-wal", "-shm", ".lock"):
        refuse_planted(Path(f"{path}{suffix}"))
    if not writable(path):
        raise SetupError(f"{path} can't be written: use sudo; is the disk read-only?")
    try:
        return sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None)
    except sqlite3.OperationalError as error:
        raise SetupError(f"{path} can't be opened as a spool: {error}: set TMON_SPOOL") from error


def writable(path: Path) -> bool:
    """Whether this user can write the spool, and its journal beside it."""
    return all(os.access(p, os.W_OK) for p in (path.parent, path) if p.exists())


def refuse_planted(path: Path) -> None:
    """SetupError if somebody else has put a link, a pipe or the like in a file's place.

    Run as root in a folder of another user's, we would write where that leads.
    """
    try:
        status = path.lstat()
    except OSError:
        return
    if not stat.S_ISREG(status.st_mode) and status.st_uid != os.geteuid():
        raise SetupError(f"{path} is no file, and another user's: remove it, or set TMON_SPOOL")


def is_corrupt(error: sqlite3.Error) -> bool:
    """Whether SQLite says ``not a database`` or ``malformed``: only those are a bare error."""
    return type(error) is sqlite3.DatabaseError


@contextlib.contextmanager
def sole_sender(spool: Path, wait: bool = False) -> Iterator[bool]:
    """Whether no other run is sending from this spool, nor will be until we are through."""
    # A file of its own: closing the database's would drop the locks that SQLite holds on it.
    with Path(f"{spool}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            with contextlib.suppress(OSError):
                os.utime(file.fileno())  # so that others see since when
            yield True


def sending_since_ms(spool: Path) -> int:
    """When the run that is sending from this spool began to; 0 if none is."""
    try:
        with Path(f"{spool}.lock").open() as file:
            begun_ms = int(os.fstat(file.fileno()).st_mtime * 1000)
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return begun_ms
    except OSError:
        pass
    return 0


def set_aside(path: Path, now_ms: int) -> Path | None:
    """Move a corrupt spool out of the way, and its journals; None if it isn't one (any more)."""
    with sole_sender(path, wait=True):
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)) as db:
                if db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]:
                    return None
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
        aside = Path(f"{path}.corrupt-{at(now_ms).replace(':', '')}")
        for suffix in ("-journal", "-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
        return aside


# ---- the server


@dataclass(frozen=True)
class Answer:
    """What came back, whoever sent it: a proxy or a café's login page answers too."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    def json(self) -> Any:
        """The body if it is JSON, else None."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def error(self) -> str:
        """The reason in tmon's words, where it is tmon that answered."""
        body = self.json()
        error = body.get("error") if isinstance(body, dict) else None
        return one_line(error) if isinstance(error, str) else ""

    def is_about_clocks(self) -> bool:
        """Whether readings are ahead of the server's clock, though not of this node's."""
        body = self.json()
        return self.status == 503 and isinstance(body, dict) and body.get("code") == "clock_differs"

    def told_ms(self) -> int:
        """The server's clock from the Date header, or 0."""
        try:
            return int(parsedate_to_datetime(self.headers.get("Date", "")).timestamp() * 1000)
        except (TypeError, ValueError):
            return 0

    def kept(self) -> Kept:
        """Why nothing was stored, and what to do about it."""
        reasons = [f"the server answered {self.status}", self.error() or HINTS.get(self.status)]
        if 300 <= self.status < 400:
            reasons += [f"it redirects to {self.headers.get('Location')}, which isn't followed"]
        # What ends by itself is one trouble, whatever stands in for the server meanwhile.
        ends = self.status >= 500 or self.status == 429
        return Kept("; ".join(filter(None, reasons)), "server" if ends else f"server {self.status}")


NEW_TOKEN = "on the server, `tmon token get NAME` prints the token to use"  # noqa: S105 - a hint
NOT_TMON = "it wasn't tmon that answered: is TMON_URL right, is there a login page in between?"
# For answers without a word from tmon, which says itself what to do.
HINTS = {
    **dict.fromkeys(range(200, 300), NOT_TMON),
    **dict.fromkeys((400, 404, 405, 413), NOT_TMON),
    **dict.fromkeys((401, 403), NEW_TOKEN),
}


def receipt(answer: Answer, count: int) -> list[Rejection]:
    """What the server rejected of a batch of ``count``; all else of it is stored.

    Raises:
        Kept: the answer isn't a receipt for just that batch.
    """
    try:
        body = answer.json()
        stored = whole(body["accepted"]) + whole(body["duplicates"])
        rejections = [
            Rejection(whole(r["index"]), words(r["code"]), words(r["error"]))
            for r in body["rejected"]
        ]
    except (KeyError, TypeError):
        raise Kept("the server answered 201 without a receipt") from None
    indexes = {rejection.index for rejection in rejections} & set(range(count))
    if not len(indexes) == len(rejections) == count - stored:
        raise Kept("the server answered 201 with a receipt for something else")
    return rejections


def whole(value: object) -> int:
    """The value if it counts something; TypeError if not."""
    if type(value) is int and value >= 0:
        return value
    raise TypeError(value)


def words(value: object) -> str:
    """The value if it is text, in one line; TypeError if not."""
    if isinstance(value, str):
        return one_line(value)
    raise TypeError(value)


class Server:
    """Speaks HTTP with tmon; raises Kept when nobody answers."""

    def __init__(self, settings: Settings, answer_max_s: float = ANSWER_MAX_S) -> None:
        """Load requests, which takes the most of a run's time: only where there is a need."""
        try:
            import requests  # noqa: PLC0415 - see above
        except ImportError:
            raise SetupError("requests is missing: sudo apt install python3-requests") from None
        self._settings = settings
        self._answer_max_s = answer_max_s
        self._connection_error = requests.ConnectionError
        self._answered = False  # so the next request goes over a connection that was left open
        self._session = requests.Session()
        self._session.auth = self._sign  # else requests would look into ~/.netrc
        self._session.headers["User-Agent"] = f"tmon-client/{VERSION}"

    def close(self) -> None:
        self._session.close()

    def _sign(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._settings.token}"
        return request

    def post(self, batch: Sequence[Settled], now: Instant) -> Answer:
        """Hand a batch over. The Date header lets the server see how far off our clock is."""
        body = {"node": self._settings.node, "readings": [r.as_json() for r in batch]}
        return self._ask(
            "POST",
            "/readings",
            data=json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                "Date": formatdate(now.wall_ms / 1000, usegmt=True),
            },
        )

    def time_ms(self) -> int:
        """The server's time; Kept where it isn't tmon that answers."""
        answer = self._ask("GET", "/healthz")
        if answer.status >= 300:
            raise answer.kept()
        body = answer.json()
        time_ms = body.get("time_ms") if isinstance(body, dict) else None
        if type(time_ms) is not int or time_ms < YEAR_2020_MS or body.get("status") != "ok":
            raise Kept(f"this clock isn't set, and /healthz doesn't tell the time: {NOT_TMON}")
        return time_ms

    def _ask(self, method: str, path: str, **options: Any) -> Answer:
        """The answer to one request; Kept if it isn't there, whole, within ``answer_max_s``.

        A thread does the work, and is left behind where it takes too long: only so is there one
        limit for the name's look-up, the connection, a proxy, TLS and every byte of the answer,
        and only so can a signal end the run meanwhile.
        """
        outcome: SimpleQueue[Answer | Exception] = SimpleQueue()

        def exchange() -> None:
            try:
                outcome.put(self._exchange(method, path, **options))
            except Exception as error:
                outcome.put(error)

        threading.Thread(target=exchange, daemon=True).start()
        try:
            answer = outcome.get(timeout=self._answer_max_s)
        except Empty:
            late = f"took longer than {self._answer_max_s:g} s to answer"
            raise Kept(f"{self._settings.url} {late}") from None
        if isinstance(answer, (OSError, ValueError)):  # all that requests raises is one
            raise Kept(f"{self._settings.url} can't be reached: {cause(answer)}") from answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _exchange(self, method: str, path: str, **options: Any) -> Answer:
        """One request, and once more where the server had closed the connection between two."""
        try:
            answer = self._request(method, path, **options)
        except self._connection_error:
            if not self._answered:
                raise
            answer = self._request(method, path, **options)
        self._answered = True
        return answer

    def _request(self, method: str, path: str, **options: Any) -> Answer:
        with self._session.request(
            method,
            self._settings.url + path,
            allow_redirects=False,
            stream=True,
            timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            verify=self._settings.ca_file or True,
            **options,
        ) as response:
            # Byte by byte: a larger read could hold more than the limit once it is decoded.
            body = b"".join(islice(response.iter_content(1), ANSWER_MAX_BYTES))
            return Answer(response.status_code, body, response.headers)


# ---- sending


class Sender:
    """Empties the spool into the server; whatever isn't acknowledged stays."""

    def __init__(self, spool: Spool, server: Server, clock: Clock, news: News) -> None:
        self._spool = spool
        self._server = server
        self._clock = clock
        self._news = news
        self._until_ms = FOREVER_MS  # readings measured later wait until the clocks agree
        self._differs: Kept | None = None  # what the server said of them
        self.stored = self.refused = 0  # how many readings, so far

    def send(self) -> None:
        """Send all that can be sent, or raise Kept."""
        while True:
            while batch := self._next_batch():
                self._deliver(batch)
            if not self._spool.waits_for_time():
                break
            self._learn_time()
        if self._differs:
            raise self._differs

    def _next_batch(self) -> list[Settled]:
        while lost := self._spool.settle(self._clock.now()):
            line = f"{lost} readings of an earlier boot have no known time: set aside as refused"
            self._news.tell("unknown_time", line, at_once=True)
        return self._spool.batch(self._until_ms)

    def _learn_time(self) -> None:
        """Ask the server for the time, taken to be halfway between asking and answer."""
        before = self._clock.now()
        time_ms = self._server.time_ms()
        after = self._clock.now()
        offset_ms = time_ms - (before.monotonic_ms + after.monotonic_ms) // 2
        self._spool.learn_time(after, offset_ms)

    def _deliver(self, batch: Sequence[Settled]) -> None:
        answer = self._server.post(batch, self._clock.now())
        # Only tmon's own 400 or 413 is about the readings. A proxy's 400 would be about all of
        # them; its 413 is about their number, down to the last, which is then no fault of its own.
        unfit = bool(answer.status in {400, 413} and answer.error())
        if answer.status == 201:
            self._close(batch, receipt(answer, len(batch)), answer.told_ms())
        elif (unfit or answer.status == 413) and len(batch) > 1:
            self._deliver(batch[: len(batch) // 2])
            self._deliver(batch[len(batch) // 2 :])
        elif unfit:
            self._close(batch, [Rejection(0, str(answer.status), answer.error())])
        elif answer.is_about_clocks() and self._hold_back(batch, answer.told_ms() + AHEAD_MS):
            self._differs = answer.kept()
        else:
            raise answer.kept()

    def _hold_back(self, batch: Sequence[Settled], until_ms: int) -> bool:
        """Send only what was measured by then; whether the batch had anything later."""
        self._until_ms = until_ms
        return any(reading.measured_ms > until_ms for reading in batch)

    def _close(
        self, batch: Sequence[Settled], rejections: Sequence[Rejection], told_ms: int = 0
    ) -> None:
        self._spool.close_batch(batch, rejections, self._clock.now().wall_ms, told_ms)
        self.stored += len(batch) - len(rejections)
        self.refused += len(rejections)
        for rejection in rejections:
            what = f"{batch[rejection.index].sensor} ({rejection.code})"
            line = f"the server refused {what}: {rejection.reason}"
            self._news.tell(f"refused {what}", line, at_once=True)


@dataclass(frozen=True)
class Trouble:
    """What is wrong, since when, for how many runs (0: it is over), and when it was told."""

    line: str
    since_ms: int
    rounds: int
    told_ms: int


class News:
    """Tells of trouble when it lasts, then once a day, and when it is over.

    What the next run has to know stands in a small file beside the spool; where that can't be
    written, in a folder that is kept in memory.
    """

    def __init__(self, spool: str, memory: str, clock: Clock, log: Log) -> None:
        name = f"tmon-client-{os.geteuid()}-{crc32(spool.encode()):08x}.news"
        folders = (memory, "/dev/shm", "/tmp")  # noqa: S108 - see open_own
        self._files = [Path(folder, name) for folder in folders]
        if not spool.startswith("~"):  # of a user without a home
            self._files.insert(0, Path(f"{spool}.news"))
        self._clock = clock
        self._log = log
        self._noted = self._read()
        self._troubles = dict(self._noted)
        self._in_this_run: dict[str, str] = {}  # by topic, what has not been said

    def tell(self, topic: str, line: str, *, at_once: bool = False, since_ms: int = 0) -> None:
        """This run met trouble.

        Args:
            topic: what it is about, such as a sensor. Only the same topic is the same trouble, so
                nothing that varies from run to run may be in it.
            line: what to say.
            at_once: for what happens once, or needs a person: it is told before it lasts.
            since_ms: when it began, if that is known to be before this run.
        """
        if topic in self._in_this_run:
            return
        now_ms = self._clock.now().wall_ms
        old = self._troubles.get(topic) or Trouble(line, 0, 0, 0)
        since_ms = old.since_ms if old.rounds else since_ms or now_ms
        rounds = min(old.rounds + 1, LASTS_ROUNDS)
        lasts = rounds == LASTS_ROUNDS or now_ms - since_ms >= LASTS_MS
        due = (lasts or at_once or self._log.watched) and abs(now_ms - old.told_ms) >= TELL_AGAIN_MS
        if due or self._log.everything:
            self._log.say(f"{line} (since {at(since_ms)})" if old.rounds else line)
            self._in_this_run[topic] = ""
            self._troubles[topic] = Trouble(line, since_ms, rounds, now_ms)
        else:
            self._in_this_run[topic] = line
            line = old.line if old.rounds else line  # a file that doesn't change isn't written
            self._troubles[topic] = Trouble(line, since_ms, rounds, old.told_ms)

    def unexpected(self, error: Exception) -> None:
        """A fault of ours, or of the machine: one line, and with --verbose its traceback."""
        self.tell("failed", f"failed: {type(error).__name__}: {error}")
        if self._log.verbose:
            traceback.print_exception(type(error), error, error.__traceback__)

    def is_over(self, topic: str, line: str = "") -> None:
        """Trouble of this topic, and of "topic …", has ended; this is said if the trouble was."""
        for name, old in self._troubles.items():
            ended = name == topic or name.startswith(f"{topic} ")
            if ended and old.rounds and name not in self._in_this_run:
                if old.told_ms >= old.since_ms:
                    self._log.say(f"over: {line or old.line}")
                # It is remembered, so that what comes and goes is told once a day.
                self._troubles[name] = replace(old, rounds=0)

    def status(self) -> Iterator[str]:
        """What is wrong, and since when, a line each."""
        for trouble in sorted(self._troubles.values(), key=lambda trouble: trouble.since_ms):
            if trouble.rounds:
                yield f"trouble   since {at(trouble.since_ms)}: {trouble.line}"

    def close(self) -> None:
        """Note what the next run has to know; where that fails, say all."""
        if self._troubles == self._noted:
            return
        text = json.dumps({topic: astuple(trouble) for topic, trouble in self._troubles.items()})
        for place, path in enumerate(self._files):
            with contextlib.suppress(OSError):
                with open_own(path, "w") as file:
                    file.write(text)
                    file.truncate()
                for stale in self._files[place + 1 :]:
                    with contextlib.suppress(OSError):
                        stale.unlink()
                return
        for line in filter(None, self._in_this_run.values()):
            self._log.say(line)

    def _read(self) -> dict[str, Trouble]:
        """What was noted, less what nobody has met for two days."""
        now_ms = self._clock.now().wall_ms
        for path in reversed(self._files):  # a later one is there while no earlier can be written
            with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
                with open_own(path, "r") as file:
                    noted = json.load(file).items()
                troubles = {
                    topic: Trouble(line, *map(int, times)) for topic, (line, *times) in noted
                }
                return {
                    topic: trouble
                    for topic, trouble in troubles.items()
                    if abs(now_ms - max(trouble.since_ms, trouble.told_ms)) < 2 * TELL_AGAIN_MS
                }
        return {}


def open_own(path: Path, mode: str) -> IO[str]:
    """Open a plain file of this user's, or of the folder's owner's; OSError if it isn't one.

    In /tmp anybody may have put a link, a pipe or a file of theirs in its place. What is there
    is not cut off at once, so that it can be written over on a full disk.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, (flags | os.O_NOFOLLOW | os.O_NONBLOCK) & ~os.O_TRUNC, 0o644)

    file = open(path, mode, opener=opener)  # noqa: SIM115 - Path's takes no opener
    found = os.fstat(file.fileno())
    owners = {os.geteuid(), path.parent.stat().st_uid}
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid in owners:
        return file
    file.close()
    raise PermissionError(path)


# ---- the node


@dataclass(frozen=True)
class Sensed:
    """What all sensors said at one round: readings, and what went wrong, by sensor."""

    readings: list[Reading]
    failures: dict[str, str]


def sense(settings: Settings, clock: Clock) -> Sensed:
    """Ask every sensor once; one that fails doesn't stop the others."""
    sensed = Sensed([], {})
    for probe in probes(settings.sysfs, settings.commands):
        try:
            sensed.readings.append(probe.sense(clock))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            sensed.failures[probe.sensor] = f"{probe.sensor}: {probe.source}: {reason}"
    return sensed


class Client:
    """One node: senses, keeps, sends."""

    def __init__(self, settings: Settings, clock: Clock, log: Log, news: News) -> None:
        self._settings = settings
        self._clock = clock
        self._log = log
        self._news = news
        self._lost_some = False

    def once(self) -> int:
        """Sense, keep and send; returns the exit status."""
        sensed = sense(self._settings, self._clock)
        status = self._anew_if_corrupt(lambda: self._keep(sensed))
        return status if self._settings.strict or self._lost_some else SENT

    def _anew_if_corrupt(self, work: Callable[[], int]) -> int:
        """Do the work; if the spool turns out to be corrupt, do it again with a new one."""
        try:
            return work()
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
            aside = set_aside(self._settings.spool, self._clock.now().wall_ms)
            if aside:
                line = f"the spool is corrupt ({error}): now {aside}; a new one is begun"
                self._news.tell("corrupt spool", line, at_once=True)
        return work()

    def _open(self) -> Spool:
        return Spool(self._settings.spool, self._settings.spool_max)

    def _keep(self, sensed: Sensed) -> int:
        """Keep the readings, then send; also on a full disk, as sending is what makes room."""
        try:
            spool = self._open()
        except sqlite3.OperationalError as error:
            return self._lost(sensed, error)
        with spool:
            return max(self._add(spool, sensed), self._send(spool))

    def _add(self, spool: Spool, sensed: Sensed) -> int:
        news = self._news
        for sensor, line in sensed.failures.items():
            news.tell(f"sensor {sensor}", line)
        for reading in sensed.readings:
            news.is_over(f"sensor {reading.sensor}")
        if sensed.readings or sensed.failures:
            news.is_over("no sensor")
        else:
            news.tell("no sensor", f"no sensor found under {self._settings.sysfs}: see --command")
        try:
            if thinned := spool.add(sensed.readings):
                line = f"the spool is full: {thinned} old readings were thinned out"
                news.tell("thinned", line, at_once=True)
        except sqlite3.OperationalError as error:
            return self._lost(sensed, error)
        news.is_over("spool")
        return SENT

    def _lost(self, sensed: Sensed, error: sqlite3.OperationalError) -> int:
        count = len(sensed.readings)
        line = f"{count} readings can't be kept in {self._settings.spool}: {error}"
        self._news.tell("spool", line, at_once=True)
        self._lost_some = True
        return KEPT

    def _send(self, spool: Spool) -> int:
        if spool.is_empty():
            return SENT
        if wait_s := spread(self._settings.jitter_s):
            self._log.detail(f"waiting {wait_s:.0f} s, as not all nodes are to send at once")
            self._clock.sleep(wait_s)
        with sole_sender(self._settings.spool) as sole:
            if sole:
                self._news.is_over("another run")
                return self._empty(spool)
        return self._leave_to_other_run()

    def _leave_to_other_run(self) -> int:
        now = self._clock.now()
        since_ms = sending_since_ms(self._settings.spool) or now.wall_ms
        # No run is older than the boot, whatever the clock was when it began.
        age_ms = max(0, min(now.wall_ms - since_ms, now.monotonic_ms))
        line = f"another run is sending, for {age_ms // 60_000} min: the readings are left to it"
        if age_ms >= OTHER_RUN_MAX_MS:
            self._news.tell("another run", line, at_once=True)
        elif self._log.everything:
            self._log.say(line)
        return KEPT

    def _empty(self, spool: Spool) -> int:
        with contextlib.closing(Server(self._settings)) as server:
            sender = Sender(spool, server, self._clock, self._news)
            try:
                sender.send()
            except Kept as kept:
                line = f"{kept}; the readings are kept and sent later"
                self._news.tell(kept.topic, line, since_ms=spool.recall("sent_ms"))
                return KEPT
            except sqlite3.DatabaseError as error:
                if is_corrupt(error):
                    raise
                self._news.unexpected(error)
                return KEPT
        self._news.is_over("server", "the server takes the readings again")
        refused = f"; it refused {sender.refused}" if sender.refused else ""
        self._log.detail(f"sent {sender.stored} readings to {self._settings.url}{refused}")
        return SENT


# ---- settings and the command line


@dataclass(frozen=True)
class Settings:
    """What a person decides; made by ``parse``, so that what is here is fit for use."""

    url: str
    token: str = field(repr=False)
    node: str
    sysfs: Path
    spool: Path
    spool_max: int
    jitter_s: float
    ca_file: str
    commands: tuple[Probe, ...]
    loop_s: float
    strict: bool

    @classmethod
    def parse(cls, args: argparse.Namespace) -> Settings:
        """Check everything.

        Raises:
            SetupError: with all problems, not only the first.
        """
        sends = not args.print and not args.status
        checks: dict[str, Callable[[], object]] = {
            "url": lambda: parse_url(args.url) if sends else "",
            "token": lambda: parse_token(args.token) if sends else "",
            "node": lambda: args.node or node_of(args.token) if sends else "",
            "sysfs": lambda: Path(args.sysfs),
            "spool": lambda: parse_spool(args.spool, needed=not args.print),
            "spool_max": lambda: int(parse_number(args.spool_max, "TMON_SPOOL_MAX", 2)),
            "jitter_s": lambda: parse_number(args.jitter_s, "TMON_JITTER_S", 0),
            "ca_file": lambda: parse_ca_file(args.ca_file),
            "commands": lambda: tuple(
                map(command_probe, args.command or filter(str.strip, args.commands))
            ),
            "loop_s": lambda: parse_number(args.loop, "--loop", 0.1) if args.loop else 0,
            "strict": lambda: args.strict,
        }
        values: dict[str, Any] = {}
        problems = []
        for name, check in checks.items():
            try:
                values[name] = check()
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise SetupError(*problems)
        return cls(**values)


def parse_url(text: str) -> str:
    """The server's address, without a slash or the path of its readings at its end."""
    if not text:
        raise ValueError("no server: set TMON_URL, such as http://192.168.1.10:13117")
    if "@" in text:
        raise ValueError("TMON_URL holds a user name or password: tmon needs its token only")
    if not re.fullmatch(r"https?://([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?(/[^\s?#]*)?", text):
        raise ValueError(f"TMON_URL {text!r} isn't like http://192.168.1.10:13117")
    return re.sub("(/+readings)?/*$", "", text)


def parse_token(text: str) -> str:
    """The token; no message ever shows it."""
    if not text:
        raise ValueError("no token: set TMON_TOKEN to what `tmon token get NAME` prints")
    if not re.fullmatch(r"[!-~]+", text.strip()):
        raise ValueError("TMON_TOKEN has spaces or strange letters in it: copy it again")
    return text.strip()


def node_of(token: str) -> str:
    """The name in ``tmon_<name>.<uid>.<generation>.<signature>``."""
    match = re.fullmatch(r"tmon_([^.]+)(\.[^.]+){3}", token.strip())
    if token and not match:
        raise ValueError("TMON_TOKEN isn't a whole token, which names the node: copy it again")
    return match[1] if match else ""


def parse_number(text: str, name: str, least: float) -> float:
    """A finite number that isn't less than ``least``."""
    with contextlib.suppress(ValueError):
        if math.isfinite(number_ := float(text)) and number_ >= least:
            return number_
    raise ValueError(f"{name} {text!r} isn't a number of at least {least}")


def parse_spool(text: str, needed: bool) -> Path:
    """The spool's whole path."""
    path = os.path.expanduser(text)  # noqa: PTH111 - pathlib's raises, each version another error
    if needed and path.startswith("~"):
        raise ValueError(f"{text}: this user has no home folder: set TMON_SPOOL")
    return Path(path).absolute()


def parse_ca_file(text: str) -> str:
    """A file of certificates that can be read, or nothing."""
    if text and not os.access(text, os.R_OK):
        raise ValueError(f"TMON_CA_FILE {text!r} can't be read")
    return text


# Where root's cron keeps its spool, and our systemd unit.
SERVICE_SPOOLS = ("/var/lib/tmon/spool.db", "/var/lib/tmon-client/spool.db")


def default_spool(to_look: bool) -> str:
    """Where services keep their state, for root, and where a person's programs do, for others.

    ``to_look``: where this user has no spool, the one that a service fills.
    """
    own = f"{os.environ.get('XDG_STATE_HOME') or '~/.local/state'}/tmon/spool.db"
    own = SERVICE_SPOOLS[0] if os.geteuid() == 0 else os.path.expanduser(own)  # noqa: PTH111
    return next(filter(os.path.exists, (own, *SERVICE_SPOOLS)), own) if to_look else own


EXAMPLES = """
examples:
  client.py --print                      what do the sensors say?
  client.py --jitter-s 0 --verbose       send at once, and show what happens
  client.py --command 'load:1=cut -d" " -f1 /proc/loadavg' --command 'door=cat /run/door'
  client.py --loop 60                    every minute, until it is stopped
"""

COMMAND_HELP = "a shell command that prints one number; repeatable [TMON_COMMANDS, one a line]"


SETTINGS = (
    ("url", URL, "the server, such as http://192.168.1.10:13117"),
    ("token", TOKEN, "the node's token; given as a flag, all users here can see it in ps"),
    ("node", "", argparse.SUPPRESS),  # the token has it; goes with the next release
    ("sysfs", "/sys", argparse.SUPPRESS),  # for tests
    ("spool", SPOOL, "the file in which readings wait"),
    ("spool-max", SPOOL_MAX, "readings to keep before old ones are thinned out"),
    ("jitter-s", JITTER_S, "send up to so many seconds later, at random"),
    ("ca-file", CA_FILE, "certificates to trust for https"),
)


def parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    """The command line; its defaults are the environment, then the settings at the top."""
    made = argparse.ArgumentParser(
        prog="client.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, default, text in SETTINGS:
        variable = f"TMON_{name.upper().replace('-', '_')}"
        value = environ.get(variable) or default
        shown = text if text == argparse.SUPPRESS else f"{text} [{variable}]"
        made.add_argument(f"--{name}", default=value, help=shown)
    commands = environ.get("TMON_COMMANDS") or COMMANDS
    made.set_defaults(
        commands=commands.splitlines() if isinstance(commands, str) else commands,
        memory=environ.get("RUNTIME_DIRECTORY") or "/run",
    )
    made.add_argument("--command", action="append", metavar="NAME:UNIT=COMMAND", help=COMMAND_HELP)
    mode = made.add_mutually_exclusive_group()
    mode.add_argument("--loop", metavar="SECONDS", help="start a run every so many seconds")
    mode.add_argument("--print", action="store_true", help="show the readings, send nothing")
    mode.add_argument("--status", action="store_true", help="show what is kept, ask nobody")
    made.add_argument("--strict", action="store_true", help="exit status 1 if readings are kept")
    made.add_argument("--verbose", action="store_true", help="tell all, and at once")
    made.add_argument("--version", action="version", version=VERSION)
    return made


def print_readings(settings: Settings, clock: Clock, log: Log) -> int:
    """Show what the sensors say, as a table."""
    sensed = sense(settings, clock)
    width = max((len(reading.sensor) for reading in sensed.readings), default=0)
    for reading in sensed.readings:
        print(f"{reading.sensor:<{width}}  {reading.value:>10} {reading.unit or ''}".rstrip())
    for line in sensed.failures.values():
        log.say(line)
    if not sensed.readings:
        log.say(f"no readings from {settings.sysfs}: see --command in --help")
    return SENT if sensed.readings else KEPT


def print_status(spool: Path, news: News) -> int:
    """Show what waits in the spool, and why."""
    print(f"spool     {spool}")
    if not os.path.exists(spool):  # noqa: PTH110 - pathlib's raises in a folder of others
        print("kept      0: there is no such file yet")
    else:
        with Spool(spool, only_look=True) as opened:
            print(*opened.status(), sep="\n")
    if since_ms := sending_since_ms(spool):
        print(f"sending   another run is at it, since {at(since_ms)}")
    for line in news.status():
        print(line)
    return SENT


def loop(settings: Settings, argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Start a run on each beat, in a process of its own: none holds up what the next one senses.

    It ends when it is stopped, or when a run finds that it is set up wrong.
    """
    command = [sys.executable, __file__, *argv, "--loop=", "--jitter-s=0"]
    first = ["--verbose"] if sys.stderr.isatty() else []  # whoever has started it sees how it goes
    time.sleep(spread(min(settings.jitter_s, settings.loop_s)))
    due_s = time.monotonic()
    runs: list[subprocess.Popen[bytes]] = []
    try:
        while WRONG not in {run.returncode for run in runs}:
            if len(runs) < RUNS_AT_ONCE:
                # In a session of its own: Ctrl-C is for the loop, which then ends its runs.
                runs.append(
                    subprocess.Popen(  # noqa: S603
                        [*command, *first], env=dict(environ), start_new_session=True
                    )
                )
                first = []
            due_s = max(due_s + settings.loop_s, time.monotonic())
            time.sleep(max(0, due_s - time.monotonic()))
            runs = [run for run in runs if run.poll() in {None, WRONG}]
    except KeyboardInterrupt:
        return SENT
    finally:
        for run in runs:
            run.terminate()
            run.wait()
    return WRONG


def run(args: argparse.Namespace, clock: Clock, log: Log, news: News) -> int:
    """Do what the command line asks for; returns the exit status."""
    settings = Settings.parse(args)
    if args.print:
        return print_readings(settings, clock, log)
    if args.status:
        return print_status(settings.spool, news)
    if settings.loop_s:
        return loop(settings, args.argv, args.environ)
    if args.node:
        line = "--node goes with the next release: the token has the node's name"
        news.tell("--node", line, at_once=True)
    status = Client(settings, clock, log, news).once()
    news.is_over("setup")
    news.is_over("failed")
    return status


def main(
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
) -> int:
    """Run the client; all but the command line's defaults can be handed in."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where it writes ASCII, which has no °
    argv = sys.argv[1:] if argv is None else argv
    environ = os.environ if environ is None else environ
    clock = clock or Clock()
    args = parser(environ).parse_args(argv, argparse.Namespace(argv=argv, environ=environ))
    args.spool = args.spool or default_spool(to_look=args.status)
    asks = args.print or args.status
    by_hand = asks or (sys.stderr.isatty() and args.loop is None)
    log = Log(verbose=args.verbose, by_hand=by_hand)
    news = News(os.path.expanduser(args.spool), args.memory, clock, log)  # noqa: PTH111
    try:
        status = run(args, clock, log, news)
    except SetupError as error:
        for place, problem in enumerate(error.args):
            news.tell(f"setup {place}", problem, at_once=True)
        status = WRONG
    except Exception as error:
        news.unexpected(error)
        status = FAILED
    if not asks:
        news.close()
    return status


if __name__ == "__main__":
    # A run may be cut off at any moment: what isn't acknowledged is sent again.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    exit_status = FAILED
    with contextlib.suppress(KeyboardInterrupt, OSError):
        exit_status = main()
        print(end="", flush=True)
    os._exit(exit_status)  # a thread that waits for an answer is not waited for
