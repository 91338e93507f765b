"""The machine, and the versions of all programs that take part."""

import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from bench.peers import INFLUX_NAME, PACKAGES, PROGRAMS, VICTORIA_NAME
from bench.process import Failed
from tmon.db.connect import sqlite3

SYNCS = 50
PYTHON_PACKAGES = ("tmon", "starlette", "uvicorn", "httptools", "uvloop", "msgspec", "datasette")


@dataclass(frozen=True)
class Machine:
    """The machine on which figures were measured."""

    cpu: str
    cores: int
    memory_gb: float
    kernel: str
    disk: str  # the file system of the databases
    sync_ms: float  # how long it takes there to write and sync 4 KiB
    versions: Mapping[str, str]

    @classmethod
    def this(cls, scratch: Path) -> "Machine":
        """This machine, with the disk of the folder ``scratch``."""
        return cls(
            cpu=_field("/proc/cpuinfo", "model name") or platform.machine(),
            cores=os.cpu_count() or 1,
            memory_gb=round(
                int((_field("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) / 1e6, 1
            ),
            kernel=f"{platform.system()} {platform.release()}",
            disk=file_system(scratch),
            sync_ms=_sync_ms(scratch),
            versions=_versions(),
        )

    def is_like(self, other: "Machine") -> bool:
        """Whether figures of the two can be compared."""
        return (self.cpu, self.cores) == (other.cpu, other.cores)


def require(programs: Sequence[str]) -> None:
    """Check that all programs are installed.

    Raises:
        Failed: names the missing programs and their Debian packages.
    """
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        packages = " ".join(PACKAGES[program] for program in missing)
        raise Failed(f"missing: {', '.join(missing)}. On Debian: apt install {packages}")


def absent_peers() -> dict[str, str]:
    """Peers that aren't installed, and their programs."""
    return {peer: program for peer, program in PROGRAMS.items() if not shutil.which(program)}


def file_system(folder: Path) -> str:
    """The type of the file system that holds ``folder``, such as ext4 or tmpfs."""
    best = ("/", "unknown")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if folder.resolve().is_relative_to(where) and len(where) >= len(best[0]):
            best = (where, kind)
    return best[1]


def _sync_ms(folder: Path) -> float:
    with tempfile.TemporaryFile(dir=folder) as file:
        times_s = [_time_of_sync_s(file.fileno()) for _ in range(SYNCS)]
    return float(f"{median(times_s) * 1000:.2g}")


def _time_of_sync_s(descriptor: int) -> float:
    os.write(descriptor, bytes(4096))
    began_s = time.perf_counter()
    os.fdatasync(descriptor)
    return time.perf_counter() - began_s


def _versions() -> dict[str, str]:
    return {
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        **{name: version(name) for name in PYTHON_PACKAGES},
        "wrk": _debian("wrk"),
        INFLUX_NAME: _debian("influxd"),
        VICTORIA_NAME: _debian("victoria-metrics"),
    }


def _debian(program: str) -> str:
    """The version of a program's Debian package; VictoriaMetrics doesn't print its own."""
    if not shutil.which(program):
        return "not installed"
    if not shutil.which("dpkg-query"):
        return "unknown"
    query = ["dpkg-query", "--show", "--showformat=${Version}", PACKAGES[program]]
    ran = subprocess.run(query, capture_output=True, text=True, check=False)
    return ran.stdout or "unknown"


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return ""
