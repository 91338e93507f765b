"""A load, driven by wrk, and what came of it."""

import json
import math
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.bulk import send
from bench.peers import HERE, Server
from bench.process import Failed, cpu_s
from bench.shape import Node, Point
from tmon.core.time import HOUR_MS

THREADS = min(2, os.cpu_count() or 1)  # of wrk; they share the cores with the server
PATIENCE_S = 30  # for the first answer


@dataclass(frozen=True)
class Load:
    """So many connections, each with the next request as soon as the last is answered."""

    name: str
    connections: int
    count: int  # readings a request
    sensors: int  # of each node, with equally many of them
    step_ms: int  # from one reading of a sensor to its next
    window_ms: int  # more than a run gets through


SINGLE = Load("single", 64, count=1, sensors=1, step_ms=100, window_ms=HOUR_MS // 2)
MANY = Load("many", 256, count=1, sensors=1, step_ms=100, window_ms=HOUR_MS // 2)
BATCH = Load("batch", 16, count=100, sensors=10, step_ms=10_000, window_ms=5 * HOUR_MS)


@dataclass(frozen=True)
class Outcome:
    """What wrk and /proc say of one run; times in the unit of their names."""

    requests: int
    readings: int
    seconds: float
    cpu_s: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Readings a second."""
        return self.readings / self.seconds

    @property
    def cpu_rate(self) -> float:
        """Readings a second of the server's CPU time, on whichever core."""
        return self.readings / max(self.cpu_s, 0.01)  # one tick of the clock


class NothingAnswered(Failed):
    """A load was over before the first answer to it."""


class Clock:
    """Hands out stretches of time, one after the other, so that no reading comes twice."""

    def __init__(self, start_ms: int) -> None:
        self._next_ms = start_ms

    def next(self, window_ms: int) -> int:
        start_ms = self._next_ms
        self._next_ms += window_ms
        return start_ms


def drive(server: Server, load: Load, clock: Clock, seconds: float, folder: Path) -> Outcome:
    """Warm the server up, with one reading of each node, and put the load on it.

    Where nothing at all is answered in that time, it gets twice as long.

    Raises:
        Failed: an answer wasn't 2xx, or less was stored than was acknowledged.
    """
    start_ms = clock.next(load.window_ms)
    if server.makes_sensors:
        warm_up(server, start_ms, load.sensors)
    shape, nodes = folder / "shape.lua", folder / "nodes.tsv"
    server.shape.write_lua(shape, load.count, load.sensors, start_ms=start_ms, step_ms=load.step_ms)
    write_nodes(nodes, server.nodes)
    before_s = cpu_s(server.pid)
    wrk = start_wrk("load.lua", server.port, load.connections, seconds, [shape, nodes])
    try:
        measured = finish_wrk(wrk, seconds, server)
    except NothingAnswered:
        if seconds > PATIENCE_S:
            raise
        return drive(server, load, clock, 2 * seconds, folder)
    used_s = cpu_s(server.pid) - before_s
    readings = measured["requests"] * load.count
    check_stored(server, start_ms, readings)
    return Outcome(
        requests=measured["requests"],
        readings=readings,
        seconds=measured["duration_us"] / 1e6,
        cpu_s=used_s,
        p50_ms=measured["p50_us"] / 1000,
        p99_ms=measured["p99_us"] / 1000,
    )


def warm_up(server: Server, measured_ms: int, sensors: int = 1) -> None:
    """One reading of each sensor at one instant: then all are there."""
    names = [f"temperature{number}" for number in range(1, sensors + 1)]
    points = [Point(name, measured_ms, "20.00") for name in names]
    send(server.port, (server.shape.request(node, points) for node in server.nodes))


def write_nodes(path: Path, nodes: Sequence[Node]) -> None:
    path.write_text("".join(f"{node.name}\t{node.token}\n" for node in nodes))


def start_wrk(
    script: str, port: int, connections: int, seconds: float, arguments: Sequence[Path]
) -> subprocess.Popen[str]:
    threads = str(min(THREADS, connections))
    command = ["wrk", "-t", threads, "-c", str(connections), "-d", f"{math.ceil(seconds) + 5}s"]
    command += ["--timeout", "30s", "-s", str(HERE / script), f"http://127.0.0.1:{port}", "--"]
    return subprocess.Popen(
        [*command, *map(str, arguments), threads],
        env={**os.environ, "LUA_PATH": f"{HERE}/?.lua;;"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish_wrk(wrk: subprocess.Popen[str], seconds: float, server: Server) -> dict[str, int]:
    """Let wrk run for so long, which may be less than the second it knows, and return its results.

    Raises:
        Failed: not all answers were 2xx; NothingAnswered: there were none.
    """
    try:
        wrk.wait(seconds)
    except subprocess.TimeoutExpired:
        wrk.send_signal(signal.SIGINT)
    except BaseException:
        wrk.kill()
        raise
    stdout, stderr = wrk.communicate()
    last = stdout.strip().rpartition("\n")[2]
    if wrk.returncode or not last.startswith("{"):
        raise Failed(f"wrk: {stderr or stdout}")
    measured: dict[str, int] = json.loads(last)
    if measured["refused"] or measured["broken"]:
        raise Failed(f"{server.name} did not answer everything with 2xx: {last}\n{stdout}")
    if not measured["requests"]:
        raise NothingAnswered(f"{server.name} did not answer in time: {last}\n{stdout}")
    return measured


def check_stored(server: Server, since_ms: int, acknowledged: int) -> None:
    """Whether a server holds what it acknowledged, if it can tell.

    Raises:
        Failed: it holds less.
    """
    if server.stored is None:
        return
    stored = server.stored(since_ms)
    if stored < acknowledged:
        raise Failed(f"{server.name} acknowledged {acknowledged} readings and holds {stored}")
