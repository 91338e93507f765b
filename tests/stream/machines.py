"""Two machines with ingest and sink, beside three NATS servers; and load, and what became of it."""

import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from heapq import nlargest
from itertools import cycle
from pathlib import Path

import requests

from tests.station import Process, hourly_equals_raw, tmon, wait_for
from tests.stream.cluster import Cluster, three_servers
from tests.stream.outages import KEPT, Outage, Watch
from tests.test_kill import NOON_MS, free_port
from tmon.db.connect import open_for_reading
from tmon.stream.messages import partition_of

# What is the same on all machines; not when nodes were last heard, which is noted once a minute.
SAME = {
    "nodes": "name, uid, description, created_ms, token_generation, revoked_ms",
    "sensors": "id, node, name, quantity, unit",
    "sensor_names": "node_uid, wire_name, sensor",
    "readings": "sensor, measured_ms, value",
    "rejected": "id, received_ms, node, sensor, measured, value, code, reason",
}


class Machine:
    """The processes of one machine; its file is in its folder."""

    def __init__(self, folder: Path, name: str, cluster: Cluster) -> None:
        self.name = name
        self.folder = folder / name / "station"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.db = self.folder / "tmon.db"
        self.environ = {"TMON_STREAM": cluster.urls(name)}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.sink: Process | None = None
        self.ingest: Process | None = None

    def tmon(self, *arguments: str) -> str:
        """What a command prints here, which must succeed."""
        ran = tmon(self.folder, *arguments, environ=self.environ)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def start_sink(self, *command: str) -> None:
        self.sink = self._start("sink", command=command)

    def start_ingest(self) -> None:
        self.ingest = self._start("serve", "ingest", "--port", str(self.port))

    def wait_for_ingest(self) -> None:
        """Wait until its ingest takes readings."""
        wait_for(self.is_well, pause_s=0.05)

    def is_well(self) -> bool:
        """Whether its ingest says that it takes readings."""
        assert self.ingest is not None
        assert self.ingest.popen.poll() is None, self.log
        try:
            return requests.get(f"{self.url}/healthz", timeout=10).status_code == 200
        except requests.RequestException:
            return False

    def post(self, token: str) -> int:
        """Send its ingest a reading beside those of a load; returns the status."""
        reading = {"sensor": "beside", "value": 1, "measured_ms": int(time.time() * 1000)}
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{self.url}/readings"
        return requests.post(url, json=reading, headers=headers, timeout=60).status_code

    def findings(self) -> list[str]:
        """What `tmon check` finds here."""
        nowhere = {"TMON_PORT": "0", "TMON_DATASETTE_PORT": "0"}
        return tmon(self.folder, "check", environ={**self.environ, **nowhere}).stdout.splitlines()

    def _start(self, *arguments: str, command: Sequence[str] = ()) -> Process:
        with (self.folder / "log").open("ab") as log:
            return Process(
                self.folder,
                *arguments,
                environ=self.environ,
                stderr=log,
                command=command or (sys.executable, "-m", "tmon"),
            )

    def restore(self, backup: Path) -> None:
        """Put a backup in the place of its file, as docs/cluster.md says."""
        self.close()
        self.tmon("restore", "--force", str(backup))
        self.start_sink()
        self.start_ingest()

    @property
    def log(self) -> str:
        """What its processes have logged."""
        return (self.folder / "log").read_text()

    def count(self) -> int:
        with open_for_reading(self.db) as db:
            return int(db.execute("select count(*) from readings").fetchone()[0])

    def close(self) -> None:
        for process in (self.sink, self.ingest):
            if process is not None:
                kill(process)


def kill(process: Process) -> None:
    """Kill a process and those that it started, with kill -9."""
    with suppress(ProcessLookupError):
        os.killpg(process.popen.pid, signal.SIGKILL)
    process.kill()
    wait_for(lambda: not _has_members(process.popen.pid))


def _has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def two_machines(folder: Path, nodes: int, sync: str = "always") -> Iterator["Station"]:
    """A station on three NATS servers, two of them with a sink and an ingest that run."""
    with three_servers(folder, sync) as cluster:
        a, b = (Machine(folder, name, cluster) for name in ("a", "b"))
        names = [f"node-{number}" for number in range(nodes)]
        tokens = tmon(a.folder, "token", "get", *names).stdout.split()
        a.tmon("stream", "create", "--replicas", "3")
        a.tmon("backup", str(folder / "backup"))
        [backup] = (folder / "backup").glob("*.db")
        b.tmon("restore", str(backup))
        station = Station(cluster, (a, b), tokens)
        try:
            for machine in station.machines:
                machine.start_sink()
                machine.start_ingest()
            for machine in station.machines:
                machine.wait_for_ingest()
            yield station
        finally:
            for machine in station.machines:
                machine.close()


class Station:
    """A station on several machines."""

    def __init__(
        self, cluster: Cluster, machines: tuple[Machine, Machine], tokens: Sequence[str]
    ) -> None:
        self.cluster = cluster
        self.machines = machines
        self.tokens = tokens
        self.acknowledged: Counter[str] = Counter()  # by node

    @contextmanager
    def load(self, size: int = 20, rate: float = 0) -> Iterator["Load"]:
        """Readings that come all the time, from all nodes to all machines; then both are checked.

        Args:
            size: readings in a request.
            rate: readings a second; 0 for as many as are acknowledged.
        """
        load = Load(self, size, rate)
        load.start()
        try:
            yield load
        finally:
            load.end()
        self._check(load)

    def _check(self, load: "Load") -> None:
        assert [odd for sender in load.senders for odd in sender.odd] == []
        a, b = self.machines
        wait_for(lambda: positions(a.db) == positions(b.db) == self.last(), pause_s=0.2)
        for machine in self.machines:
            for sender in load.senders:
                stored = sender.stored(machine.db)
                assert stored >= sender.acknowledged, machine.name
                assert stored <= sender.acknowledged + load.size, machine.name  # the last request
            with open_for_reading(machine.db) as db:
                assert hourly_equals_raw(db)
                assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
                assert db.execute("select code, reason from rejected").fetchall() == []
        assert differences(a.db, b.db) == []

    def last(self) -> list[int]:
        """The last sequence of each partition's stream, as its leader has it."""
        last: dict[str, int] = {}
        for server in self.cluster.servers.values():
            last |= server.led()
        return [last.get(f"tmon-readings-{partition}", -1) for partition in range(16)]


def positions(path: Path) -> list[int]:
    """How far a file has stored each partition."""
    with open_for_reading(path) as db:
        rows = db.execute("select sequence from stream_positions order by partition").fetchall()
        return [sequence for (sequence,) in rows]


def differences(one: Path, other: Path) -> list[str]:
    """What two files don't have in common, as SQL finds it."""
    found = []
    with open_for_reading(one) as db:
        db.execute("attach ? as other", [f"file:{other}?mode=ro"])
        for table, columns in SAME.items():
            for left, right in (("main", "other"), ("other", "main")):
                rows = db.execute(
                    f"select {columns} from {left}.{table}"
                    f" except select {columns} from {right}.{table} limit 3"
                ).fetchall()
                found += [f"only in {left}.{table}: {row}" for row in rows]
    return found


class Load:
    """Senders, one for each node; those of a later load go on where the earlier ones ended."""

    def __init__(self, station: Station, size: int, rate: float) -> None:
        self.urls, self.size = [machine.url for machine in station.machines], size
        self.pause_s = size * len(station.tokens) / rate if rate else 0.0
        self.stop = threading.Event()
        self.senders = [Sender(self, station, number) for number in range(len(station.tokens))]
        self.watch = Watch(station.cluster, [one.port for one in station.machines])
        self.began_s = time.monotonic()
        self.lasted_s = 0.0

    def start(self) -> None:
        for each in (self.watch, *self.senders):
            each.start()

    def end(self) -> None:
        self.lasted_s = self.lasted_s or time.monotonic() - self.began_s
        self.stop.set()
        for sender in self.senders:
            sender.join()
        self.watch.end()

    @property
    def acknowledged(self) -> int:
        return sum(sender.acknowledged for sender in self.senders)

    @property
    def outages(self) -> list[Outage]:
        """The times in which a node got no acknowledgement, the longest first."""
        found = [outage for sender in self.senders for outage in sender.outages]
        return sorted(found, key=self.watch.reachable_s, reverse=True)

    @property
    def outage_s(self) -> float:
        """The longest of them, as far as an ingest could be reached."""
        return max(map(self.watch.reachable_s, self.outages), default=0.0)

    def goes_on(self) -> None:
        """Wait until each sender has got another acknowledgement."""
        before = [sender.acknowledged for sender in self.senders]
        wait_for(lambda: all(s.acknowledged > n for s, n in zip(self.senders, before, strict=True)))


class Sender(threading.Thread):
    """Sends one node's readings in order, the n-th with the value n, each until acknowledged.

    It asks another ingest after each failure, as the nodes of a station do whose name has several
    addresses. ``odd`` are answers that nobody expects.
    """

    def __init__(self, load: Load, station: Station, number: int) -> None:
        super().__init__()
        self.node = f"node-{number}"
        self.outages: list[Outage] = []
        self.took_s: list[float] = []
        self.odd: list[str] = []
        self._load = load
        self._urls = cycle([*load.urls[number % len(load.urls) :], *load.urls])
        self._url = next(self._urls)
        token = station.tokens[number]
        self._headers = {"Authorization": f"Bearer {token}"}
        self._partition = partition_of(token.split(".")[1])
        self._count = station.acknowledged

    @property
    def acknowledged(self) -> int:
        """How many of its readings, from the first on."""
        return self._count[self.node]

    def run(self) -> None:
        size, stop = self._load.size, self._load.stop
        last_s = due_s = time.monotonic()
        with requests.Session() as http:
            http.trust_env = False
            while not stop.is_set():
                first = self.acknowledged
                batch = [self._reading(count) for count in range(first, first + size)]
                began_s = time.monotonic()
                answers: Counter[str] = Counter()
                acknowledged = self._send(http, json.dumps(batch).encode(), answers)
                now_s = time.monotonic()
                outage = Outage(self.node, self._partition, last_s, now_s, answers)
                self.outages = nlargest(KEPT, [*self.outages, outage], key=lambda one: one.lasted_s)
                if not acknowledged:
                    return
                self._count[self.node] += size
                self.took_s.append(now_s - began_s)
                last_s = now_s
                due_s = max(due_s + self._load.pause_s, now_s - 1)
                stop.wait(due_s - now_s if due_s > now_s else 0)

    def _reading(self, count: int) -> dict[str, object]:
        return {"sensor": f"s{count % 3}", "value": count, "measured_ms": NOON_MS + count * 10}

    def _send(self, http: requests.Session, body: bytes, answers: Counter[str]) -> bool:
        """Whether it was acknowledged before we were told to stop; ``answers`` gets the others."""
        while not self._load.stop.is_set():
            try:
                answer = http.post(
                    f"{self._url}/readings", data=body, headers=self._headers, timeout=15
                )
            except requests.RequestException as error:
                answers[f"{self._url} {type(error).__name__}"] += 1
            else:
                if answer.status_code == 201 and not answer.json()["rejected"]:
                    return True
                text = f"{self._url} {answer.status_code} {answer.text[:200]}"
                if answer.status_code != 503 or "Retry-After" not in answer.headers:
                    self.odd.append(text)
                answers[text] += 1
            self._url = next(self._urls)
            self._load.stop.wait(random.uniform(0.02, 0.1))
        return False

    def stored(self, path: Path) -> int:
        """How many of its readings a file has, from the first on; fails if one is missing."""
        with open_for_reading(path) as db:
            count, first, last, wrong = db.execute(
                """
                select count(*), min(value), max(value), total(measured_ms <> ? + value * 10)
                from readings join sensors on sensors.id = sensor
                where node = ? and name <> 'beside'
                """,
                [NOON_MS, self.node],
            ).fetchone()
        if count:
            assert (first, last, wrong) == (0, count - 1, 0), self.node
        return int(count)
