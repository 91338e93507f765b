"""Two machines with ingest and sink, beside three NATS servers; and what became of a load."""

import glob
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import requests

from tests.station import Process, hourly_equals_raw, tmon, wait_for
from tests.stream.cluster import Cluster, three_servers
from tests.stream.load import Load
from tests.test_kill import free_port
from tmon.db.connect import open_for_reading

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
        """Send its ingest a reading beside those of a load; the status, 0 if it doesn't listen."""
        reading = {"sensor": "beside", "value": 1, "measured_ms": int(time.time() * 1000)}
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{self.url}/readings"
        try:
            return requests.post(url, json=reading, headers=headers, timeout=60).status_code
        except requests.ConnectionError:
            return 0

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


def kill_sink(machine: Machine) -> None:
    """Kill -9 of a sink with its writing process, or of the sink alone."""
    assert machine.sink
    if random.random() < 0.5:
        kill(machine.sink)
    else:
        machine.sink.kill()


def _has_members(group: int) -> bool:
    """Whether a thread of a process group runs; what has ended may wait long for its parent."""
    # Path.glob would fail at a process that ends meanwhile.
    for stat in glob.iglob("/proc/[0-9]*/task/*/stat"):  # noqa: PTH207
        with suppress(FileNotFoundError, ProcessLookupError):
            state, _, its_group = Path(stat).read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


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
    def load(self, size: int = 20, rate: float = 0) -> Iterator[Load]:
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

    def _check(self, load: Load) -> None:
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
