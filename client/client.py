#!/usr/bin/env python3
# /// script
# requires-python = ">=3.9"
# dependencies = ["requests"]
# ///
"""tmon's client: reads the sensors of this machine, and sends the readings to the server.

A reading is on disk before it is sent, and stays there until the server says that it is stored.
Its time is settled once, before it is first sent. So the client may be killed at any moment:
nothing is lost, and nothing is stored twice.

    client.py                reads and sends once: for cron, or a systemd timer
    client.py --loop 60      starts such a run every 60 seconds, until it is stopped
    client.py --print        shows what the sensors say, sends nothing
    client.py --status       shows what is kept, what is wrong, and since when
    client.py --retry-refused    sends also what was refused

Exit status: 0 all was sent, or is safely kept; 2 set up wrong: a person is needed; 1 it failed or
was stopped, or, with --strict, readings are kept for later or another run is sending them.

Trouble is reported on stderr when it lasts (three runs, or six hours without sending), then once
a day, and when it is over; at a terminal, or with --verbose, at once.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import fcntl
import io
import json
import math
import os
import pickle
import random
import re
import selectors
import signal
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
import threading
import time
import traceback
import uuid
import warnings
from collections import Counter, defaultdict, deque
from dataclasses import asdict, astuple, dataclass, field, replace
from datetime import datetime, timezone
from email.utils import formatdate, parsedate_to_datetime
from functools import partial
from itertools import chain, islice
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, Any, NoReturn, Union
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    Key = tuple[int, int]  # where an outcome stands among the others: group, then place in it
    # A reading; or a sensor's name and why it has no reading; or something found but not read.
    Outcome = Union["Reading", tuple[str, str], str]

# Settings. A flag goes before the environment, and the environment before these.
URL = ""  # TMON_URL, such as http://192.168.1.10:13117
TOKEN = ""  # TMON_TOKEN, from `tmon token get NAME` on the server
SPOOL = ""  # TMON_SPOOL; empty: see default_spool
SPOOL_MAX = "500000"  # TMON_SPOOL_MAX, in readings: about 60 MB, ten sensors a minute for a month
JITTER_S = "20"  # TMON_JITTER_S
CA_FILE = ""  # TMON_CA_FILE
COMMANDS: Sequence[str] = []  # TMON_COMMANDS, one a line, such as "load:1=cut -c1-4 /proc/loadavg"
HEALTH = False  # TMON_HEALTH: also this machine's disk, memory, load, uptime and Wi-Fi

VERSION = "0.1.0"
SENT, KEPT, FAILED, WRONG = 0, 1, 1, 2

SENSOR_NAME = r"(?!.*(//|\.\.|/\.(/|$)))[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}"
ATTEMPTS = 4  # once, and three times again: 1-Wire and DHT22 fail now and then on long wires
ATTEMPT_PAUSE_S = 0.5
RETRY_FOR_S = 4  # a chip that takes longer to fail has tried by itself
GIVE_UP_S = 12  # unless good values go on coming; the slowest chip takes a second
THREADS = 64  # started at once, and again when none of them has finished for STALL_S
STALL_S = 0.25
UNLISTED_MAX = 20  # devices that are reported one by one
COMMAND_TIMEOUT_S = 10
FILE_MAX_BYTES = 1 << 16  # the kernel's files have a page

BATCH_READINGS = 500  # about 50 kB, far below the server's 1 MiB
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10, 30
ANSWER_MAX_BYTES, ANSWER_MAX_S = 1 << 18, 60  # a batch that is all rejected takes 100 kB
# The longest wait beside other threads. A signal that comes while Python switches threads is
# noticed by the next line of Python: it doesn't end a wait that begins just then.
SIGNAL_CHECK_S = 0.5
LASTING_RUNS, LASTING_MS = 3, 6 * 3_600_000  # trouble that ends sooner needs nobody
REPORT_AGAIN_MS, FORGET_MS = 24 * 3_600_000, 48 * 3_600_000
OTHER_RUN_MAX_MS = 3_600_000  # a long spool takes its time to send
RUNS_AT_ONCE = 2  # of a loop: one that reads sensors, and one that is still sending

OFFSET_GOOD_FOR_MS = 6 * 3_600_000  # a crystal off by 50 ppm drifts a second in that time
OFFSET_IGNORED_MS = 2_000  # what a slow network can make of a right clock
AHEAD_MS = 10 * 60_000  # how far ahead of its clock the server accepts readings
CLOCK_SLACK_MS = 60_000  # two clocks may differ so much, and both be fit for use
DRIFT = 10_000  # a crystal is off by no more than one part in so many
FOREVER_MS = 1 << 62
YEAR_2020_MS = 1_577_836_800_000  # no server of ours is older: an earlier time is no time

LOCK_TIMEOUT_S = 30
REFUSED_MAX = 1_000
RESERVE_BYTES = 256 * 1024  # room for some 2,000 readings when the disk is full
IDENTITY = ("id", "sensor", "boot", "monotonic_ms")  # identifies a reading
UNWRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EIO}
UNWRITABLE |= {errno.ENODEV, errno.ENXIO, errno.ENOMEDIUM, errno.ENOTCONN, errno.ESTALE}
UNWRITABLE |= {errno.EREMOTEIO, errno.EUCLEAN, errno.ETIMEDOUT}  # the disk is gone, or dying
MEMORY_MAX = 20_000  # readings kept in memory while the spool can't be written: about 3 MB
BORROW_MAX = 1_000  # readings copied at once from a spool that can't be written
MEMORY = ("/dev/shm", "/tmp")  # noqa: S108 - only folders of our own in them are used
THIS_RUN = Path(":memory:")  # a spool that ends with the run, where even those are full
NOWHERE = Path(os.devnull, "none")  # where none of them can be written
UNREADABLE_MAX = 10_000  # failed attempts to read a damaged table before the rest is given up
APPLICATION_ID = 0x746D6F6E  # "tmon"
SCHEMA = """
CREATE TABLE readings (
  id INTEGER PRIMARY KEY, sensor TEXT NOT NULL, value REAL NOT NULL, unit TEXT,
  wall_ms INTEGER NOT NULL, monotonic_ms INTEGER NOT NULL, boot TEXT NOT NULL,
  told_ms INTEGER NOT NULL,  -- the last time that the server had told by then
  measured_ms INTEGER,  -- NULL until settled, then for good
  synchronised INTEGER NOT NULL DEFAULT 0  -- whether NTP had set the clock
);
CREATE UNIQUE INDEX one_at_a_time ON readings (sensor, measured_ms);
CREATE INDEX unsettled ON readings (id) WHERE measured_ms IS NULL;
CREATE TABLE refused (
  id INTEGER PRIMARY KEY, sensor TEXT NOT NULL, value REAL NOT NULL, unit TEXT,
  measured_ms INTEGER NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL,
  told_ms INTEGER NOT NULL DEFAULT 4611686018427387904
);
CREATE TABLE boots (
  boot TEXT PRIMARY KEY, offset_ms INTEGER NOT NULL, learned_monotonic_ms INTEGER NOT NULL
);
CREATE TABLE state (key TEXT PRIMARY KEY, value NOT NULL);
PRAGMA user_version = 1
"""
# From the first version to the next. In place, as there may be no room for a copy.
UPGRADE = """
ALTER TABLE readings ADD COLUMN synchronised INTEGER NOT NULL DEFAULT 0;
ALTER TABLE refused ADD COLUMN told_ms INTEGER NOT NULL DEFAULT 4611686018427387904;
PRAGMA user_version = 1
"""
# Moves readings from memory to the card. An upgraded table has its columns in another order.
COLUMNS = "sensor, value, unit, wall_ms, monotonic_ms, boot, told_ms, measured_ms, synchronised"
MOVE = f"""
INSERT OR IGNORE INTO main.readings ({COLUMNS}) SELECT {COLUMNS} FROM memory.readings ORDER BY id;
INSERT OR IGNORE INTO main.boots SELECT * FROM memory.boots;
INSERT INTO main.refused (sensor, value, unit, measured_ms, code, reason, told_ms)
 SELECT sensor, value, unit, measured_ms, code, reason, told_ms FROM memory.refused;
INSERT OR REPLACE INTO main.state SELECT key, max(value) FROM
 (SELECT * FROM main.state UNION ALL SELECT * FROM memory.state)
 WHERE key IN ('told_ms', 'sent_ms') GROUP BY key;
DELETE FROM memory.readings;
DELETE FROM memory.refused;
DELETE FROM memory.state WHERE key = 'borrowed'
"""


class SetupError(Exception):
    """A person has to put this right; each argument is one problem, in words."""


class CantWrite(sqlite3.OperationalError):
    """The spool can't be written: its disk or its owner doesn't allow it."""


class BadReading(ValueError):
    """A sensor answered, but not with a reading."""


class Undelivered(Exception):
    """The server didn't take the readings; they stay in the spool."""

    def __init__(self, reason: str, topic: str = "server") -> None:
        super().__init__(reason)
        self.topic = topic  # see Reporter.report


# ---- text and time


def one_line(text: str, max_length: int = 200) -> str:
    """Text from outside, made fit for one line of a log."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:max_length]


# What to do about errors that don't say so themselves, by a pattern of their text.
CAUSES = {
    "not yet valid|has expired": "this machine's clock says NOW",
    "self.signed|local issuer": "set TMON_CA_FILE to the certificate to trust, as a .pem file",
    "[Mm]ismatch|doesn't match": "TMON_URL must name the server as its certificate does",
    "WRONG_VERSION_NUMBER|record layer": "is it http:// that is spoken there, not https://?",
}


def cause(error: BaseException) -> str:
    """The first error of a chain: its text has no memory addresses, so it is the same each time."""
    while inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = inner
    text = one_line(f"{type(error).__name__}: {error}")
    hints = (hint for part, hint in CAUSES.items() if re.search(part, text))
    return "; ".join([text, *hints]).replace("NOW", iso(time.time_ns() // 1_000_000))


def iso(ms: int) -> str:
    """Unix milliseconds as ISO 8601 in UTC, in whole seconds."""
    return datetime.fromtimestamp(ms // 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def random_delay_s(max_s: float) -> float:
    """Up to ``max_s``, so that a thousand nodes don't act in the same second."""
    return random.uniform(0, max_s)  # noqa: S311 - not a secret


@dataclass(frozen=True)
class Instant:
    """One moment by both clocks; ``monotonic_ms`` counts from the start of ``boot``."""

    wall_ms: int
    monotonic_ms: int
    boot: str
    synchronised: bool  # whether NTP has set the wall clock


class Clock:
    """This machine's clocks. A Pi has no battery: after a boot its wall clock may be far off."""

    # Suspend included; where that clock is missing, the plain one.
    _STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    _STA_UNSYNC = 0x0040

    def __init__(self) -> None:
        """Read the boot's id; where there is none, each process counts as a boot of its own."""
        try:
            self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            self._boot = str(uuid.uuid4())

    def now(self) -> Instant:
        return Instant(
            wall_ms=time.time_ns() // 1_000_000,
            monotonic_ms=time.clock_gettime_ns(self._STEADY) // 1_000_000,
            boot=self._boot,
            synchronised=self._is_synchronised(),
        )

    def sleep(self, seconds: float) -> None:
        """Sleep in short steps, see SIGNAL_CHECK_S."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(left_s, SIGNAL_CHECK_S))

    def _is_synchronised(self) -> bool:
        """Whether the kernel says that NTP has set the clock; not if it can't be asked."""
        timex = ctypes.create_string_buffer(512)  # its first field, 0, says that nothing is set
        try:
            state = ctypes.CDLL(None).adjtimex(timex)
        except (OSError, AttributeError):
            return False
        *_, status = struct.unpack_from("I4li", timex)
        return state >= 0 and not status & self._STA_UNSYNC


# ---- sensors and their names


@dataclass(frozen=True)
class Reading:
    """One value of a sensor, and when it was read by the node's own clocks."""

    sensor: str
    value: float
    unit: str | None
    instant: Instant


ABSOLUTE_ZERO = {"°C": -273.15, "°F": -459.67, "K": 0}


@dataclass(frozen=True)
class Probe:
    """A way to read one sensor: ``read`` returns the value in ``unit``, or raises.

    Probes of one ``lane`` share a chip or a port, and are read one after the other. ``place`` is
    the file's path without the numbers that the kernel counts, and ``device`` its last folder;
    ``former`` is the name that version 0.1 gave.
    """

    sensor: str
    unit: str | None
    source: str
    read: Callable[[], float]
    attempts: int = ATTEMPTS
    limits: tuple[float, float] = (-math.inf, math.inf)
    lane: str = ""
    place: str = ""
    device: str = ""
    former: str = ""

    @property
    def key(self) -> str:
        """Identifies the sensor, as far as anything does."""
        return f"{self.sensor}@{self.place}" if self.place else self.sensor

    def sense(self, clock: Clock) -> Reading:
        """The value and its moment; the last attempt's error if none succeeds."""
        end_s = time.monotonic() + RETRY_FOR_S
        left = self.attempts
        while True:
            try:
                return Reading(self.sensor, self._value(), self.unit, clock.now())
            except Exception:
                left -= 1
                if not left or time.monotonic() > end_s:
                    raise
                clock.sleep(ATTEMPT_PAUSE_S)

    def _value(self) -> float:
        value = round(self.read(), 6)
        lowest, highest = self.limits
        if not math.isfinite(value):
            raise BadReading(f"{value} is no number")
        if value < ABSOLUTE_ZERO.get(self.unit or "", -math.inf):
            raise BadReading(f"{value} {self.unit} is below absolute zero")
        if not lowest <= value <= highest:
            limits = f"{lowest:g} to {highest:g} {self.unit}"
            raise BadReading(f"{value} {self.unit} is outside {limits}")
        return value


def sensor_name(*parts: str) -> str:
    """The parts that aren't empty, joined by ``:``, in letters that the server accepts."""
    clean = (re.sub(r"[^A-Za-z0-9_.-]+|\.\.+", "-", part).strip("-.") for part in parts)
    return ":".join(filter(None, clean))[:60]  # of 64, to leave room for a number


def numbered(name: str, seen: Counter[str]) -> str:
    """The name, with a number behind it from the second time on."""
    seen[name] += 1
    return name if seen[name] == 1 else f"{name}:{seen[name]}"


def unique_names(found: Sequence[Probe], kept: Mapping[str, str]) -> Iterator[Probe]:
    """The probes under unique names: the kept one, else the shortest that no other has.

    Probes with the same key, such as two thermal zones of a type, get numbers.
    """
    keys = Counter(probe.key for probe in found)
    names = {key: kept[key] for key, count in keys.items() if count == 1 and key in kept}
    forms: tuple[Callable[[Probe], str], ...] = (
        lambda probe: probe.sensor,
        lambda probe: f"{probe.sensor}:{sensor_name(probe.device)}"[:60].strip(":"),
        lambda probe: f"{probe.sensor[:51]}:{crc32(probe.key.encode()):08x}",
    )
    for form in forms:
        wanted = [(probe.key, form(probe)) for probe in found if probe.key not in names]
        often = Counter(chain(names.values(), (name for _, name in wanted)))
        names.update((key, name) for key, name in wanted if often[name] == 1)
    seen: Counter[str] = Counter()
    for probe in found:
        yield replace(probe, sensor=numbered(names.get(probe.key, probe.sensor), seen))


class SensorNames:
    """The names that this machine's sensors have, by their keys, in a file beside the spool.

    A sensor keeps its name when another comes that would be called the same. Where version 0.1
    has run, sensors keep the names that it gave.
    """

    def __init__(self, spool: Path, now_ms: int | None = None) -> None:
        """Read the file; a damaged one is renamed, if ``now_ms`` is given."""
        self._spool = spool
        self._path = Path(f"{spool}.names")
        self._kept: dict[str, str] | None = None  # None: there is no file yet
        self._is_readable, self._is_damaged = True, False
        self.problem = ""  # what is wrong with the file
        try:
            with open_own(self._path, "r") as file:
                text = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            self._is_readable = False
            self.problem = f"{self._path} can't be read: {cause(error)}"
            return
        with contextlib.suppress(ValueError, AttributeError):
            self._kept = {key: str(name) for key, name in json.loads(text).items()}
            return
        self._is_damaged = True
        # Pairs that are whole are used; no name has a quote in it.
        self._kept = dict(re.findall(r'"([^"\\]+)": "([^"\\]+)"', text)) or None
        count = len(self._kept or ())
        self.problem = f"{self._path} is damaged: {count} sensors' names could be read in it"
        if now_ms is not None:
            with contextlib.suppress(OSError):
                aside = self._path.rename(f"{self._path}.corrupt-{iso(now_ms).replace(':', '')}")
                self.problem += f"; it is now {aside}"

    def assign(self, found: Sequence[Probe], complete: bool, keep: bool) -> list[Probe]:
        """The probes under their names; with ``keep``, new names are written to the file.

        Names of version 0.1 depend on the order of all sensors, so they are only written when the
        list is ``complete``.
        """
        kept = dict(self._kept or {})
        is_old = self._kept is None and os.access(self._spool, os.F_OK)
        if is_old:
            seen: Counter[str] = Counter()
            kept = {probe.key: numbered(probe.former, seen) for probe in found if probe.former}
        assigned = list(unique_names(found, kept))
        # Probes with the same key have names by their order, which aren't kept.
        often = Counter(probe.key for probe in found)
        kept = {key: name for key, name in kept.items() if often[key] < 2}
        names = {
            old.key: new.sensor
            for old, new in zip(found, assigned)
            if old.place and often[old.key] == 1
        }
        taken = set(names.values())  # such as by a disk that has been moved
        names.update((key, name) for key, name in kept.items() if name not in taken)
        changed = self._is_damaged or names != self._kept
        if keep and self._is_readable and changed and (complete or not is_old):
            self._write(names)
        return assigned

    def _write(self, names: Mapping[str, str]) -> None:
        new = Path(f"{self._path}.new")
        with contextlib.suppress(OSError):  # the spool can't be written either: that is reported
            make_folder(new.parent)
            new.unlink(missing_ok=True)
            with open_own(new, "x") as file:
                json.dump(names, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)


# ---- the kernel's files under /sys


def read_text(path: Path, alone: bool = False) -> str:
    """A small file's text, in one read, as the kernel gives it.

    With ``alone``, BadReading if another run reads it: where a driver hangs, each would add one.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        if alone:
            with contextlib.suppress(OSError):  # some file systems have no locks
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise BadReading("another run is still reading it") from None
        return os.read(file, FILE_MAX_BYTES).decode(errors="replace").strip()
    finally:
        os.close(file)


# Errors by which a chip says that it has no such text.
NO_TEXT = {errno.ENOENT, errno.ENOTDIR, errno.EOPNOTSUPP, errno.EINVAL, errno.ENODATA}
NO_TEXT |= {errno.EACCES, errno.EPERM}


def content(path: Path, default: str = "") -> str:
    """A small file's text, or ``default`` if it is empty or there is none; else OSError."""
    try:
        return read_text(path) or default
    except OSError as error:
        if error.errno in NO_TEXT:
            return default
        raise


def parse_value(text: str) -> float:
    """The one number that a text is, or BadReading."""
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text.strip()):
        raise BadReading(f"no number: {one_line(text, 80)!r}" if text else "no number: it is empty")
    return float(text)


@dataclass(frozen=True)
class Kind:
    """What a kind of the kernel's files measures: its number times ``factor`` is in ``unit``.

    Values outside ``limits`` are no measurements: a lost chip or a bad wire gives them.
    ``convert``, where there is one, takes the place of ``factor``.
    """

    quantity: str
    unit: str
    factor: float
    limits: tuple[float, float]
    convert: Callable[[float], float] | None = None


def kernel_value(
    path: Path,
    kind: Kind,
    faults: Iterable[Path] = (),
    offset: Path | None = None,
    scale: Path | None = None,
) -> float:
    """The value in a file, in our unit, unless one of the files ``faults`` has a 1."""
    if any(content(fault) == "1" for fault in faults):
        raise BadReading("the chip says that this sensor is broken")
    value = parse_value(read_text(path, alone=True))
    if offset:
        value += parse_value(read_text(offset))
    if scale:
        value *= parse_value(read_text(scale))
    return kind.convert(value) if kind.convert else value * kind.factor


WIRED = re.compile(r"\d+-[0-9a-f]{4}|spi\d+\.\d+")  # I2C and SPI
# PCI, USB and ATA; not HID (``0003:1B1C:0C10``), which is a product.
BUS_ADDRESS = re.compile(
    r"(?![0-9A-F]{4}:[0-9A-F]{4}:)[0-9A-Fa-f]{1,4}([:.-][0-9A-Fa-f]{1,4})+|usb3?-[\d.:]+|ata\d+"
)
# Names with numbers that the kernel counts as devices turn up, and what stays of them.
COUNTED = (
    (re.compile(r"(?:host|target|nvme|usb|hwmon|i2c-)[\d:]*"), ""),
    (re.compile(r"\d+:(\d+:\d+:\d+)"), r"scsi-\1"),  # without the host's number
    (re.compile(r"(port|end_device|expander)-\d+:(.*)"), r"\1-\2"),
    (re.compile(r"(0003:[0-9A-F]{4}:[0-9A-F]{4})\.[0-9A-F]{4}"), r"\1"),  # HID
)
USB = re.compile(r"\d+-(\d{1,3}(?:\.\d{1,3})*(?::\d+\.\d+)?)")


def stable_parts(device: Path) -> list[str]:
    """The parts of a device's path that are the same at each boot, the outermost first."""
    names = [*device.parts]
    first = len(names) - names[::-1].index("devices") if "devices" in names else 1
    parts: list[str] = []
    usb = "usb"  # a controller has a bus for each speed, with the same ports
    bus = ""  # the place of an I2C bus behind USB or a multiplexer, whose number is counted too
    for depth in range(first, len(names)):
        path, name = Path(*names[: depth + 1]), names[depth]
        mux = (path / "mux_device").resolve().name
        if name.startswith("channel-") and parts:
            bus = f"{parts[-1]}-{name[8:]}"
        elif name.startswith("i2c-") and WIRED.fullmatch(mux):
            channel = re.search(r"chan_id (\d+)", content(path / "name"))
            chip = f"{bus}-{mux.split('-')[1]}" if bus else mux
            bus = f"{chip}-{channel[1] if channel else name}"
        if name.startswith("usb"):
            usb = "usb3" if len(content(path / "speed")) > 3 else "usb"  # 5000 and more, not 480
        if match := USB.fullmatch(name):
            name = bus = f"{usb}-{match[1]}"
        elif bus and WIRED.fullmatch(name) and "-" in name:
            name = f"{bus}-{name.split('-')[1]}"
        for pattern, rest in COUNTED:
            if match := pattern.fullmatch(name):
                name = match.expand(rest)
        parts += [name] if name else []
    return parts


# Limits by the chip's model: PT100, all zeros of an AHT, thermocouples and infrared, and pressure
# other than the air's.
WIDE = "max318|maxim_thermocouple|max6675|mcp96|ltc298|mlx90|hsc|mprls|abp|sdp|ms58|adp8|dlh"
LIMITS = (
    (re.compile("max31865"), "°C", (-200.0, 850.0)),
    (re.compile("aht|dht20"), "°C", (-40.0, 125.0)),
    (re.compile("aht|dht20"), "%", (0.001, 100.0)),
    (re.compile(WIDE), "°C", (-270.0, 1800.0)),
    (re.compile(WIDE), "hPa", (-100_000.0, 100_000.0)),
)


class Chip:
    """A chip under /sys: its model and its address.

    The address is the one on I2C or SPI (``1-0076``, ``spi0.1``), a disk's serial number, else the
    nearest bus's. Unlike the kernel's numbers (``hwmon3``) it is the same at each boot. What is
    built in has none.
    """

    def __init__(self, path: Path, default_model: str) -> None:
        self.path = path
        self.model = content(path / "name", default_model)
        real, link = path.resolve(), path / "device"
        self.device = link.resolve() if link.exists() else real.parent
        wired = [home for home in (real.parent, self.device) if WIRED.fullmatch(home.name)]
        self._wired = wired[0].name if wired else ""
        self._parts = stable_parts(wired[0] if wired else self.device)
        words = (content(self.device / name).rpartition(" ")[2] for name in ("wwid", "serial"))
        # Not all zeros, as an adapter's.
        serials = (word[-20:] for word in words if len(set(word.rpartition(".")[2])) > 2)
        buses = filter(BUS_ADDRESS.fullmatch, reversed(self._parts))
        self._address = self._parts[-1] if wired else next(chain(serials, buses), "")

    def probe(self, kind: Kind, part: str, path: Path, *details: Any) -> Probe:
        """The probe of one of the chip's files; ``details`` are for kernel_value."""
        matching = (
            limits
            for models, unit, limits in LIMITS
            if unit == kind.unit and models.match(self.model)
        )
        return Probe(
            sensor_name(kind.quantity, self.model, self._address, part),
            kind.unit,
            str(path),
            partial(kernel_value, path, kind, *details),
            limits=next(matching, kind.limits),
            lane=str(self.path),
            place="/".join((*self._parts, path.name)),
            device=self._parts[-1] if self._parts else "",
            former=sensor_name(kind.quantity, self.model, self._wired, part),
        )


def onewire_probes(device: Path) -> Iterator[Probe | str]:
    """DS18S20, DS1822, DS18B20, DS1825 or MAX31850, and DS28EA00, by their family codes.

    All are read at the same time: while one converts, the kernel lets the others use the bus.
    """
    path, family = device / "w1_slave", device.name.split("-")[0]

    def read() -> float:  # takes the chip up to 750 ms
        return scratchpad_celsius(read_text(path, alone=True), family)

    if family in {"10", "22", "28", "3b", "42"} and path.exists():
        yield Probe(sensor_name("temperature", device.name), "°C", str(path), read)
    else:
        yield device.name


def scratchpad_celsius(text: str, family: str = "28") -> float:
    """Temperature from a 1-Wire thermometer's ``w1_slave`` text, or BadReading.

    Args:
        text: its first line has the scratchpad's nine bytes, and ends in YES when the CRC held.
            The ``t=`` of the second isn't used: kernels have computed it wrongly.
        family: the chip's family code, in hexadecimal.
    """
    match = re.match(r"((?:[0-9a-f]{2} ){9}): crc=[0-9a-f]{2} (YES|NO)$", text, re.MULTILINE)
    if not match:
        what = f"no scratchpad: {one_line(text, 80)!r}"
        raise BadReading(what if text else "empty: the kernel got no valid answer from the chip")
    scratchpad = bytes.fromhex(match[1])
    if len(set(scratchpad)) == 1:  # a wire held low reads as zeros, whose CRC is right
        raise BadReading("no chip answered")
    if match[2] == "NO":
        raise BadReading("the CRC failed")
    celsius, lowest, highest = decode_scratchpad(scratchpad, family)
    if not lowest <= celsius <= highest:  # 127.94 is a conversion that failed
        raise BadReading(f"{celsius} °C is outside {lowest} to {highest} °C")
    return celsius


def decode_scratchpad(scratchpad: bytes, family: str) -> tuple[float, float, float]:
    """Degrees Celsius in the chip's own format, and the lowest and highest it can measure.

    After power-on a chip has 85.0 there with byte 6 = 0x0c. A measured 85.0 has 0x10 (DS18B20
    datasheet, table 1), or in a clone any byte, so that nothing is known.
    """
    raw = int.from_bytes(scratchpad[:2], "little", signed=True)
    config, remain, per_degree = scratchpad[4], scratchpad[6], scratchpad[7]
    if family == "3b" and config & 0x80:  # a MAX31850, not a DS1825
        if raw & 1:
            raise BadReading("the thermocouple is broken, shorted or not connected")
        return (raw & ~3) / 16, -270, 1800
    if raw == 0x00AA and remain == 0x0C if family == "10" else raw == 0x0550 and remain != 0x10:
        raise BadReading("85.0 °C is the value after power-on, not a measurement")
    if family == "10":
        if not per_degree:
            raise BadReading("byte 7 of the scratchpad is 0, as in no DS18S20")
        return (raw >> 1) - 0.25 + (per_degree - remain) / per_degree, -55, 125
    if config & 0x80:  # a GX20MH01, whose two further bits are in this byte
        return ((raw << 2) | (config & 3)) / 64, -55, 125
    return raw / 16, -55, 125


def relative_humidity(thousandths: float) -> float:
    """Percent; a chip's formula goes a little below 0, and with dew on it up to 119."""
    percent = thousandths / 1000
    return min(max(percent, 0.0), 100.0) if -6 <= percent <= 120 else percent


TEMPERATURE = Kind("temperature", "°C", 0.001, (-55, 125))
HUMIDITY = Kind("humidity", "%", 0.001, (0, 100), relative_humidity)
VOLTAGE = Kind("voltage", "V", 0.001, (-1_000, 1_000))
CURRENT = Kind("current", "A", 0.001, (-1_000, 1_000))
PRESSURE = Kind("pressure", "hPa", 10, (300, 1_250))
CO2 = Kind("co2", "ppm", 10_000, (100, 100_000))
CONCENTRATION = Kind("concentration", "ppm", 10_000, (0, 1_000_000))


def thermal_probes(zone: Path) -> Iterator[Probe | str]:
    """CPU and board, by the type of their thermal zone."""
    chip = Chip(zone, "")
    chip.model = content(zone / "type", zone.name)
    yield chip.probe(TEMPERATURE, "", zone / "temp")


# Documentation/ABI/testing/sysfs-class-hwmon.
HWMON = {
    "temp*_input": TEMPERATURE,
    "humidity*_input": HUMIDITY,
    "in*_input": VOLTAGE,
    "curr*_input": CURRENT,
    "power*_input": Kind("power", "W", 1e-6, (-100_000, 100_000)),
    "fan*_input": Kind("fan", "rpm", 1, (0, 100_000)),
    "in*_lcrit_alarm": Kind("undervoltage", "1", 1, (0, 1)),
}


def hwmon_probes(path: Path) -> Iterator[Probe | str]:
    """A chip of ``class/hwmon``, unless 1-Wire, IIO or a thermal zone shows it too.

    Its inputs are named by their labels, and by their number where labels are missing or equal;
    the first without a label needs no number.
    """
    chip = Chip(path, "hwmon")
    is_zone = chip.device.name.startswith("thermal_zone")
    if is_zone or chip.model in {"w1_slave_temp", "iio_hwmon"}:
        return
    known = set()
    for pattern, kind in HWMON.items():
        first = "in0" if pattern.startswith("in") else pattern.replace("*_input", "1")
        inputs = sorted(path.glob(pattern))
        stems = [file.name.split("_")[0] for file in inputs]
        labels = [content(path / f"{stem}_label") for stem in stems]
        often = Counter(map(sensor_name, labels))
        for file, stem, label in zip(inputs, stems, labels):
            part = label or ("" if stem == first else stem)
            part = f"{label}:{stem}" if label and often[sensor_name(label)] > 1 else part
            yield chip.probe(kind, part, file, [path / f"{stem}_fault"])
        known.update(stems)
    for file in sorted(path.glob("*_input")):
        if (stem := file.name.split("_")[0]) not in known:
            yield f"{chip.model} {stem}"


# Documentation/ABI/testing/sysfs-bus-iio.
IIO = {
    "temp": TEMPERATURE,
    "humidityrelative": HUMIDITY,
    "pressure": PRESSURE,
    "illuminance": Kind("illuminance", "lx", 1, (0, 200_000)),
    "voltage": VOLTAGE,
    "current": CURRENT,
    "power": Kind("power", "W", 0.001, (-100_000, 100_000)),
    "resistance": Kind("resistance", "Ω", 1, (0, 1e12)),
    "concentration_co2": CO2,
    "concentration": CONCENTRATION,
    "massconcentration": Kind("particulates", "µg/m³", 1, (0, 100_000)),
}
IIO_CHANNEL = re.compile(
    rf"in_({'|'.join(sorted(IIO, reverse=True))})(?!\w*_(?:peak|trough|mean)_)(\w*)_(input|raw)"
)


# Drivers that don't do as the ABI says, by the beginning of the chip's model.
IIO_UNUSUAL = {
    # Percent or its thousandths, and kPa or (before Linux 6.10) hPa.
    ("bme680", "humidityrelative"): replace(HUMIDITY, convert=lambda n: n if n <= 100 else n / 1e3),
    ("bme680", "pressure"): replace(PRESSURE, convert=lambda n: n * 10 if n <= 500 else n),
    # The datasheet's straight line: a 32nd of a degree a step, above -256.
    ("max31865", "temp"): replace(TEMPERATURE, convert=lambda n: n / 1000 - 256),
    # Bit 15 is the sign; the driver takes it for two's complement.
    ("am2315", "temp"): replace(
        TEMPERATURE, convert=lambda n: n / 1000 if n >= 0 else -(n / 1000 + 3276.8)
    ),
    ("sdp500", "pressure"): replace(PRESSURE, factor=0.01),  # Pa
    ("mh-z19b", "concentration_co2"): replace(CO2, factor=1),  # ppm
    # Fractions; of an ams-iaq-core the model is its address.
    ("sgp30", "concentration_co2"): replace(CO2, factor=1e6),
    ("sgp30", "concentration"): replace(CONCENTRATION, factor=1e6),
    ("iaq-core", "concentration_co2"): replace(CO2, factor=1e6),
    ("iaq-core", "concentration"): replace(CONCENTRATION, factor=1e6),
    ("sgp40", "concentration"): Kind("concentration", "1", 1, (0, 500)),  # an index
}
UNSCALED = {("mh-z19b", "concentration_co2")}  # finished, though they are called raw


def iio_probes(path: Path) -> Iterator[Probe | str]:
    """A chip such as DHT22, BME280 or BH1750; of a channel, the finished value if there is one.

    A raw one gets the offset and scale of its channel, else those of its quantity, else those of
    the chip. Without a scale its unit isn't known.
    """
    chip = Chip(path, "iio")
    model = "iaq-core" if re.fullmatch(r"\d+-005a", chip.model) else chip.model
    files = {file.name: file for file in sorted(path.iterdir())}
    faults = [file for name, file in files.items() if name.startswith("fault_")]
    for name, file in files.items():
        stem, _, form = name.rpartition("_")
        finished = f"{stem}_input" in files
        if not stem.startswith("in_") or form != ("input" if finished else "raw"):
            continue
        match = IIO_CHANNEL.fullmatch(name)
        quantity, channel = match.groups()[:2] if match else ("", "")
        shared = f"in_{quantity.split('_')[0]}"
        offset, scale = (
            next((files[each] for each in names if each in files), None)
            for names in (
                (f"{stem}_{what}", f"{shared}_{what}", f"in_{what}", what)
                for what in ("offset", "scale")
            )
        )
        if match and (finished or scale or (model, quantity) in UNSCALED):
            kind = IIO_UNUSUAL.get((model, quantity), IIO[quantity])
            corrections = (None, None) if finished else (offset, scale)
            yield chip.probe(kind, channel.strip("_"), file, faults, *corrections)
        else:
            yield f"{chip.model} {stem}"


@dataclass(frozen=True)
class Device:
    """A device under /sys, and the function that finds its sensors."""

    path: Path
    find: Callable[[Path], Iterable[Probe | str]]

    def probes(self) -> list[Probe | str] | str:
        """Its probes, and as text what isn't read; or why it can't be listed."""
        try:
            return [*self.find(self.path)]
        except Exception as error:
            return one_line(reason_of(error))


FINDERS: dict[str, Callable[[Path], Iterator[Probe | str]]] = {
    "bus/w1/devices/[0-9a-f][0-9a-f]-*": onewire_probes,
    "class/thermal/thermal_zone*": thermal_probes,
    "class/hwmon/hwmon*": hwmon_probes,
    "bus/iio/devices/iio:device*": iio_probes,
}


def find_devices(sysfs: Path) -> list[Device]:
    """All devices under ``sysfs``, in the order of the hardware, not of the kernel's numbers."""
    found = []
    for pattern, find in FINDERS.items():
        places = [(os.path.realpath(path / "device"), path) for path in sysfs.glob(pattern)]
        found += [Device(path, find) for _, path in sorted(places)]
    return found


def reason_of(error: Exception) -> str:
    """Why a sensor has no reading."""
    if isinstance(error, BadReading):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"{type(error).__name__}: {error}"


# ---- commands, and the health of this machine


# Units that the server knows. Others are accepted too.
KNOWN_UNITS = {
    *("°C", "°F", "K", "%", "hPa", "Pa", "kPa", "mbar", "bar", "lx", "V", "mV", "ppm"),
    *("A", "W", "Ω", "µg/m³", "rpm", "1", "s", "dBm"),
}


def command_probes(texts: Iterable[str]) -> tuple[Probe, ...]:
    """The probes of all commands; ValueError, in words, if one is wrong or two have one name."""
    probes = tuple(map(command_probe, texts))
    for name, count in Counter(probe.sensor for probe in probes).items():
        if count > 1:
            raise ValueError(f"{count} commands are called {name!r}: give each its own name")
    return probes


def command_probe(text: str) -> Probe:
    """``name:unit=shell command`` or ``name=shell command`` as a probe, or ValueError in words."""
    head, _, command = text.partition("=")
    name, _, unit = head.strip().rpartition(":") if ":" in head else (head.strip(), "", "")
    if not command.strip() or not re.fullmatch(SENSOR_NAME, name):
        raise ValueError(f"command {text!r}: write it as name:unit=shell command")
    if len(unit) > 32 or not unit.isprintable() or re.search(r"\s", unit):
        raise ValueError(f"command {text!r}: {unit!r} is no unit; write name:unit=shell command")
    read = partial(command_value, command)
    return Probe(name, unit or None, text, read, attempts=1, lane="commands")


RUNNING: set[int] = set()  # process groups of the commands that run now


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
        RUNNING.add(process.pid)
        try:
            out, err = (text.decode(errors="replace") for text in read_pipes(process, timeout_s))
        except BadReading:
            os.killpg(process.pid, signal.SIGKILL)  # the shell's children hold its pipes open
            raise
        finally:
            RUNNING.discard(process.pid)
    if process.returncode:
        raise BadReading(f"exit status {process.returncode}: {err}")
    return parse_value(out)


def read_pipes(process: subprocess.Popen[bytes], timeout_s: float) -> list[bytes]:
    """All of a process's stdout and stderr; BadReading if it is too much or takes too long."""
    end_s = time.monotonic() + timeout_s
    written: dict[Any, bytes] = {process.stdout: b"", process.stderr: b""}
    with selectors.DefaultSelector() as selector:
        for pipe in written:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0, end_s - time.monotonic()))
            if not ready:
                raise BadReading(f"took longer than {timeout_s} s")
            for key, _ in ready:
                text = os.read(key.fd, FILE_MAX_BYTES)
                written[key.fileobj] += text
                if not text:
                    selector.unregister(key.fileobj)
                if len(written[key.fileobj]) > FILE_MAX_BYTES:
                    raise BadReading(f"no number: it printed more than {FILE_MAX_BYTES} bytes")
    return list(written.values())


def disk_used() -> float:
    """Percent of the disk that aren't free for root, as ``df`` counts them."""
    disk = os.statvfs("/")
    return 100 * (1 - disk.f_bfree / disk.f_blocks)


def memory_used() -> float:
    """Percent of the memory that programs can't have without swapping."""
    sizes = dict(re.findall(r"^(\w+): +(\d+) kB", read_text(Path("/proc/meminfo")), re.MULTILINE))
    return 100 * (1 - int(sizes["MemAvailable"]) / int(sizes["MemTotal"]))


def wifi_levels(text: str) -> dict[str, float]:
    """The signal of each interface in dBm, from ``/proc/net/wireless``."""
    levels = re.findall(r"^ *([\w.-]+): +\w+ +[-\d]+\.? +(-?\d+)\.? ", text, re.MULTILINE)
    # Some drivers give the byte without its sign.
    return {name: float(level) - (256 if float(level) > 63 else 0) for name, level in levels}


HEALTH_SENSORS = (
    ("disk-used", "%", "/", disk_used),
    ("memory-used", "%", "/proc/meminfo", memory_used),
    ("load", "1", "/proc/loadavg", lambda: os.getloadavg()[0]),
    ("uptime", "s", "the kernel", lambda: time.clock_gettime(Clock._STEADY)),
)


def health_probes() -> Iterator[Probe]:
    """Disk, memory, load, uptime, and the signal of each Wi-Fi interface."""
    for name, unit, source, read in HEALTH_SENSORS:
        yield Probe(f"health:{name}", unit, source, read, lane="health")
    wireless = Path("/proc/net/wireless")
    for interface in wifi_levels(content(wireless)):
        read = partial(lambda name: wifi_levels(read_text(wireless))[name], interface)
        name = sensor_name("health:wifi", interface)
        yield Probe(name, "dBm", str(wireless), read, limits=(-120, 0), lane="health")


# ---- reading all sensors


ALL_SENSORS = "sensors"  # the name in reports about all of them
ALL, SENSORS, OTHERS, NOT_READ = range(4)  # the groups of outcomes, in their order


@dataclass(frozen=True)
class ReadPlan:
    """What to read in a run.

    ``others`` are probes of no device. ``assign_names`` names the probes that were found; its
    second argument says whether all devices could be listed. ``failing`` are the sensors that
    failed last time. They are read last: a dead one may hold the bus of the others.
    """

    find_devices: Callable[[], Sequence[Device]]
    others: Sequence[Probe] = ()
    assign_names: Callable[[Sequence[Probe], bool], Sequence[Probe]] = lambda found, _all: found
    failing: Collection[str] = ()


@dataclass(frozen=True)
class Outcomes:
    """What came of a plan: readings, sensors with the reason of their failure, other devices."""

    readings: list[Reading]
    failures: list[tuple[str, str]]
    not_read: list[str]


def read_sensors(plan: ReadPlan, clock: Clock, give_up_s: float = GIVE_UP_S) -> Outcomes:
    """Read all sensors of a plan, in a process of its own.

    A read that hangs in the kernel can't be killed, and a process doesn't end before its threads
    do. But it can be left behind.
    """
    outcomes: dict[Key, Outcome | None] = {}
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # The child takes none of the locks that other threads may hold just now.
    warnings.filterwarnings("ignore", ".* use of fork", DeprecationWarning)
    try:
        child = os.fork()
    except OSError as error:
        reason = f"no other process can be begun: {error.strerror}"
        return Outcomes([], [(ALL_SENSORS, reason)], [])
    if not child:
        run_reader(plan, clock, theirs, give_up_s)
    theirs.close()
    ours.settimeout(give_up_s + 1)
    try:
        with contextlib.suppress(OSError):  # the child takes too long
            while message := ours.recv(FILE_MAX_BYTES):
                key, outcome = pickle.loads(message)  # noqa: S301 - it is from our child
                outcomes[key] = outcome
    finally:
        ours.close()
        with contextlib.suppress(OSError):  # it is gone already, where SIGCHLD is ignored
            os.kill(child, signal.SIGKILL)
            end_s = time.monotonic() + 1
            while not os.waitpid(child, os.WNOHANG)[0] and time.monotonic() < end_s:
                time.sleep(0.001)
    ordered = [outcomes[key] for key in sorted(outcomes)]
    return Outcomes(
        [outcome for outcome in ordered if isinstance(outcome, Reading)],
        [outcome for outcome in ordered if isinstance(outcome, tuple)],
        [outcome for outcome in ordered if isinstance(outcome, str)],
    )


def run_reader(plan: ReadPlan, clock: Clock, sock: socket.socket, give_up_s: float) -> NoReturn:
    """Read a plan's sensors in the child process, and send the outcomes to the parent."""

    def send(key: Key, outcome: Outcome | None) -> None:
        sock.send(pickle.dumps((key, outcome)))

    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: end with the parent
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else a command's exit status is lost
        # Close all other files of the parent: an open one holds its lock.
        os.closerange(3, sock.fileno())
        os.closerange(sock.fileno() + 1, 1 << 16)
        with sock:  # a thread that hangs would keep it open
            try:
                SensorReader(plan, clock, send, give_up_s).run()
            except Exception as error:
                send((ALL, 0), (ALL_SENSORS, one_line(f"{type(error).__name__}: {error}")))
    finally:
        os._exit(0)


def start_threads(jobs: deque[Callable[[], None]]) -> None:
    """Run the jobs in some threads. If those hang, call it again for the jobs that are left."""

    def work() -> None:
        with contextlib.suppress(IndexError):  # none is left
            while True:
                jobs.popleft()()

    for _ in range(min(len(jobs), THREADS)):
        try:
            threading.Thread(target=work, daemon=True).start()
        except RuntimeError:  # no more threads can be started
            return


class SensorReader:
    """Reads the sensors of a plan, all lanes at the same time, and sends the outcomes.

    An outcome takes the place of an earlier one with the same key. So a failure is sent for each
    sensor before it is read, and stands if nothing else comes.
    """

    def __init__(
        self,
        plan: ReadPlan,
        clock: Clock,
        send: Callable[[Key, Outcome | None], None],
        give_up_s: float,
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._send = send
        self._give_up_s = give_up_s
        self._probes: dict[Key, Probe] = {}
        self._waiting: set[Key] = set()  # those without an outcome of their own
        self._jobs: deque[Callable[[], None]] = deque()
        self._outcomes: SimpleQueue[tuple[Key, Outcome]] = SimpleQueue()
        self._began_s = self._good_s = time.monotonic()  # when the last reading came

    def run(self) -> None:
        """Read all lanes at once, but those with a sensor that failed last time after the others.

        When no reading has come for a while, what still waits in its lane is read too. After
        ``give_up_s`` the rest is given up as soon as no reading comes for a while. So any number
        of bad sensors takes no longer than that, and any number of good ones is given its time.
        """
        others = self._add(OTHERS, self._plan.others)
        self._start(others)
        self._send((ALL, 0), (ALL_SENSORS, f"they can't be listed within {self._give_up_s:g} s"))
        sensors: Sequence[Probe] = ()
        try:
            sensors = self._find_sensors()
            self._send((ALL, 0), None)
        except Exception as error:
            self._send((ALL, 0), (ALL_SENSORS, one_line(f"{type(error).__name__}: {error}")))
        names = {probe.sensor for probe in sensors}
        for place, probe in enumerate(self._plan.others):
            if probe.sensor in names:
                line = f"a sensor and a command are called {probe.sensor!r}: give each its own name"
                self._finish((OTHERS, place), (probe.sensor, line))
        lanes = self._add(SENSORS, sensors)
        random.shuffle(lanes)  # of many that share a bus, each is the last one at times
        failing = {key for key, probe in self._probes.items() if probe.sensor in self._plan.failing}
        late = [lane for lane in lanes if not failing.isdisjoint(lane)]
        early = [lane for lane in lanes if lane not in late]
        self._start(early)
        self._wait(but=[*chain(*late)])
        self._start(late)
        self._wait()
        self._start(lane for lane in (*others, *lanes) for _ in tuple(lane))
        self._wait(self._give_up_s)
        for group in tuple(RUNNING):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def _find_sensors(self) -> Sequence[Probe]:
        """The probes of all devices, under their names; what can't be read is sent."""
        devices = self._plan.find_devices()
        results = list_devices(devices, self._give_up_s / 4)
        items = [item for result in results if not isinstance(result, str) for item in result]
        unlisted = [pair for pair in zip(devices, results) if isinstance(pair[1], str)]
        for place, item in enumerate(item for item in items if isinstance(item, str)):
            self._send((NOT_READ, place), item)
        for place, (device, reason) in enumerate(unlisted[:UNLISTED_MAX], -len(unlisted)):
            self._send((SENSORS, place), (device.path.name, f"{device.path}: {reason}"))
        if (count := len(unlisted)) > UNLISTED_MAX:
            line = f"{count} of {len(devices)} devices are left out, as they can't be listed"
            self._send((ALL, 1), (ALL_SENSORS, line))
        found = [item for item in items if isinstance(item, Probe)]
        return self._plan.assign_names(found, not unlisted)

    def _add(self, group: int, probes: Iterable[Probe]) -> list[deque[Key]]:
        """The keys of the probes by their lanes; none is started."""
        lanes: defaultdict[str, deque[Key]] = defaultdict(deque)
        for place, probe in enumerate(probes):
            key = group, place
            self._probes[key] = probe
            line = f"{probe.source}: no answer within {self._give_up_s:g} s"
            self._send(key, (probe.sensor, line))
            self._waiting.add(key)
            lanes[probe.lane or probe.source].append(key)
        return [*lanes.values()]

    def _finish(self, key: Key, outcome: Outcome) -> None:
        """Send the outcome; those that come later for its key are ignored."""
        self._send(key, outcome)
        self._waiting.discard(key)

    def _start(self, lanes: Iterable[deque[Key]]) -> None:
        self._jobs.extend(partial(self._read_lane, lane) for lane in lanes)
        start_threads(self._jobs)

    def _read_lane(self, lane: deque[Key]) -> None:
        with contextlib.suppress(IndexError):  # the lane is empty
            while True:
                key = lane.popleft()
                probe = self._probes[key]
                try:
                    outcome: Outcome = probe.sense(self._clock)
                except Exception as error:
                    line = one_line(f"{probe.source}: {reason_of(error)}", 500)
                    outcome = (probe.sensor, line)
                self._outcomes.put((key, outcome))

    def _wait(self, until_s: float = 0, but: Collection[Key] = ()) -> None:
        """Wait until ``until_s`` after the start, then as long as readings come."""
        while self._waiting - set(but):
            end_s = max(self._began_s + until_s, self._good_s + self._give_up_s / 4)
            wait_s = end_s - time.monotonic()
            try:
                key, outcome = self._outcomes.get(timeout=max(0, min(wait_s, STALL_S)))
            except Empty:
                if wait_s <= 0:
                    return
                start_threads(self._jobs)
                continue
            if key in self._waiting:
                self._finish(key, outcome)
            if isinstance(outcome, Reading):
                self._good_s = time.monotonic()


def list_devices(devices: Sequence[Device], patience_s: float) -> list[list[Probe | str] | str]:
    """Each device's probes, or why it can't be listed; waits as long as results come."""
    results: dict[int, list[Probe | str] | str] = {}
    came = threading.Event()

    def list_one(index: int) -> None:
        results[index] = devices[index].probes()
        came.set()

    jobs: deque[Callable[[], None]] = deque(partial(list_one, n) for n in range(len(devices)))
    began_s = last_s = time.monotonic()
    start_threads(jobs)
    while len(results) < len(devices):
        if came.wait(min(STALL_S, patience_s)):
            came.clear()
            last_s = time.monotonic()
        else:
            start_threads(jobs)
        if time.monotonic() > min(last_s + patience_s, began_s + 2 * patience_s):
            break
    late = f"it can't be listed within {patience_s:g} s"
    return [results.get(index, late) for index in range(len(devices))]


# ---- the spool


@dataclass(frozen=True)
class Settled:
    """A reading whose time is settled: the same to the byte each time it is sent."""

    id: int
    sensor: str
    value: float
    unit: str | None
    measured_ms: int

    def as_json(self) -> dict[str, object]:
        return {k: v for k, v in asdict(self).items() if k != "id" and v is not None}


class Spool:
    """Owns the SQLite file in which readings wait, and what the client remembers between runs.

    What a method writes is on the disk as a whole when it returns, or not at all.

    The journal is a rollback journal that stays (PERSIST). It costs an SD card little, as no
    directory is written; it keeps its room on a full disk; with synchronous=FULL a transaction is
    on the disk when it ends; and WAL mode can corrupt a file before SQLite 3.51.3.
    """

    def __init__(
        self, path: Path, max_readings: float = float(SPOOL_MAX), *, read_only: bool = False
    ) -> None:
        """Open the file, made where there is none; for the errors see open_writer."""
        self._max_readings = max_readings
        self._db = open_reader(path) if read_only else open_writer(path)
        try:
            (self._check if read_only else self._prepare)(path)
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _check(self, path: Path) -> None:
        if self._one("PRAGMA application_id") != APPLICATION_ID:
            raise SetupError(f"{path} is no spool: set TMON_SPOOL")

    def _prepare(self, path: Path) -> None:
        """Make the tables where there are none; upgrade those of the first version."""
        self._db.execute("PRAGMA journal_mode = PERSIST")
        self._db.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            if self._one("PRAGMA application_id") == APPLICATION_ID:
                if not self._one("PRAGMA user_version"):
                    self._run(UPGRADE)
                return
            if self._one("SELECT count(*) FROM sqlite_master"):
                raise SetupError(f"{path} is another program's database: set TMON_SPOOL")
            self._run(SCHEMA)
            self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._set_state("reserve", bytes(RESERVE_BYTES))
        with self._transaction():  # again: now its pages go through the journal, which stays large
            self._set_state("reserve", bytes(RESERVE_BYTES))
        self._db.execute("DELETE FROM state WHERE key = 'reserve'")

    def _run(self, script: str) -> None:
        """Run statements within a transaction; executescript would commit it."""
        for statement in script.split(";"):
            self._db.execute(statement)

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

    def get_state(self, key: str, default: Any = 0) -> Any:
        value = self._one("SELECT value FROM state WHERE key = ?", key)
        return default if value is None else value

    def _set_state(self, key: str, value: object) -> None:
        self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, value))

    # -- readings come in, and get their time

    def add(self, readings: Sequence[Reading]) -> int:
        """Keep the readings; returns how many old ones were dropped to make room for them."""
        sql = (
            "INSERT INTO readings"
            " (sensor, value, unit, wall_ms, monotonic_ms, boot, synchronised, told_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        with self._transaction():
            told_ms = self.get_state("told_ms")
            for reading in readings:
                now = reading.instant
                values = (reading.sensor, reading.value, reading.unit, *astuple(now), told_ms)
                id_ = self._db.execute(sql, values).lastrowid
                if self.knows_time(now) and (measured_ms := self._corrected_ms(now)) is not None:
                    self._set_time(id_, measured_ms)
            count = self._one("SELECT count(*) FROM readings")
            if count <= self._max_readings:
                return 0
            # Every second reading of each sensor in the older half.
            return self._db.execute(
                "DELETE FROM readings WHERE id IN (SELECT id FROM"
                " (SELECT id, row_number() OVER (PARTITION BY sensor ORDER BY id) AS n"
                "  FROM (SELECT id, sensor FROM readings ORDER BY id LIMIT ?)) WHERE n % 2 = 0)",
                (count // 2,),
            ).rowcount

    def _set_time(self, id_: int | None, measured_ms: int) -> None:
        """Settle a reading's time; a millisecond later where the sensor has a reading then."""
        sql = "UPDATE OR IGNORE readings SET measured_ms = ? WHERE id = ?"
        while not self._db.execute(sql, (measured_ms, id_)).rowcount:
            measured_ms += 1

    def _boot_offset(self, boot: str) -> tuple[int, int] | None:
        """The time less a boot's monotonic clock, and by that clock when this was learned."""
        sql = "SELECT offset_ms, learned_monotonic_ms FROM boots WHERE boot = ?"
        row: tuple[int, int] | None = self._db.execute(sql, (boot,)).fetchone()
        return row

    def true_ms(self, now: Instant) -> int | None:
        """The time by the monotonic clock, if it was learned in that boot."""
        learned = self._boot_offset(now.boot)
        return now.monotonic_ms + learned[0] if learned else None

    def knows_time(self, now: Instant) -> bool:
        """Whether the time was learned in this boot, and not too long ago.

        Not if a clock that NTP sets has jumped since then: the machine may have been paused, and
        its monotonic clock with it.
        """
        learned = self._boot_offset(now.boot)
        if learned is None or now.monotonic_ms - learned[1] >= OFFSET_GOOD_FOR_MS:
            return False
        apart_ms = now.wall_ms - now.monotonic_ms
        jump_ms = apart_ms - self.get_state("apart_ms", apart_ms)
        return not now.synchronised or abs(jump_ms) <= CLOCK_SLACK_MS

    def _corrected_ms(self, then: Instant) -> int | None:
        """By the wall clock, unless the monotonic clock says that it was plainly wrong."""
        learned = self._boot_offset(then.boot)
        if learned is None:
            return None
        true_ms = then.monotonic_ms + learned[0]
        ignored_ms = OFFSET_IGNORED_MS
        if then.synchronised:
            ignored_ms = CLOCK_SLACK_MS + abs(then.monotonic_ms - learned[1]) // DRIFT
        return then.wall_ms if abs(true_ms - then.wall_ms) <= ignored_ms else true_ms

    def learn_time(self, now: Instant, server_ms: int) -> None:
        """Note which time it is ``now``, when the server says that it is ``server_ms``.

        The server is believed, unless both the clock that NTP has set and the server's earlier
        answers contradict it. So the server's first answer in a boot is right, even if NTP has
        set the clock; and a server whose clock jumps later moves no reading.

        A reading of this boot that is ahead of the server can't have been stored: so its time
        may still be corrected.
        """
        if now.synchronised and self._contradicts(now, server_ms):
            server_ms = now.wall_ms
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO boots VALUES (?, ?, ?)",
                (now.boot, server_ms - now.monotonic_ms, now.monotonic_ms),
            )
            self._set_state("told_ms", server_ms)
            self._set_state("apart_ms", now.wall_ms - now.monotonic_ms)
            self._db.execute(
                "UPDATE readings SET measured_ms = NULL WHERE boot = ? AND measured_ms > ?",
                (now.boot, server_ms + AHEAD_MS),
            )
            self._db.execute(
                "DELETE FROM boots WHERE boot NOT IN"
                " (SELECT boot FROM readings WHERE measured_ms IS NULL UNION SELECT ?)",
                (now.boot,),
            )

    def _contradicts(self, now: Instant, server_ms: int) -> bool:
        """Whether the server contradicts its earlier answers, and this clock doesn't."""
        if abs(server_ms - now.wall_ms) <= CLOCK_SLACK_MS:
            return False
        if self._boot_offset(now.boot):
            return self._corrected_ms(now) == now.wall_ms
        return bool(server_ms < self.get_state("told_ms") - CLOCK_SLACK_MS <= now.wall_ms)

    def check_time(self, now: Instant, server_ms: int) -> None:
        """Let the time be asked for again if the server's clock has jumped since it was asked."""
        true_ms = self.true_ms(now)
        if true_ms is not None and abs(server_ms - true_ms) > CLOCK_SLACK_MS:
            outdated_ms = now.monotonic_ms - OFFSET_GOOD_FOR_MS
            sql = "UPDATE boots SET learned_monotonic_ms = ? WHERE boot = ?"
            self._db.execute(sql, (outdated_ms, now.boot))

    def settle(self, now: Instant) -> tuple[int, int]:
        """Settle the times of up to a batch of readings, if it is known which time it is.

        Readings of a boot that never learned the time keep their wall clock. It is unchecked if
        NTP hadn't set it, or if it was before the last time that the server had told by then. It
        is surely wrong if it was after the start of this boot, or, not set by NTP, before that
        last time: such a reading is moved to the refused ones.

        Returns:
            How many readings have an unchecked time, and how many were moved.
        """
        unchecked, lost = 0, []
        began_ms = self.true_ms(replace(now, monotonic_ms=0))
        if began_ms is None or not self.knows_time(now):
            return 0, 0
        with self._transaction():
            rows = self._db.execute(
                "SELECT id, told_ms, wall_ms, monotonic_ms, boot, synchronised FROM readings"
                " WHERE measured_ms IS NULL ORDER BY id LIMIT ?",
                (BATCH_READINGS,),
            ).fetchall()
            for id_, told_ms, *instant in rows:
                then = Instant(*instant)
                early = then.wall_ms < told_ms - CLOCK_SLACK_MS
                late = then.wall_ms > began_ms + CLOCK_SLACK_MS
                if (measured_ms := self._corrected_ms(then)) is not None:
                    self._set_time(id_, measured_ms)
                elif late or (early and not then.synchronised):
                    lost.append(id_)
                else:
                    self._set_time(id_, then.wall_ms)
                    unchecked += early or not then.synchronised
            self._refuse([(id_, "unknown_time", "the clock was wrong then") for id_ in lost])
        return unchecked, len(lost)

    # -- readings go out

    def is_empty(self) -> bool:
        return not self._one("SELECT EXISTS (SELECT 1 FROM readings)")

    def waits_for_time(self) -> bool:
        """Whether some readings can't be sent before the server tells the time."""
        return bool(self._one("SELECT EXISTS (SELECT 1 FROM readings WHERE measured_ms IS NULL)"))

    def count_after(self, until_ms: int) -> int:
        """How many readings were measured after a time, by a clock that must have been wrong."""
        return int(self._one("SELECT count(*) FROM readings WHERE measured_ms > ?", until_ms))

    def batch(self, until_ms: int = FOREVER_MS) -> list[Settled]:
        """The oldest readings that can be sent; none that was measured after ``until_ms``."""
        rows = self._db.execute(
            "SELECT id, sensor, value, unit, measured_ms FROM readings"
            " WHERE measured_ms <= ? ORDER BY id LIMIT ?",
            (until_ms, BATCH_READINGS),
        )
        return [Settled(*row) for row in rows]

    def close_batch(
        self, batch: Sequence[Settled], refusals: Sequence[tuple[int, str, str]], now: Instant
    ) -> None:
        """Remove a batch that the server has stored, or refused: (id, code, reason) of those."""
        with self._transaction():
            self._refuse(refusals)
            self._delete([reading.id for reading in batch])
            self._set_state("sent_ms", now.wall_ms)
            if true_ms := self.true_ms(now):
                self._set_state("told_ms", true_ms)

    def _refuse(self, refusals: Sequence[tuple[int, str, str]]) -> None:
        """Move readings to the refused ones, of which the newest are kept."""
        self._db.executemany(
            "INSERT INTO refused (sensor, value, unit, measured_ms, code, reason, told_ms)"
            " SELECT sensor, value, unit, coalesce(measured_ms, wall_ms), ?2, ?3, told_ms"
            " FROM readings WHERE id = ?1",
            refusals,
        )
        self._delete([id_ for id_, _, _ in refusals])
        if refusals:
            oldest = "DELETE FROM refused WHERE id <= (SELECT max(id) FROM refused) - ?"
            self._db.execute(oldest, (REFUSED_MAX,))

    def _delete(self, ids: Sequence[int]) -> None:
        self._db.executemany("DELETE FROM readings WHERE id = ?", [(id_,) for id_ in ids])

    def retry_refused(self) -> int:
        """Put refused readings back; those with an unknown time get another chance to settle it.

        A reading stays refused where the sensor has another at that time. Returns how many were
        put back.
        """
        count = 0
        with self._transaction():
            for (id_,) in self._db.execute("SELECT id FROM refused ORDER BY id").fetchall():
                moved = self._db.execute(
                    "INSERT OR IGNORE INTO readings"
                    " (sensor, value, unit, wall_ms, monotonic_ms, boot, told_ms, measured_ms)"
                    " SELECT sensor, value, unit, measured_ms, 0, 'refused', told_ms,"
                    " CASE WHEN code <> 'unknown_time' THEN measured_ms END"
                    " FROM refused WHERE id = ?",
                    (id_,),
                ).rowcount
                count += moved
                self._db.executemany("DELETE FROM refused WHERE id = ?", [(id_,)] * moved)
        return count

    def count_unknown(self) -> int:
        """How many of the refused readings have no known time."""
        return int(self._one("SELECT count(*) FROM refused WHERE code = 'unknown_time'"))

    # -- readings come from another spool

    def copy_from(self, damaged: Path) -> int:
        """Copy what can be read of a damaged spool; returns how many readings that was."""
        with contextlib.closing(open_reader(damaged)) as source, self._transaction():
            for table in ("state", "boots", "refused"):
                self._copy(table, readable_rows(source, table))
            return self._copy("readings", readable_rows(source, "readings"))

    def borrow(self, card: Path) -> int:
        """Copy the next readings of a spool that can't be written; returns how many."""
        try:
            source = Spool(card, read_only=True)
        except (SetupError, sqlite3.DatabaseError):  # there is none, or we mustn't read it
            return 0
        with source, self._transaction():
            self._copy("boots", readable_rows(source._db, "boots"))
            after_id = self.borrowed_id(source)
            rows = list(islice(readable_rows(source._db, "readings", after_id), BORROW_MAX))
            if rows:
                self._set_state("borrowed", json.dumps([rows[-1][column] for column in IDENTITY]))
            return self._copy("readings", rows)

    def borrowed_id(self, card: Spool) -> int:
        """The last reading that was borrowed, if it is still on the card; else 0."""
        # An id alone isn't enough: it is used again once the last reading was deleted.
        last = json.loads(self.get_state("borrowed", "[0]"))
        row = next(readable_rows(card._db, "readings", last[0] - 1), None)
        return last[0] if row and [row[column] for column in IDENTITY] == last else 0

    def give_back(self, card: Spool) -> None:
        """Delete there what was borrowed and sent: in small steps if the disk is full."""
        step = BATCH_READINGS
        sql = (
            "DELETE FROM readings WHERE id IN"
            " (SELECT id FROM readings WHERE id <= ? ORDER BY id LIMIT ?)"
        )
        while step and (last_id := self.borrowed_id(card)):
            try:
                card._db.execute(sql, (last_id, step))
            except sqlite3.OperationalError:  # the journal has no room for so many pages
                step //= 2
        with card._transaction():
            card._copy("refused", readable_rows(self._db, "refused"))
        self._db.execute("DELETE FROM refused")

    def move_to(self, card: Spool, path: Path) -> None:
        """Move all that is in this spool, in ``path``, to the card, in place of what was borrowed.

        It is one transaction of both files: at no moment is a reading in none or in both.
        """
        last_id = self.borrowed_id(card)
        card._db.execute("ATTACH ? AS memory", (str(path),))
        try:
            card._db.execute("PRAGMA memory.journal_mode = PERSIST")
            with card._transaction():
                card._db.execute("DELETE FROM main.readings WHERE id <= ?", (last_id,))
                card._run(MOVE)
        finally:
            card._db.execute("DETACH memory")

    def _copy(self, table: str, rows: Iterable[sqlite3.Row]) -> int:
        """Insert rows of the same table in another spool, under new ids; returns how many."""
        ours = {name for _, name, *_ in self._db.execute(f"PRAGMA table_info({table})")} - {"id"}
        count = 0
        for row in rows:
            columns = [column for column in row.keys() if column in ours]  # noqa: SIM118 - a Row
            values = [row[column] for column in columns]
            if all(map(fits, columns, values)):
                places = f"({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
                sql = f"INSERT OR IGNORE INTO {table} {places}"
                count += self._db.execute(sql, values).rowcount
        return count

    # -- for people

    def summary(self, memory: Spool | None = None) -> str:
        """How many readings wait here, but for those that ``memory`` has borrowed."""
        count, oldest, newest = self._db.execute(
            "SELECT count(*), min(coalesce(measured_ms, wall_ms)),"
            " max(coalesce(measured_ms, wall_ms)) FROM readings WHERE id > ?",
            (memory.borrowed_id(self) if memory else 0,),
        ).fetchone()
        return f"{count}" + (f", from {iso(oldest)} to {iso(newest)}" if count else "")

    def status(self, now: Instant) -> Iterator[str]:
        """What a person wants to know, a line each."""
        if unsettled := self._one("SELECT count(*) FROM readings WHERE measured_ms IS NULL"):
            yield f"          {unsettled} of them get their time when the server has told it"
        sent_ms = self.get_state("sent_ms")
        yield f"last sent {iso(sent_ms) if sent_ms else 'never'}"
        yield f"clock     {iso(now.wall_ms)}, {'' if now.synchronised else 'not '}set by NTP"
        ahead_ms = now.wall_ms - (self.true_ms(now) or now.wall_ms)
        if abs(ahead_ms) > OFFSET_IGNORED_MS:
            off = f"{abs(ahead_ms) // 1000} s {'ahead of' if ahead_ms > 0 else 'behind'}"
            yield f"          {off} the server's: readings are put right"
        yield f"refused   {self._one('SELECT count(*) FROM refused')}"
        for measured_ms, *words in self._db.execute(
            "SELECT measured_ms, sensor, value, coalesce(unit, ''), code, reason FROM refused"
            " ORDER BY id DESC LIMIT 5"
        ):
            yield f"          {iso(measured_ms)} {' '.join(map(str, words))}"


def readable_rows(db: sqlite3.Connection, table: str, after: int = 0) -> Iterator[sqlite3.Row]:
    """A table's rows in their order, without any index; a damaged page costs only its own rows."""
    sql = f"SELECT rowid AS row, * FROM {table} NOT INDEXED WHERE rowid BETWEEN ? AND ? ORDER BY 1"
    spans, failures = [(after + 1, FOREVER_MS)], 0
    while spans and failures < UNREADABLE_MAX:
        first, last = spans.pop()
        try:
            for row in db.execute(sql, (first, last)):
                first = row["row"] + 1
                yield row
        except sqlite3.DatabaseError:
            failures += 1
            if first < last:
                middle = (first + last) // 2
                spans += [(middle + 1, last), (first, middle)]


def fits(column: str, value: object) -> bool:
    """Whether a value out of a damaged spool can be one of that column."""
    if value is None:
        return column in {"unit", "measured_ms"}
    if column.endswith("_ms") or column == "synchronised":
        return isinstance(value, int)
    return isinstance(value, (int, float) if column == "value" else str)


# ---- the spool's files


def open_writer(path: Path) -> sqlite3.Connection:
    """A connection that writes ``path``, made where there is none; else CantWrite or SetupError."""
    try:
        if path != THIS_RUN:
            prepare_file(path)
    except OSError as error:
        if error.errno in UNWRITABLE:
            raise CantWrite(f"{error.filename}: {error.strerror}") from error
        raise SetupError(f"the spool's folder can't be made: {error}: set TMON_SPOOL") from error
    try:
        db = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None)
    except sqlite3.OperationalError as error:
        raise open_error(path, error) from error
    db.row_factory = sqlite3.Row
    return db


def prepare_file(path: Path) -> None:
    """Make the file where there is none; CantWrite if this user can't write it.

    Another user may have put a link or a pipe in the place of one of its files, which root would
    follow: that is a SetupError.
    """
    if path == NOWHERE:
        raise CantWrite("no folder in memory can be written")
    make_folder(path.parent)
    for suffix in ("", "-journal", "-wal", "-shm", ".lock"):
        file = Path(f"{path}{suffix}")
        with contextlib.suppress(OSError):  # there is none
            status = file.lstat()
            if not stat.S_ISREG(status.st_mode) and status.st_uid != os.geteuid():
                problem = "is no file, and another user's: remove it, or set TMON_SPOOL"
                raise SetupError(f"{file} {problem}")
    if not os.path.lexists(path):  # else closing it would drop the locks that SQLite has on it
        os.close(make_file(path))
    if not all(os.access(place, os.W_OK) for place in (path.parent, path) if place.exists()):
        read_only = os.statvfs(path.parent).f_flag & os.ST_RDONLY
        raise CantWrite("its disk is read-only" if read_only else "it is another user's to write")


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads ``path``, whoever owns it, and however its disk is."""
    try:
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=LOCK_TIMEOUT_S)
        db.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.DatabaseError as locked:
        if "locked" in str(locked):
            raise
        try:  # a run that was killed may have left a journal, which can't be rolled back here
            db = sqlite3.connect(f"{path.as_uri()}?mode=rw&immutable=1", uri=True)
        except sqlite3.OperationalError as error:
            raise open_error(path, error) from error
    db.row_factory = sqlite3.Row
    return db


def open_error(path: Path, error: sqlite3.OperationalError) -> Exception:
    """CantWrite with the system's reason, which SQLite doesn't tell, or SetupError."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError as reason:
        return CantWrite(f"{os.path.realpath(path)}: {reason.strerror}")
    if "unable to open" not in str(error):
        return CantWrite(str(error))
    return SetupError(f"{path} can't be opened as a spool: {error}: set TMON_SPOOL")


def is_corrupt(error: sqlite3.Error) -> bool:
    """Whether SQLite says ``not a database`` or ``malformed``: no subclass is raised for those."""
    return type(error) is sqlite3.DatabaseError


def make_folder(path: Path) -> None:
    """Make a folder, and those above it."""
    if not path.exists():
        if path.is_symlink():  # to a stick that was pulled out
            raise OSError(errno.ENODEV, "it is missing", os.path.realpath(path))
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        give_to_owner(path)


def make_file(path: Path) -> int:
    """Make an empty file, unless there is one, and open it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        # A lock may be a folder or a pipe too: nothing is read from it, nor waited for.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    give_to_owner(path)
    return descriptor


def give_to_owner(path: Path) -> None:
    """What root has just made in another user's folder is that user's."""
    if os.geteuid() == 0:
        folder = path.parent.stat()
        os.chown(path, folder.st_uid, folder.st_gid, follow_symlinks=False)


def open_own(path: Path, mode: str) -> IO[str]:
    """Open a plain file of this user's, or of the folder's owner's; OSError if it isn't one.

    Others who can write in the folder may have put a link or a pipe in its place. The text that
    is there isn't cut off at once, so that it can be written over on a full disk.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, (flags | os.O_NOFOLLOW | os.O_NONBLOCK) & ~os.O_TRUNC, 0o644)

    file = open(path, mode, encoding="utf-8", errors="replace", opener=opener)  # noqa: SIM115
    found, folder = os.fstat(file.fileno()), path.parent.stat()
    ours = found.st_uid in {os.geteuid(), folder.st_uid}
    if not (stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and ours):
        file.close()
        raise PermissionError(path)
    if mode != "r" and os.geteuid() == 0:  # see give_to_owner
        os.fchown(file.fileno(), folder.st_uid, folder.st_gid)
    return file


@contextlib.contextmanager
def sole_sender(spool: Path, wait: bool = False) -> Iterator[bool]:
    """Take the lock for sending from this spool; whether it was free."""
    # A file of its own: closing the database's would drop the locks that SQLite holds on it.
    for path in (spool, memory_path(spool)):  # the first may be on a read-only disk, or root's
        with contextlib.suppress(OSError):
            descriptor = make_file(Path(f"{path}.lock"))
            break
    else:  # all is full: then what is sent is in this process alone, see THIS_RUN
        yield True
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        yield False
    else:
        with contextlib.suppress(OSError):
            os.utime(descriptor)  # so that others see since when
        yield True
    finally:
        os.close(descriptor)


def sending_since_ms(spool: Path) -> int:
    """When the run that is sending from this spool took the lock; 0 if none is."""
    with contextlib.suppress(OSError):
        descriptor = os.open(f"{spool}.lock", os.O_RDONLY | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.fstat(descriptor).st_mtime * 1000)
        finally:
            os.close(descriptor)
    return 0


def memory_path(spool: Path) -> Path:
    """The spool in memory that stands in, until the next boot, for one that can't be written."""
    for place in (os.environ.get("RUNTIME_DIRECTORY") or "/run", *MEMORY):
        folder = Path(place, f"tmon-{os.geteuid()}")
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            status = folder.lstat()
            ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
            if ours and os.access(folder, os.W_OK):
                return folder / f"{crc32(str(spool).encode()):08x}.db"
    return NOWHERE


def replace_corrupt(path: Path, now_ms: int) -> str:
    """Replace a corrupt spool by a new one with all that can still be read, in one step.

    Returns what was done, or nothing if the spool isn't corrupt.
    """
    with sole_sender(path, wait=True):
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)) as db:
                if db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]:
                    return ""
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
        fresh = Path(f"{path}.new")
        for left in (Path(f"{fresh}-journal"), fresh):  # by a run that was killed
            left.unlink(missing_ok=True)
        with Spool(fresh) as spool:
            count = spool.copy_from(path)
        aside = Path(f"{path}.corrupt-{iso(now_ms).replace(':', '')}")
        for suffix in ("-journal", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
        Path(f"{fresh}-journal").rename(f"{path}-journal")
        try:
            os.link(path, aside)
        except OSError:  # not every file system has links
            path.rename(aside)
        fresh.rename(path)
        return f"{count} readings of it could be read and are kept; the rest is in {aside}"


# ---- the server


NEW_TOKEN = "on the server, `tmon token get NAME` prints the token to use"  # noqa: S105 - a hint
NOT_TMON = "it wasn't tmon that answered: is TMON_URL right, is there a login page in between?"
# By status. Used where the answer has no error of tmon's, which says itself what to do.
HINTS = {
    **dict.fromkeys([*range(200, 300), 400, 404, 405, 413], NOT_TMON),
    **dict.fromkeys((401, 403), NEW_TOKEN),
    407: "that proxy wants a name and a password: http_proxy=http://NAME:PASSWORD@…",
}


@dataclass(frozen=True)
class Answer:
    """A response, whoever sent it: a proxy or a café's login page answers too."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    via: str = ""  # words that name the proxy, where there is one

    def fields(self) -> dict[str, Any]:
        """The JSON object in the body; empty if it is none."""
        with contextlib.suppress(ValueError, RecursionError):  # [[[[…
            if isinstance(body := json.loads(self.body), dict):
                return body
        return {}

    def error(self) -> str:
        """The reason in tmon's words, where it is tmon that answered."""
        error = self.fields().get("error")
        return one_line(error) if isinstance(error, str) else ""

    def date_ms(self) -> int:
        """The server's clock by the Date header, or 0."""
        try:
            return int(parsedate_to_datetime(self.headers.get("Date", "")).timestamp() * 1000)
        except (TypeError, ValueError, OverflowError, IndexError):
            return 0

    def undelivered(self) -> Undelivered:
        """Why nothing was stored, and what to do about it."""
        reasons = [f"the server answered {self.status}{self.via}"]
        reasons += filter(None, [self.error() or HINTS.get(self.status)])
        if 300 <= self.status < 400:
            to = self.headers.get("Location")
            where = f" to {to}, which isn't followed" if to else ", without saying where"
            reasons.append(f"it redirects{where}")
        # What ends by itself is one trouble, whatever stands in for the server meanwhile.
        ends = self.status >= 500 or self.status == 429
        return Undelivered("; ".join(reasons), "server" if ends else f"server {self.status}")

    def rejections(self, count: int) -> dict[int, tuple[str, str]]:
        """The code and reason of each reading that was rejected, by its index in a batch.

        Undelivered if the receipt isn't complete, or isn't about ``count`` readings.
        """

        def typed(value: Any, kind: type) -> Any:  # a bool is an int, and 1.0 == 1
            if type(value) is kind:
                return value
            raise TypeError(value)

        body = self.fields()
        try:
            stored = [typed(body[key], int) for key in ("accepted", "duplicates")]
            rejections = {
                typed(r["index"], int): (typed(r["code"], str), typed(r["error"], str))
                for r in body["rejected"]
            }
        except (KeyError, TypeError):
            raise Undelivered("the server answered 201 without a receipt") from None
        indexes = rejections.keys() & set(range(count))
        if min(stored) < 0 or not len(indexes) == len(body["rejected"]) == count - sum(stored):
            raise Undelivered("the server answered 201 with a receipt for something else")
        return rejections


class Server:
    """Speaks HTTP with tmon; raises Undelivered when nobody answers."""

    def __init__(self, settings: Settings, answer_max_s: float = ANSWER_MAX_S) -> None:
        """Load requests only here, where it is needed: it takes most of a run's time."""
        try:
            import requests  # noqa: PLC0415 - see above
        except ImportError:
            raise SetupError("requests is missing: sudo apt install python3-requests") from None
        self._settings = settings
        self._answer_max_s = answer_max_s
        proxies = requests.utils.get_environ_proxies(settings.url)
        proxy = requests.utils.select_proxy(settings.url, proxies)
        self._via = f" through the proxy {re.sub('//.*@', '//', proxy)}" if proxy else ""
        self._connection_error = requests.ConnectionError
        self._answered = False  # so the next request goes over a connection that was left open
        self._session = requests.Session()
        self._session.auth = lambda request: request  # else requests would look into ~/.netrc
        self._session.get_redirect_target = lambda _: None  # type: ignore[method-assign,assignment]
        self._session.headers["Authorization"] = f"Bearer {settings.token}"
        self._session.headers["User-Agent"] = f"tmon-client/{VERSION}"
        self._session.headers["Accept-Encoding"] = "identity"

    def close(self) -> None:
        self._session.close()

    def post(self, batch: Sequence[Settled], now: Instant) -> Answer:
        """Send a batch. The Date header lets the server see how far off our clock is."""
        body = {"node": self._settings.node, "readings": [r.as_json() for r in batch]}
        date = formatdate(now.wall_ms / 1000, usegmt=True)
        return self._ask("POST", "/readings", json=body, headers={"Date": date})

    def time_ms(self) -> int | Undelivered:
        """The server's time, or the error if only readings may pass; other errors are raised."""
        answer = self._ask("GET", "/healthz")
        if answer.status in {401, 403, 404, 405}:
            return answer.undelivered()
        if answer.status >= 300:
            raise answer.undelivered()
        body = answer.fields()
        time_ms = body.get("time_ms")
        if type(time_ms) is not int or time_ms < YEAR_2020_MS or body.get("status") != "ok":
            line = "this clock isn't set, and /healthz doesn't tell the time"
            raise Undelivered(f"{line}: {NOT_TMON}")
        return time_ms

    def _ask(self, method: str, path: str, **options: Any) -> Answer:
        """The whole answer to one request; Undelivered if it takes longer than ``answer_max_s``.

        A thread does the work, and is left behind where it takes too long: only so is there one
        limit for the name's look-up, the connection, a proxy, TLS and every byte of the answer,
        and only so can a signal end the run meanwhile.
        """
        outcome: list[Answer | Exception] = []

        def exchange() -> None:
            try:
                try:
                    outcome.append(self._request(method, path, **options))
                except self._connection_error:  # the server closed it after the last answer
                    if not self._answered:
                        raise
                    outcome.append(self._request(method, path, **options))
            except Exception as error:
                outcome.append(error)

        thread = threading.Thread(target=exchange, daemon=True)
        thread.start()
        end_s = time.monotonic() + self._answer_max_s
        while thread.is_alive() and (left_s := end_s - time.monotonic()) > 0:
            thread.join(min(left_s, SIGNAL_CHECK_S))
        if not outcome:
            late = f"took longer than {self._answer_max_s:g} s to answer"
            raise Undelivered(f"{self._settings.url} {late}")
        answer = outcome[0]
        if isinstance(answer, (OSError, ValueError)):  # all that requests raises is one
            where = f"{self._settings.url} can't be reached{self._via}"
            raise Undelivered(f"{where}: {cause(answer)}") from answer
        if isinstance(answer, Exception):
            raise answer
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
            # We asked for plain text. What is compressed all the same isn't decoded: a few bytes
            # of it could be a gigabyte.
            response.raw.headers.pop("Content-Encoding", None)
            body = b""
            for part in response.iter_content(1 << 12):
                body += part
                if len(body) >= ANSWER_MAX_BYTES:
                    break
        self._answered = True
        return Answer(response.status_code, body, response.headers, self._via)


# ---- sending


class Sender:
    """Sends a spool's readings to the server; what isn't acknowledged stays in the spool."""

    def __init__(self, spool: Spool, server: Server, clock: Clock, reporter: Reporter) -> None:
        self._spool = spool
        self._server = server
        self._clock = clock
        self._reporter = reporter
        self._until_ms = FOREVER_MS  # later is what the server takes to be in the future
        self.stored = self.refused = 0  # how many readings, so far

    def send(self) -> None:
        """Send all that can be sent, or raise Undelivered."""
        unchecked = lost = 0  # readings of boots that never learned the time
        try:
            while True:
                counts = self._spool.settle(self._clock.now())
                unchecked, lost = unchecked + counts[0], lost + counts[1]
                if batch := self._spool.batch(self._latest_ms()):
                    self._deliver(batch)
                elif not self._spool.waits_for_time():
                    break
                elif not self._spool.knows_time(self._clock.now()):
                    self._learn_time()
        finally:
            if unchecked:
                line = "readings were sent with the time of a clock that nobody had checked"
                self._reporter.report("unchecked clock", f"{unchecked} {line}", at_once=True)
            if lost:
                line = "readings of an earlier boot have no known time: set aside as refused"
                self._reporter.report("unknown_time", f"{lost} {line}", at_once=True)
        if ahead := self._spool.count_after(self._latest_ms()):
            why = "are from a clock that was wrong: their time is to come"
            if self._until_ms < FOREVER_MS:
                why = "are ahead of the server's clock: see `timedatectl` on both"
            raise Undelivered(f"{ahead} readings {why}", "server clocks")

    def _latest_ms(self) -> int:
        """What was measured later has to wait: it is ahead of the server's clock, or of ours."""
        true_ms = self._spool.true_ms(self._clock.now())
        return self._until_ms if true_ms is None else min(self._until_ms, true_ms + AHEAD_MS)

    def _learn_time(self) -> None:
        """Ask the server for the time, taken to be halfway between request and answer."""
        before = self._clock.now()
        time_ms = self._server.time_ms()
        now = self._clock.now()
        if isinstance(time_ms, int):
            self._spool.learn_time(now, time_ms + (now.monotonic_ms - before.monotonic_ms) // 2)
        elif now.synchronised:
            self._spool.learn_time(now, now.wall_ms)
        else:
            raise time_ms

    def _deliver(self, batch: Sequence[Settled]) -> None:
        answer = self._server.post(batch, self._clock.now())
        if date_ms := answer.date_ms():
            self._spool.check_time(self._clock.now(), date_ms)
        # Only tmon's own 400 or 413 is about the readings. A proxy's 400 would be about all of
        # them; its 413 is about their number, down to the last, which is then no fault of its own.
        unfit = bool(answer.status in {400, 413} and answer.error())
        until_ms, code = date_ms + AHEAD_MS, answer.fields().get("code")
        if answer.status == 201:
            self._close(batch, answer.rejections(len(batch)))
        elif (unfit or answer.status == 413) and len(batch) > 1:
            self._deliver(batch[: len(batch) // 2])
            self._deliver(batch[len(batch) // 2 :])
        elif unfit:
            self._close(batch, {0: (str(answer.status), answer.error())})
        elif code == "clock_differs" and any(r.measured_ms > until_ms for r in batch):
            self._until_ms = until_ms
        else:
            raise answer.undelivered()

    def _close(self, batch: Sequence[Settled], rejections: Mapping[int, tuple[str, str]]) -> None:
        """Remove a batch from the spool, but for what is ahead of the server's clock."""
        ahead_ms = {
            index: batch[index].measured_ms
            for index, (code, _) in rejections.items()
            if code == "implausible_time" and batch[index].measured_ms > YEAR_2020_MS
        }
        if ahead_ms:
            self._until_ms = min(ahead_ms.values()) - 1
        done = [reading for index, reading in enumerate(batch) if index not in ahead_ms]
        refused = [
            (batch[index], one_line(code), one_line(reason))
            for index, (code, reason) in rejections.items()
            if index not in ahead_ms
        ]
        refusals = [(reading.id, code, reason) for reading, code, reason in refused]
        self._spool.close_batch(done, refusals, self._clock.now())
        self.stored += len(done) - len(refused)
        self.refused += len(refused)
        for reading, code, reason in refused:
            what = f"{reading.sensor} ({code})"
            line = f"the server refused {what}: {reason}"
            self._reporter.report(f"refused {what}", line, at_once=True)


# ---- reports


@dataclass(frozen=True)
class Trouble:
    """What is wrong, since when, for how many runs (0: it is over), and when it was reported."""

    line: str
    since_ms: int
    runs: int
    reported_ms: int


class Reporter:
    """Reports trouble on stderr, a line each; quiet when all is well, as cron mails any output.

    Trouble is reported when it lasts, then once a day, and when it is over. What the next run has
    to know is in a small file beside the spool; where that can't be written, in memory.
    """

    def __init__(self, spool: str, clock: Clock, *, verbose: bool, everything: bool) -> None:
        """``everything``: report trouble at once, and each time."""
        self._files = [Path(f"{memory_path(Path(spool).absolute())}.news")]
        if not spool.startswith("~"):  # of a user without a home
            self._files.insert(0, Path(f"{spool}.news"))
        self._clock = clock
        self._verbose = verbose
        self.everything = everything
        self._saved = self._read()
        self._troubles = dict(self._saved)
        self._in_this_run: dict[str, str] = {}  # by topic, the line if it wasn't reported

    def log(self, text: str) -> None:
        line = f"{iso(time.time_ns() // 1_000_000)} {one_line(text, 500)}"
        with contextlib.suppress(OSError):  # such as a log file on a full disk
            print(line, file=sys.stderr, flush=True)

    def detail(self, text: str) -> None:
        if self._verbose:
            self.log(text)

    def report(self, topic: str, line: str, *, at_once: bool = False, since_ms: int = 0) -> None:
        """Note trouble that this run has met, and log it if it lasts and wasn't logged today.

        Args:
            topic: what it is about, such as a sensor; nothing that varies from run to run.
            line: what to log.
            at_once: don't wait until it lasts: it happens once, or needs a person.
            since_ms: when it began, if that is known to be before this run.
        """
        if topic in self._in_this_run:
            return
        now_ms = self._clock.now().wall_ms
        old = self._troubles.get(topic) or Trouble(line, 0, 0, 0)
        since_ms = old.since_ms if old.runs else since_ms or now_ms
        runs = min(old.runs + 1, LASTING_RUNS)
        lasts = runs == LASTING_RUNS or now_ms - since_ms >= LASTING_MS
        is_new = abs(now_ms - old.reported_ms) >= REPORT_AGAIN_MS
        if self.everything or (is_new and (lasts or at_once or sys.stderr.isatty())):
            self.log(f"{line} (since {iso(since_ms)})" if old.runs else line)
            self._in_this_run[topic] = ""
            self._troubles[topic] = Trouble(line, since_ms, runs, now_ms)
        else:
            self._in_this_run[topic] = line
            line = old.line if old.runs else line  # a file that doesn't change isn't written
            self._troubles[topic] = Trouble(line, since_ms, runs, old.reported_ms)

    def is_over(self, topic: str, line: str = "") -> None:
        """Note that trouble of this topic, and of "topic …", is over; log this if it was logged."""
        for name, old in self._troubles.items():
            ended = name == topic or name.startswith(f"{topic} ")
            if ended and old.runs and name not in self._in_this_run:
                if old.reported_ms >= old.since_ms:
                    self.log(f"over: {line or old.line}")
                # It is remembered, so that what comes and goes is reported once a day.
                self._troubles[name] = replace(old, runs=0)

    def failing(self) -> set[str]:
        """The sensors that failed in the run before."""
        ongoing = (topic for topic, trouble in self._saved.items() if trouble.runs)
        return {topic[7:] for topic in ongoing if topic.startswith("sensor ")}

    def status(self) -> Iterator[str]:
        """What is wrong, and since when, a line each."""
        for trouble in sorted(self._troubles.values(), key=lambda trouble: trouble.since_ms):
            if trouble.runs:
                yield f"trouble   since {iso(trouble.since_ms)}: {trouble.line}"

    def close(self) -> None:
        """Save what the next run has to know; where that fails, log all."""
        if self._troubles == self._saved:
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
            self.log(line)

    def _read(self) -> dict[str, Trouble]:
        """What was saved, less what nobody has met for two days."""
        now_ms = self._clock.now().wall_ms
        for path in reversed(self._files):  # it is in memory while the other can't be written
            with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
                with open_own(path, "r") as file:
                    saved = json.load(file).items()
                troubles = {topic: Trouble(line, *map(int, ms)) for topic, (line, *ms) in saved}
                return {
                    topic: trouble
                    for topic, trouble in troubles.items()
                    if abs(now_ms - max(trouble.since_ms, trouble.reported_ms)) < FORGET_MS
                }
        return {}


# ---- a run


def read_all(
    settings: Settings, clock: Clock, names: SensorNames, failing: Collection[str], keep: bool
) -> Outcomes:
    """Read each sensor once, under the names that this machine has for them."""
    plan = ReadPlan(
        partial(find_devices, settings.sysfs),
        [*(health_probes() if settings.health else ()), *settings.commands],
        partial(names.assign, keep=keep),
        failing,
    )
    return read_sensors(plan, clock)


class Client:
    """One run: reads sensors, keeps the readings, sends them."""

    def __init__(self, settings: Settings, clock: Clock, reporter: Reporter) -> None:
        self._settings = settings
        self._clock = clock
        self._reporter = reporter
        self._unsafe = False  # whether readings are lost, or would be by a power cut

    def run(self) -> int:
        """Read, keep and send; returns the exit status."""
        reporter = self._reporter
        names = SensorNames(self._settings.spool, self._clock.now().wall_ms)
        if names.problem:
            reporter.report("names", names.problem, at_once=True)
        outcomes = read_all(self._settings, self._clock, names, reporter.failing(), keep=True)
        for sensor, reason in outcomes.failures:
            reporter.report(f"sensor {sensor}", f"{sensor}: {reason}")
        for reading in outcomes.readings:
            reporter.is_over(f"sensor {reading.sensor}")
        if outcomes.readings or outcomes.failures:
            reporter.is_over("no sensor")
        else:
            line = f"no sensor found under {self._settings.sysfs}: see --command"
            reporter.report("no sensor", line)
        status = self._keep(outcomes.readings)
        return status if self._settings.strict or self._unsafe else SENT

    def _keep(self, readings: list[Reading]) -> int:
        """Keep the readings and send: in the spool, or in memory where it can't be written."""
        path = self._settings.spool
        try:
            try:
                status = self._keep_on_disk(readings)
            except sqlite3.DatabaseError as error:
                if not is_corrupt(error):
                    raise
                if done := replace_corrupt(path, self._clock.now().wall_ms):
                    line = f"the spool is corrupt ({error}): {done}"
                    self._reporter.report("corrupt spool", line, at_once=True)
                status = self._keep_on_disk(readings)
        except sqlite3.OperationalError as error:
            # Is it the disk, or another program? Else it is a fault of ours.
            said = "is full|readonly|disk I/O|unable to open|is locked"
            if not isinstance(error, CantWrite) and not re.search(said, str(error)):
                raise
            waits = "readings wait in memory until they are sent"
            line = f"{path} can't be written: {error}; {waits}"
            self._reporter.report("spool", line, at_once=True)
            return self._keep_in_memory(readings)
        if not self._unsafe:
            self._reporter.is_over("spool")
            self._reporter.is_over("memory")
        return status

    def _keep_on_disk(self, readings: list[Reading]) -> int:
        with Spool(self._settings.spool, self._settings.spool_max) as spool:
            self._add(spool, readings)
            path = memory_path(self._settings.spool)
            if path.exists() and self._empty_memory(path, spool):
                return KEPT
            return self._send(spool)

    def _add(self, spool: Spool, readings: list[Reading]) -> None:
        """Move the readings into a spool."""
        if dropped := spool.add(readings):
            line = f"the spool is full: {dropped} old readings were thinned out"
            self._reporter.report("thinned", line, at_once=True)
        readings.clear()

    def _empty_memory(self, path: Path, spool: Spool) -> bool:
        """Move what waits in memory to the spool, which can be written again, or send it.

        Returns whether readings are in both: sent from there too, they could be stored twice.
        """
        try:
            memory = Spool(path, MEMORY_MAX)
        except sqlite3.DatabaseError as error:
            line = f"what waits in memory can't be read: {path}: {error}"
            self._reporter.report("memory", line, at_once=True)
            return False
        with memory:
            with sole_sender(self._settings.spool) as sole:
                try:
                    if sole and not memory.is_empty():  # else another run is sending it
                        memory.move_to(spool, path)
                except sqlite3.OperationalError as error:
                    line = f"{self._settings.spool} has no room for what waits in memory: {error}"
                    self._reporter.report("spool", line, at_once=True)
            self._send(memory)
            if memory.is_empty():
                memory.give_back(spool)
            self._unsafe |= not memory.is_empty()
            return memory.borrowed_id(spool) > 0

    def _keep_in_memory(self, readings: list[Reading]) -> int:
        path = self._settings.spool
        try:
            with Spool(memory_path(path), MEMORY_MAX) as memory:
                self._add(memory, readings)
                status = self._send(memory)
                while memory.is_empty() and memory.borrow(path):
                    status = max(status, self._send(memory))
                    if memory.is_empty():  # make room in a full spool; a read-only one stays
                        with contextlib.suppress(sqlite3.DatabaseError), Spool(path) as card:
                            memory.give_back(card)
                self._unsafe |= not memory.is_empty()
                return status
        except sqlite3.DatabaseError as error:
            return self._send_from_here(readings, error)

    def _send_from_here(self, readings: list[Reading], error: sqlite3.DatabaseError) -> int:
        """Send what was read, the last that is left to do; what is elsewhere stays there."""
        with Spool(THIS_RUN) as spool:
            spool.add(readings)
            status = self._send(spool)
            if readings and spool.is_empty():
                return status
        line = f"what waits in memory can't be sent: {error}"
        if readings:
            line = f"{len(readings)} readings can't be kept in memory either: {error}"
        self._reporter.report("memory", line, at_once=True)
        self._unsafe = True
        return KEPT

    def _send(self, spool: Spool) -> int:
        if spool.is_empty():
            return SENT
        if wait_s := random_delay_s(self._settings.jitter_s):
            self._reporter.detail(f"waiting {wait_s:.0f} s, as not all nodes are to send at once")
            self._clock.sleep(wait_s)
        with sole_sender(self._settings.spool) as sole:
            if not sole:
                self._report_other_run()
                return KEPT
            self._reporter.is_over("another run")
            with contextlib.closing(Server(self._settings)) as server:
                sender = Sender(spool, server, self._clock, self._reporter)
                try:
                    sender.send()
                except Undelivered as error:
                    line = f"{error}; the readings are kept and sent later"
                    self._reporter.report(error.topic, line, since_ms=spool.get_state("sent_ms"))
                    return KEPT
        self._reporter.is_over("server", "the server takes the readings again")
        refused = f"; it refused {sender.refused}" if sender.refused else ""
        self._reporter.detail(f"sent {sender.stored} readings to {self._settings.url}{refused}")
        return SENT

    def _report_other_run(self) -> None:
        now = self._clock.now()
        since_ms = sending_since_ms(self._settings.spool) or now.wall_ms
        # No run is older than the boot, whatever the clock was when it began.
        age_ms = max(0, min(now.wall_ms - since_ms, now.monotonic_ms))
        line = f"another run is sending, for {age_ms // 60_000} min: the readings are left to it"
        if age_ms >= OTHER_RUN_MAX_MS:
            self._reporter.report("another run", line, at_once=True)
        elif self._reporter.everything:
            self._reporter.log(line)


# ---- settings and the command line


@dataclass(frozen=True)
class Settings:
    """What a person decides; made by ``parse``, so that what is here is fit for use."""

    url: str
    token: str = field(repr=False)
    node: str
    sysfs: Path
    spool: Path
    spool_max: float
    jitter_s: float
    ca_file: str
    commands: tuple[Probe, ...]
    health: bool
    loop_s: float
    strict: bool

    @classmethod
    def parse(cls, args: argparse.Namespace) -> Settings:
        """Check everything; SetupError has all problems, not only the first."""
        sends = not args.print and not args.status
        problems = []

        def checked(parse: Callable[..., Any], *texts: Any) -> Any:
            try:
                return parse(*texts)
            except ValueError as error:
                problems.append(str(error))

        token, node = (sends and checked(parse_token, args.token, args.node)) or ("", "")
        settings = cls(
            url=checked(parse_url, args.url) if sends else "",
            token=token,
            node=node,
            sysfs=Path(args.sysfs),
            spool=checked(parse_spool, args.spool, not args.print),
            spool_max=checked(parse_number, args.spool_max, "TMON_SPOOL_MAX", 2),
            jitter_s=checked(parse_number, args.jitter_s, "TMON_JITTER_S", 0),
            ca_file=checked(parse_ca_file, args.ca_file),
            commands=checked(command_probes, args.command or filter(str.strip, args.commands)),
            health=checked(parse_switch, args.health, "TMON_HEALTH"),
            loop_s=checked(parse_number, args.loop, "--loop", 0.1) if args.loop else 0,
            strict=args.strict,
        )
        if problems:
            raise SetupError(*problems)
        return settings


def parse_url(text: str) -> str:
    """The server's address, without a slash or the path of its readings at its end."""
    if not text:
        raise ValueError("no server: set TMON_URL, such as http://192.168.1.10:13117")
    if "@" in text:
        raise ValueError("TMON_URL holds a user name or password: tmon needs its token only")
    host = r"[\w-]{1,63}(\.[\w-]{1,63})*\.?|\[[0-9A-Fa-f:.]+\]"
    match = re.fullmatch(rf"(?i:(https?))://({host})(:(?P<port>\d{{1,5}}))?(/[^\s?#]*)?", text)
    if not match or not 1 <= int(match["port"] or 1) <= 65_535:
        raise ValueError(f"TMON_URL {text!r} isn't like http://192.168.1.10:13117")
    return match[1].lower() + re.sub("(/+readings)?/*$", "", text[len(match[1]) :])


def parse_token(text: str, node: str) -> tuple[str, str]:
    """The token, and the node's name in ``tmon_<name>.<uid>.<generation>.<signature>``.

    No message ever shows the token. If ``node`` is given, it goes before the token's.
    """
    token = text.strip()
    if not token:
        raise ValueError("no token: set TMON_TOKEN to what `tmon token get NAME` prints")
    if not re.fullmatch(r"[!-~]+", token):
        raise ValueError("TMON_TOKEN has spaces or strange letters in it: copy it again")
    match = re.fullmatch(r"tmon_([^.]+)(\.[^.]+){3}", token)
    if not node and not match:
        raise ValueError("TMON_TOKEN isn't a whole token, which names the node: copy it again")
    return token, node or (match[1] if match else "")


def parse_number(text: str, name: str, least: float) -> float:
    """A finite number that isn't less than ``least``."""
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(text)) and number >= least:
            return number
    raise ValueError(f"{name} {text!r} isn't a number of at least {least}")


def parse_switch(text: object, name: str) -> bool:
    """Yes or no, as people write it."""
    if (word := str(text).strip().lower()) in {"1", "yes", "true", "on", "0", "no", "false", "off"}:
        return word in {"1", "yes", "true", "on"}
    raise ValueError(f"{name} {text!r} is neither yes nor no")


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
    if os.path.isfile(text):  # noqa: PTH113 - it may be a folder, or nothing
        import ssl  # noqa: PLC0415 - it takes its time

        try:
            ssl.create_default_context(cafile=text)
        except (OSError, ValueError):
            raise ValueError(f"TMON_CA_FILE {text!r} holds no certificate") from None
    return text


# Where root's cron keeps its spool, and our systemd unit.
SERVICE_SPOOLS = ("/var/lib/tmon/spool.db", "/var/lib/tmon-client/spool.db")


def default_spool(to_look: bool) -> str:
    """Where services keep their state, for root, else where a person's programs do.

    With ``to_look``, a service's spool where this user has none.
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

OPTIONS = (
    ("url", URL, "the server, such as http://192.168.1.10:13117"),
    ("token", TOKEN, "the node's token; given as a flag, all users here can see it in ps"),
    ("node", "", argparse.SUPPRESS),  # the token has it; goes with the next release
    ("sysfs", "/sys", argparse.SUPPRESS),  # for tests
    ("spool", SPOOL, "the file in which readings wait"),
    ("spool-max", SPOOL_MAX, "readings to keep before old ones are thinned out"),
    ("jitter-s", JITTER_S, "send up to so many seconds later, at random"),
    ("ca-file", CA_FILE, "certificates to trust for https"),
    ("health", HEALTH, "yes: also this machine's disk, memory, load, uptime and Wi-Fi"),
)


def parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    """The command line; its defaults are the environment, then the settings at the top."""
    made = argparse.ArgumentParser(
        prog="client.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, default, text in OPTIONS:
        variable = f"TMON_{name.upper().replace('-', '_')}"
        value = environ.get(variable) or default
        shown = text if text == argparse.SUPPRESS else f"{text} [{variable}]"
        made.add_argument(f"--{name}", default=value, help=shown)
    commands = environ.get("TMON_COMMANDS") or COMMANDS
    made.set_defaults(commands=commands.splitlines() if isinstance(commands, str) else commands)
    text = "a shell command that prints one number; repeatable [TMON_COMMANDS, one a line]"
    made.add_argument("--command", action="append", metavar="NAME:UNIT=COMMAND", help=text)
    mode = made.add_mutually_exclusive_group()
    mode.add_argument("--loop", metavar="SECONDS", help="start a run every so many seconds")
    mode.add_argument("--print", action="store_true", help="show the readings, send nothing")
    mode.add_argument("--retry-refused", action="store_true", help="send again what was refused")
    mode.add_argument("--status", action="store_true", help="show what is kept, ask nobody")
    made.add_argument("--strict", action="store_true", help="exit status 1 if readings are kept")
    made.add_argument("--verbose", action="store_true", help="report all, and at once")
    made.add_argument("--version", action="version", version=VERSION)
    return made


def print_readings(settings: Settings, clock: Clock, reporter: Reporter) -> int:
    """Show what the sensors say, as a table; on stderr, what else there is to know."""
    names = SensorNames(settings.spool)
    outcomes = read_all(settings, clock, names, reporter.failing(), keep=False)
    width = max((len(reading.sensor) for reading in outcomes.readings), default=0)
    for reading in outcomes.readings:
        print(f"{reading.sensor:<{width}}  {reading.value:>10} {reading.unit or ''}".rstrip())
    for line in filter(None, (names.problem, *map(": ".join, outcomes.failures))):
        reporter.log(line)
    for command in settings.commands:
        if command.unit and command.unit not in KNOWN_UNITS:
            reporter.log(f"{command.sensor}: {command.unit}: not a unit tmon knows")
    if outcomes.not_read:
        reporter.log(f"also there: {', '.join(outcomes.not_read)}")
    if not outcomes.readings:
        reporter.log(f"no readings from {settings.sysfs}: see --command in --help")
    return SENT if outcomes.readings else KEPT


def print_status(path: Path, clock: Clock, reporter: Reporter) -> int:
    """Show what waits in the spool, and why."""
    print(f"spool     {path}")
    with contextlib.ExitStack() as opened:
        memory = None
        with contextlib.suppress(sqlite3.DatabaseError, SetupError):
            if (in_memory := memory_path(path)).exists():
                memory = opened.enter_context(Spool(in_memory, read_only=True))
        if not os.path.lexists(path):
            print("kept      0: there is no such file yet")
        else:
            try:
                spool = opened.enter_context(Spool(path, read_only=True))
                print(f"kept      {spool.summary(memory)}", *spool.status(clock.now()), sep="\n")
            except sqlite3.DatabaseError as error:
                print(f"kept      it can't be read: {error}")
        if memory:
            print(f"in memory {memory.summary()}")
    if since_ms := sending_since_ms(path):
        print(f"sending   another run is at it, since {iso(since_ms)}")
    for line in reporter.status():
        print(line)
    return SENT


def loop(settings: Settings, argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Start a run every ``loop_s``, until it is stopped or a run finds that it is set up wrong."""
    command = [sys.executable, __file__, *argv, "--loop=", "--jitter-s=0"]
    first = ["--verbose"] if sys.stderr.isatty() else []  # so that its user sees that it works
    time.sleep(random_delay_s(min(settings.jitter_s, settings.loop_s)))
    due_s = time.monotonic()
    runs: list[subprocess.Popen[bytes]] = []
    try:
        while WRONG not in {run.returncode for run in runs}:
            if len(runs) < RUNS_AT_ONCE:
                # In a session of its own: Ctrl-C is for the loop, which then ends its runs.
                new = subprocess.Popen([*command, *first], env=environ, start_new_session=True)  # noqa: S603
                runs.append(new)
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


def run(args: argparse.Namespace, clock: Clock, reporter: Reporter) -> int:
    """Do what the command line asks for; returns the exit status."""
    settings = Settings.parse(args)
    if args.print:
        return print_readings(settings, clock, reporter)
    if args.status:
        return print_status(settings.spool, clock, reporter)
    if settings.loop_s:
        return loop(settings, args.argv, args.environ)
    if args.node:
        line = "--node goes with the next release: the token has the node's name"
        reporter.report("--node", line, at_once=True)
    if args.retry_refused:
        with Spool(settings.spool) as spool:
            again = spool.retry_refused()
            unknown = spool.count_unknown()
    status = Client(settings, clock, reporter).run()
    if args.retry_refused:
        with Spool(settings.spool) as spool:
            unknown = spool.count_unknown() - unknown
            sent = "are" if spool.is_empty() else "wait to be"
        print(f"{again - unknown} refused readings {sent} sent again")
        if unknown:
            print(f"{unknown} still have no known time, and stay refused")
    reporter.is_over("setup")
    reporter.is_over("failed")
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
    shows = args.print or args.status
    by_hand = sys.stderr.isatty() and args.loop is None  # a person waits for the run
    spool = os.path.expanduser(args.spool)  # noqa: PTH111 - see parse_spool
    everything = args.verbose or shows or by_hand
    reporter = Reporter(spool, clock, verbose=args.verbose, everything=everything)
    try:
        status = run(args, clock, reporter)
    except SetupError as error:
        for place, problem in enumerate(error.args):
            reporter.report(f"setup {place}", problem, at_once=True)
        status = WRONG
    except Exception as error:
        reporter.report("failed", f"failed: {type(error).__name__}: {error}")
        if args.verbose:
            traceback.print_exc()
        status = FAILED
    if not shows:
        reporter.close()
    return status


if __name__ == "__main__":
    # A run may be cut off at any moment: what isn't acknowledged is sent again.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    exit_status = FAILED
    with contextlib.suppress(KeyboardInterrupt, OSError):
        exit_status = main()
        print(end="", flush=True)
    os._exit(exit_status)  # a thread that waits for an answer is not waited for
