"""A station on three machines in trouble: the full counts, and what takes minutes or rights."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import requests

from tests.station import tmon, wait_for
from tests.stream.cluster import NAMES, Server
from tests.stream.load import Load
from tests.stream.machines import Machine, Station, kill, kill_sink, positions, two_machines
from tests.test_power_cut import mounted
from tmon.db.connect import open_for_reading

pytestmark = [pytest.mark.soak, pytest.mark.timeout(590)]

RATE = 16_700  # readings a second: a million nodes that send each minute
NODES = 16


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    with two_machines(tmp_path, NODES) as running:
        yield running


def report(capsys: pytest.CaptureFixture[str], what: str, load: Load) -> None:
    """Print the figures of a run."""
    took_s = sorted(took for sender in load.senders for took in sender.took_s)
    middle, most = took_s[len(took_s) // 2], took_s[len(took_s) * 99 // 100]
    with capsys.disabled():
        print(
            f"\n{what}: {load.acknowledged:,} acknowledged,"
            f" {load.acknowledged / load.lasted_s:,.0f} a second,"
            f" p50 {middle * 1000:.1f} ms, p99 {most * 1000:.1f} ms,"
            f" longest outage of a node {load.outage_s:.1f} s"
        )
        for outage in load.outages[:3]:
            print(f"  {load.watch.describe(outage)}")


def test_each_server_killed_at_full_rate(
    station: Station, capsys: pytest.CaptureFixture[str]
) -> None:
    with station.load(100, RATE) as load:
        time.sleep(5)
        for name in NAMES:
            station.cluster[name].kill()
            time.sleep(10)
            station.cluster[name].start()
            station.cluster.wait_until_healthy()
            time.sleep(5)
    report(capsys, "each server killed", load)
    assert max(map(load.watch.led_s, load.outages)) < 5  # the rest is NATS's elections
    assert load.outage_s <= 10


def test_a_sink_killed_a_hundred_times(
    station: Station, capsys: pytest.CaptureFixture[str]
) -> None:
    with station.load(100, RATE / 4) as load:
        for number in range(100):
            machine = station.machines[number % 2]
            time.sleep(random.uniform(0.1, 1.5))
            kill_sink(machine)
            machine.start_sink()
    report(capsys, "sinks killed 100 times", load)


def test_an_ingest_killed_a_hundred_times(
    station: Station, capsys: pytest.CaptureFixture[str]
) -> None:
    with station.load(100, RATE / 4) as load:
        for number in range(100):
            machine = station.machines[number % 2]
            time.sleep(random.uniform(0.1, 1.0))
            assert machine.ingest
            kill(machine.ingest)
            machine.start_ingest()
            machine.wait_for_ingest()
    report(capsys, "ingests killed 100 times", load)


def test_each_machine_cut_off(station: Station, capsys: pytest.CaptureFixture[str]) -> None:
    with station.load(100, RATE / 2) as load:
        for name in NAMES:
            time.sleep(3)
            station.cluster.cut_off(name)
            time.sleep(20)
            station.cluster.rejoin(name)
            station.cluster.wait_until_healthy()
    report(capsys, "each machine cut off for 20 s", load)


def test_everything_at_once(station: Station, capsys: pytest.CaptureFixture[str]) -> None:
    """Servers, sinks and ingests are killed in any order, one server at a time."""
    with station.load(20) as load:
        for _ in range(20):
            server = station.cluster[random.choice(NAMES)]
            machine = random.choice(station.machines)
            server.kill()
            kill_sink(machine)
            time.sleep(random.uniform(0.1, 5))
            machine.start_sink()
            assert machine.ingest
            kill(machine.ingest)
            machine.start_ingest()
            server.start()
            station.cluster.wait_until_healthy()
    report(capsys, "everything at once", load)
    assert max(map(load.watch.led_s, load.outages)) < 10  # ingests start, too


@contextmanager
def on_cards(folder: Path) -> Iterator[ExitStack]:
    """Each machine's folder on a file system of its own, in a file, as in test_power_cut.py."""
    for name in NAMES:
        with (folder / f"{name}.img").open("wb") as file:
            file.truncate(1 << 28)
        subprocess.run(["mkfs.ext4", "-q", "-F", folder / f"{name}.img"], check=True)
    with ExitStack() as mounts:
        insert(folder, mounts)
        yield mounts


def insert(folder: Path, mounts: ExitStack) -> None:
    for name in NAMES:
        mounts.enter_context(mounted(folder / f"{name}.img", folder / name))


def cut_power(folder: Path, station: Station, mounts: ExitStack) -> None:
    """All machines stop, and start again with what had reached their cards."""
    pids = [server.popen.pid for server in station.cluster.servers.values() if server.popen]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    both = [one for machine in station.machines for one in (machine.sink, machine.ingest)]
    processes = [one for one in both if one and one.popen.poll() is None]
    for process in processes:
        os.killpg(process.popen.pid, signal.SIGSTOP)
    for name in NAMES:
        shutil.copy(folder / f"{name}.img", folder / f"{name}.cut")
    for process in processes:
        kill(process)
    station.cluster.close()
    mounts.close()
    for name in NAMES:
        (folder / f"{name}.cut").rename(folder / f"{name}.img")
    insert(folder, mounts)
    start_all(station)


def start_all(station: Station) -> None:
    station.cluster.start()
    for machine in station.machines:
        machine.start_sink()
        machine.start_ingest()
    for machine in station.machines:
        machine.wait_for_ingest()


def test_the_power_of_all_machines_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with on_cards(tmp_path) as mounts, two_machines(tmp_path, NODES) as station:
        os.sync()  # the configurations
        with station.load(20) as load:
            for _ in range(5):
                load.goes_on()
                time.sleep(random.uniform(0.5, 3))
                cut_power(tmp_path, station, mounts)
        report(capsys, "5 power cuts of all", load)


def test_without_the_wait_for_the_disks_a_power_cut_would_lose_readings(tmp_path: Path) -> None:
    """So the test above would see it."""
    with on_cards(tmp_path) as mounts, two_machines(tmp_path, NODES, sync="2m") as station:
        for machine in station.machines:
            assert machine.sink
            kill(machine.sink)  # it syncs its file, and the servers' with it
        os.sync()
        load = Load(station, 20, 0)
        load.start()
        load.goes_on()
        time.sleep(3)
        load.end()
        cut_power(tmp_path, station, mounts)
        lost = [
            sender.acknowledged - min(sender.stored(machine.db) for machine in station.machines)
            for sender in load.senders
        ]
        assert sum(lost) > 0


def test_the_disk_of_a_sink_is_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with on_cards(tmp_path) as _, two_machines(tmp_path, NODES) as station:
        machine = station.machines[1]
        filler = tmp_path / machine.name / "filler"
        with station.load(100, RATE / 4) as load:
            for _ in range(3):
                load.goes_on()
                with filler.open("wb", buffering=0) as file, suppress(OSError):
                    while file.write(bytes(1 << 16)):
                        pass
                stored = positions(machine.db)
                time.sleep(8)
                load.goes_on()
                assert sum(positions(machine.db)) < sum(station.last())
                filler.unlink()
                wait_for(lambda before=stored: positions(machine.db) > before)
        assert "readings can't be stored" in machine.log
    report(capsys, "a sink's disk full, 3 times", load)


@pytest.mark.parametrize("seed", range(6))
def test_flipped_bits_in_a_replica_are_never_published(
    station: Station, tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    """A server whose blocks are damaged heals, or doesn't start; then its store is removed."""
    server, reader = station.cluster[NAMES[seed % 3]], station.machines[1]
    [backup] = tmp_path.glob("backup/*.db")  # of the beginning
    with station.load(20) as load:
        time.sleep(5)
        server.stop()
        blocks = flip_bits(server, random.Random(seed))
        try:
            server.start()
        except AssertionError:
            healed = "didn't start, and got all from the others"
            server.kill()
            shutil.rmtree(server.store)
            server.start()
        else:
            healed = "healed by itself"
        station.cluster.wait_until_healthy()
        station.cluster.lead(server.name)
        for _ in range(2):  # each consumer reads from one of the three servers
            reader.restore(backup)
            load.goes_on()
    report(capsys, f"bits flipped in {blocks} blocks: {server.name} {healed}", load)


def flip_bits(server: Server, chance: random.Random) -> int:
    """Flip three bits in each block of readings of a stopped server; returns how many blocks."""
    blocks = [
        path for path in server.store.rglob("tmon-readings-*/**/*.blk") if path.stat().st_size
    ]
    for path in blocks:
        data = bytearray(path.read_bytes())
        for _ in range(3):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
    return len(blocks)


def test_latency_beside_one_machine(
    station: Station, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figures for docs/cluster.md, in one run: a reading alone, and beside full load."""
    alone = Machine(tmp_path / "alone", "c", station.cluster)
    alone.environ = {}
    tokens = tmon(alone.folder, "token", "get", *(f"node-{n}" for n in range(NODES))).stdout
    alone.start_ingest()
    alone.wait_for_ingest()
    single = Station(station.cluster, (alone, alone), tokens.split())
    for what, each, rate in (
        *(("one machine", single, rate) for rate in (100, RATE)),
        *(("three machines", station, rate) for rate in (100, RATE)),
    ):
        load = Load(each, 100, rate)
        load.start()
        time.sleep(5)
        acknowledged_s, visible_s = probe(each, 300)
        load.end()
        if each is single and rate == RATE:
            alone.close()  # it would only be in the way of the others
        report(capsys, f"{what}, {rate} readings/s", load)
        with capsys.disabled():
            for name, took_s in (("201", acknowledged_s), ("file", visible_s)):
                middle, most = took_s[len(took_s) // 2], took_s[len(took_s) * 99 // 100]
                print(f"  one reading to {name}: p50 {middle * 1e3:.1f}, p99 {most * 1e3:.1f} ms")


def probe(station: Station, count: int) -> tuple[list[float], list[float]]:
    """How long single readings take until they are acknowledged, and until the file has them."""
    machine, token = station.machines[0], station.tokens[0]
    acknowledged_s, visible_s = [], []
    query = (
        "select 1 from readings join sensors on id = sensor where name = 'p' and measured_ms = ?"
    )
    with requests.Session() as http, open_for_reading(machine.db) as db:
        http.headers["Authorization"] = f"Bearer {token}"
        for number in range(count):
            began_s = time.monotonic()
            at_ms = int(time.time() * 1000)
            body = {"sensor": "p", "value": number, "measured_ms": at_ms}
            assert http.post(f"{machine.url}/readings", json=body).status_code == 201
            acknowledged_s.append(time.monotonic() - began_s)
            while not db.execute(query, [at_ms]).fetchone():
                time.sleep(0.001)
            visible_s.append(time.monotonic() - began_s)
            time.sleep(0.02)
    return sorted(acknowledged_s), sorted(visible_s)
