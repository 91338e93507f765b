"""Start processes, wait for them, measure them from /proc, and stop them."""

import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

TICKS_A_S = os.sysconf("SC_CLK_TCK")
START_S = 60  # the longest time until a peer answers
STOP_S = 30
IDLE_SHARE = 0.05  # a server that uses less of one core counts as idle


class Failed(Exception):
    """The benchmark can't go on; the message says what happened."""


class Process:
    """A running program, in its own folder, which also has files with its output."""

    def __init__(self, command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> None:
        self.name = Path(command[0]).name
        self._stdout, self._stderr = folder / "stdout.log", folder / "stderr.log"
        with self._stdout.open("w") as stdout, self._stderr.open("w") as stderr:
            self._popen = subprocess.Popen(
                command, cwd=folder, env=dict(environ), stdout=stdout, stderr=stderr
            )
        self.pid = self._popen.pid

    def output(self) -> str:
        """All that it has printed so far."""
        return self._stdout.read_text()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition.

        Raises:
            Failed: it ended, or took too long.
        """
        deadline = time.monotonic() + START_S
        while not condition():
            if self._popen.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{self.name} did not start: {self._stderr.read_text()[-2000:]}")
            time.sleep(0.005)

    def end(self) -> None:
        """Terminate it; kill it if that takes too long."""
        self._popen.terminate()
        try:
            self._popen.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


@contextmanager
def running(
    command: Sequence[str], folder: Path, extra: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """Run a process during the block, without the TMON_ settings of this process."""
    folder.mkdir(parents=True, exist_ok=True)
    environ = {name: text for name, text in os.environ.items() if not name.startswith("TMON_")}
    process = Process(command, folder, {**environ, **(extra or {})})
    try:
        yield process
    finally:
        process.end()


def free_port() -> int:
    """A free port of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def answers(port: int, path: str) -> bool:
    """Whether there is any response to a GET."""
    connection = HTTPConnection("127.0.0.1", port, timeout=START_S)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    return True


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return [pid, *(one for child in children for one in tree(child))]


def cpu_s(pid: int) -> float:
    """The CPU time of a process tree, in user mode and in the kernel."""
    return sum(_ticks(one) for one in tree(pid)) / TICKS_A_S


def _ticks(pid: int) -> int:
    """Fields utime and stime of /proc/PID/stat (proc(5)); the name before them may hold spaces."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def written_bytes(pid: int) -> int:
    """Bytes that a process tree has written to disks, in whole pages of the system."""
    lines = [line for one in tree(pid) for line in Path(f"/proc/{one}/io").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def pss_bytes(pid: int) -> Counter[str]:
    """Memory of a process tree by command; shared pages are divided among processes (PSS).

    Processes with the same command, such as forked ones, are added up.
    """
    used: Counter[str] = Counter()
    for one in tree(pid):
        used[Path(f"/proc/{one}/cmdline").read_text().replace("\0", " ")] += _pss_kib(one) * 1024
    return used


def _pss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0  # a kernel thread, or a process that is ending


def settle(pid: int, patience_s: float) -> None:
    """Wait until a server has finished its background work, such as compaction."""
    deadline = time.monotonic() + patience_s
    before, idle = cpu_s(pid), 0
    while idle < 2 and time.monotonic() < deadline:
        time.sleep(min(1.0, patience_s))
        now = cpu_s(pid)
        idle = idle + 1 if now - before < IDLE_SHARE else 0
        before = now
