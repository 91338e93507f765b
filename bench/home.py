"""Row home: bytes written to the disk by twenty nodes at home, each with a request a minute."""

import subprocess
import sys
from collections.abc import Iterator

from bench import peers
from bench.bulk import send
from bench.peers import Server
from bench.process import written_bytes
from bench.shape import Point
from bench.work import WRITERS, Work
from tmon.core.time import now_ms

NODES, SENSORS = 20, ("temperature", "humidity", "pressure")
RECORDER_NAME = "Home Assistant's recorder"
WARM_ROUNDS = 60  # an hour: after it each sensor has a page of its own


def run(work: Work) -> None:
    nodes = peers.tokens(work.folder / "home" / peers.TMON_NAME, [f"n{n}" for n in range(NODES)])
    readings = work.scale.home_rounds * NODES * len(SENSORS)
    for name in (peers.TMON_NAME, peers.INFLUX_NAME):
        if name in work.absent:
            continue
        with WRITERS[name](work.folder / "home" / name, nodes) as server:
            send(server.port, _requests(server, WARM_ROUNDS), connections=1)
            before = written_bytes(server.pid)
            send(server.port, _requests(server, work.scale.home_rounds), connections=1)
            written = (written_bytes(server.pid) - before) / readings
        _note(work, name, written)
    _note(work, RECORDER_NAME, _recorder(work))


def _note(work: Work, name: str, written: float) -> None:
    work.record.add("home.written", name, written)
    work.say(f"home: {name} writes {written:,.0f} bytes a reading")


def _recorder(work: Work) -> float:
    file, sensors = work.folder / "home" / "recorder.db", NODES * len(SENSORS)
    counts = map(str, (sensors, WARM_ROUNDS, work.scale.home_rounds))
    command = [sys.executable, str(peers.HERE / "recorder.py"), str(file), *counts]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _requests(server: Server, rounds: int) -> Iterator[bytes]:
    """Readings of the present moment, as fast as they are answered."""
    for number in range(rounds):
        for node in server.nodes:
            at_ms = now_ms()
            points = [Point(sensor, at_ms, f"{20 + number % 50 / 8}") for sensor in SENSORS]
            yield server.shape.request(node, points)
