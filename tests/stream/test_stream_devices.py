"""Gateways' devices on several machines: one node each, whichever machine receives them."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from secrets import token_hex

import pytest
import requests
from nats.aio.client import Client

from ingest.auth import Authenticator
from ingest.shared_devices import SharedDevices
from tests.station import Station, wait_for
from tests.stream.streamed import Machine, delete_streams
from tests.stream.two_machines import TwoMachines
from tmon.core.errors import Unavailable
from tmon.core.reading import Batch, Gateway, Receipt
from tmon.db.device_decisions import Decision, all_beside, write, write_all
from tmon.db.devices import Device, Devices, Waiting, path_beside
from tmon.stream.adoption import Adoption, NotAdopted
from tmon.stream.bucket import BUCKET_SUBJECT
from tmon.stream.change_log import CHANGE, LastChange
from tmon.stream.directory import Directory
from tmon.stream.entries import encode_value, of_device

T_MS = 10**12


def known(machine: Machine, device: str) -> Device | None:
    """What a machine's devices' file has of a device."""
    path = path_beside(machine.path)
    if not path.exists():
        return None
    with closing(Devices(path)) as devices:
        return devices.known(device)


def waits(machine: Machine, device: str) -> list[float]:
    """The values that wait of a device on a machine."""
    with closing(Devices(path_beside(machine.path))) as devices:
        return [one.value for one in devices.waiting(device)]


def reading(device: str, value: float) -> dict[str, object]:
    """Each value at a time of its own."""
    return {"node": device, "value": value, "measured_ms": T_MS + int(value * 1000)}


def test_a_device_waits_where_it_was_heard_until_it_is_adopted_on_any(
    machines: TwoMachines,
) -> None:
    key = machines.gateway("lora")
    for at in (0, 1):
        answer = machines.post(key, reading("a:1", at), at=at)
        assert (answer.status_code, answer.json()["accepted"]) == (201, 1)
    assert machines.ingests[0].query("select 1 from nodes where name = 'freezer'") == []
    machines.do("device", "adopt", "a:1", "freezer", on=1)
    for at, machine in enumerate(machines.machines):
        wait_for(lambda machine=machine: waits(machine, "a:1") == [])
        assert machines.post(key, reading("a:1", 2 + at), at=at).status_code == 201
    assert machines.values("freezer") == [0, 1, 2, 3]
    for at in (0, 1):
        listed = json.loads(machines.do("device", "list", "--json", on=at))
        assert [row["node"] for row in listed if row["id"] == "a:1"] == ["freezer"]


def test_a_device_is_forgotten_or_ignored_on_all(machines: TwoMachines) -> None:
    key = machines.gateway("yard")
    machines.do("device", "adopt", "gate", "gate", "--unheard")
    for command, on, decided, waiting in (
        ("forget", 1, None, [1.0]),
        ("ignore", 0, Device("gate", ignored=True), []),
    ):
        machines.do("device", command, "gate", on=on)
        wait_for(lambda decided=decided: known(machines.first, "gate") == decided)
        assert machines.post(key, reading("gate", 1)).json()["accepted"] == 1
        assert waits(machines.first, "gate") == waiting
    assert machines.values("gate") == []
    machines.do("device", "adopt", "gate", "gate", on=1)
    wait_for(lambda: bool((found := known(machines.first, "gate")) and found.node_uid))
    machines.post(key, reading("gate", 2))
    assert machines.values("gate") == [2]


def push(station: Station, device: str) -> int:
    body = {"sensordatavalues": [{"value_type": "temperature", "value": "21.5"}]}
    headers = {"X-Sensor": device, "X-PIN": "11"}
    url = f"{station.url}/v1/push-sensor-data/"
    return station.http.post(url, json=body, headers=headers, timeout=60).status_code


def test_a_device_without_a_key_is_taken_by_all_once_it_is_allowed(machines: TwoMachines) -> None:
    assert push(machines.ingests[0], "esp8266-12") == 401
    machines.do("device", "allow", "esp8266-12", "balcony")
    for station in machines.ingests:
        wait_for(lambda station=station: push(station, "esp8266-12") == 200)
    assert push(machines.ingests[1], "esp8266-13") == 401
    machines.do("device", "adopt", "esp8266-12", "terrace", on=1)  # it stays allowed
    for station in machines.ingests:
        assert push(station, "esp8266-12") == 200
    machines.do("device", "forget", "esp8266-12", on=1)
    for station in machines.ingests:
        wait_for(lambda station=station: push(station, "esp8266-12") == 401)
    columns = machines.ingests[0].query("select group_concat(sql) from sqlite_master")
    assert "keyless" not in columns[0][0]  # its id is all that it shows, and the file is public


def test_two_machines_that_adopt_a_device_at_once_make_one_node(machines: TwoMachines) -> None:
    key = machines.gateway("all", "--adopt-all")
    barrier = threading.Barrier(2)
    names = [f"twin-{token_hex(4)}" for _ in range(10)]

    def send(at: int) -> set[int]:
        statuses = set()
        for name in names:
            barrier.wait(60)
            statuses.add(machines.post(key, reading(name, at), at=at).status_code)
        return statuses

    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(send, (0, 1))] == [{201}, {201}]
    wait_for(lambda: not any(waits(one, name) for one in machines.machines for name in names))
    assert [machines.values(name) for name in names] == [[0, 1]] * 10


def test_many_devices_in_one_request_are_all_adopted(machines: TwoMachines) -> None:
    key = machines.gateway("all", "--adopt-all")
    names = [f"many-{token_hex(4)}" for _ in range(12)]
    answer = machines.post(key, *(reading(name, 1) for name in names), at=1)
    assert answer.json()["accepted"] == 12
    wait_for(lambda: not any(waits(machines.second, name) for name in names))
    assert [machines.values(name) for name in names] == [[1]] * 12


def test_a_device_isnt_a_node_that_is_there_unless_the_gateway_names_nodes(
    machines: TwoMachines,
) -> None:
    token = machines.token("cellar")
    machines.post(token, {"value": 0, "measured_ms": T_MS})
    doubted, trusted = (
        machines.gateway("all", "--adopt-all"),
        machines.gateway("own", "--node-from"),
    )
    machines.post(doubted, reading("cellar", 1), at=1)
    assert waits(machines.second, "cellar") == [1]
    machines.post(trusted, reading("cellar", 2), at=0)
    machines.post(trusted, reading("loft", 3), at=0)
    assert machines.values("loft") == [3]
    wait_for(lambda: waits(machines.second, "cellar") == [])
    assert machines.values("cellar") == [0, 1, 2]


def test_a_gateways_revoked_key_is_refused_by_all(machines: TwoMachines) -> None:
    key = machines.gateway("gone")
    machines.do("key", "revoke", "--gateway", "gone", on=1)
    for at in (0, 1):
        wait_for(lambda at=at: machines.post(key, at=at).status_code == 403)


@pytest.mark.parametrize("command", ["adopt nobody x", "ignore nobody", "forget nobody"])
def test_a_device_that_nobody_heard_is_told(machines: TwoMachines, command: str) -> None:
    ran = machines.first.tmon("device", *command.split())
    assert ran.returncode == 1
    assert ran.stderr.startswith("Error: no device 'nobody' was heard by this machine: do it on")
    assert ("--unheard" in ran.stderr) == command.startswith("adopt")
    assert machines.ingests[0].query("select 1 from nodes where name = 'x'") == []


def test_an_id_that_no_device_can_have_is_told(machines: TwoMachines) -> None:
    ran = machines.first.tmon("device", "allow", "a\tb", "x")
    assert ran.stderr == "Error: a device's id must be 1 to 128 printable characters\n"


def test_a_devices_file_that_is_lost_is_filled_again(machines: TwoMachines) -> None:
    key = machines.gateway("lora")
    machines.do("device", "adopt", "lost", "lost", "--unheard")
    path = path_beside(machines.first.path)
    assert machines.post(key, reading("lost", 1)).status_code == 201
    for one in path.parent.glob(f"{path.name}*"):
        one.unlink()
    path.mkdir()
    assert machines.post(key, reading("lost", 2)).status_code == 503
    path.rmdir()
    assert machines.post(key, reading("lost", 3)).status_code == 201
    assert machines.values("lost") == [1, 3]


def test_what_waits_is_stored_by_an_ingest_that_was_away_meanwhile(machine: Machine) -> None:
    """And it never takes a device that was forgotten meanwhile."""
    with machine.sink():
        key = machine.tmon("key", "get", "--gateway", "lora").stdout.strip()
        machine.tmon("device", "adopt", "late", "other", "--unheard")
        with machine.ingest() as station:
            post(station, key, reading("late", 1), reading("new", 1))
        machine.tmon("device", "adopt", "new", "new")
        machine.tmon("device", "forget", "late")
        with machine.ingest() as station:
            wait_for(lambda: station.count() == 2)
            assert post(station, key, reading("late", 2)).status_code == 201
            assert waits(machine, "late") == [2]
        with machine.ingest():
            assert waits(machine, "late") == [2]


def post(station: Station, key: str, *readings: object) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return station.http.post(f"{station.url}/readings", headers=headers, json=readings, timeout=60)


def test_the_limit_is_the_stations(machines: TwoMachines) -> None:
    """However many machines receive devices."""
    gateway = token_hex(4)
    one, other, third = (f"{gateway}-{number}" for number in range(3))
    key = machines.gateway(gateway, "--adopt-all")
    machines.post(key, reading(one, 1), at=0)
    machines.post(key, reading(other, 1), at=1)
    wait_for(lambda: known(machines.first, other) is not None)
    limited = Machine(
        machines.first.folder, machines.first.settings.stream[0], {"TMON_ADOPT_LIMIT": "2"}
    )
    with limited.ingest() as station:
        assert post(station, key, reading(third, 1)).json()["accepted"] == 1
    assert waits(machines.first, third) == [1]
    machines.do("device", "adopt", third, third)
    wait_for(lambda: waits(machines.first, third) == [])


def test_an_ingest_without_a_file_adopts_too(machine: Machine) -> None:
    secret = machine.path.with_name("tmon.db.secret").read_text().strip()
    elsewhere = Machine(
        machine.folder.with_name("b"), machine.settings.stream[0], {"TMON_SECRET": secret}
    )
    with machine.sink(), elsewhere.ingest() as station:
        key = machine.tmon("key", "get", "--gateway", "lora", "--adopt-all").stdout.strip()
        wait_for(lambda: post(station, key).status_code == 201)
        assert post(station, key, reading("far", 1)).json()["accepted"] == 1
        assert waits(elsewhere, "far") == []
        machine.wait_until_current()
        here = Station(machine.folder, "")
        assert here.query("select node, value from latest") == [("far", 1.0)]
        assert not elsewhere.path.exists()


def test_what_waits_is_stored_once_it_can_be(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Devices(path_beside(machine.path))) as devices:
        devices.keep("g", "d", [Waiting("t", T_MS, 1.0, None, 1)], T_MS)
    with machine.sink():
        machine.tmon("device", "adopt", "d", "basement")

    async def run() -> None:
        failures: list[Exception] = [Unavailable("no majority"), ValueError("a mistake")]
        stored: list[Batch] = []

        async def store(batch: Batch) -> Receipt:
            if failures:
                raise failures.pop(0)
            stored.append(batch)
            return Receipt(1, 0, ())

        directory = Directory()
        authenticator = Authenticator(b"secret of a test", directory.db)
        shared = SharedDevices(machine.settings, authenticator.node_of, directory, store, 0.01)
        await shared.start(authenticator.invalidate)
        async with asyncio.timeout(60):
            while not stored or waits(machine, "d"):
                await asyncio.sleep(0.01)
        assert [one.value for one in stored[0].readings] == [1.0]
        assert caplog.text.count("what waits of devices can't be stored now") == 2
        assert "no majority" in caplog.text
        assert "Traceback" in caplog.text.partition("a mistake")[2]
        await shared.close()
        await directory.close()

    asyncio.run(run())


def test_a_cluster_begins_with_what_was_decided_before(machine: Machine) -> None:
    for name in ("kept", "again"):
        machine.tmon("stream", "leave", "--force")
        machine.tmon_alone("device", "adopt", name, name, "--unheard")
        delete_streams(machine.settings.stream[0])
        machine.create_streams()

    async def run() -> None:
        directory = Directory()
        await directory.start(machine.settings)
        assert {*directory.decisions} == {"kept", "again"}
        assert [*directory.decisions.values()] == all_beside(machine.path)
        await directory.close()

    asyncio.run(run())


def leave(machine: Machine, last: LastChange) -> None:
    """What a command leaves in the bucket when it is killed."""

    async def put(client: Client) -> None:
        data = encode_value(last)
        await client.jetstream().publish(BUCKET_SUBJECT + CHANGE, data)

    machine.ask(put)


def test_a_decision_counts_once_the_change_is_published(machine: Machine) -> None:
    """Else its readings could come before the change that makes its node."""
    entries = (of_device(Decision("d", "g", "x"), 1),)
    leave(machine, LastChange(1, "it", entries=entries, published=False, holder="killed"))

    async def run() -> None:
        heard: list[object] = []
        directory = Directory()
        await directory.start(machine.settings, on_decisions=heard.append)
        assert (directory.decisions, heard, directory.complete_change) == ({}, [None], 0)
        await directory.change_log().acquire(lambda: directory.complete_change, 60)
        async with asyncio.timeout(60):
            while directory.complete_change != 1:
                await asyncio.sleep(0.01)
        assert directory.decisions == {"d": Decision("d", "g", "x")}
        assert heard[1:] == [[Decision("d", "g", "x")]]
        await directory.close()

    asyncio.run(run())


def test_an_entry_that_cant_be_read_decides_nothing(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """What was known of the device may be older than what is lost."""
    entry = of_device(Decision("d", "g", "x"), 1)

    async def put(client: Client, value: bytes) -> None:
        await client.jetstream().publish(BUCKET_SUBJECT + entry.name, value)

    machine.ask(lambda client: put(client, encode_value(entry)))

    async def run() -> None:
        heard: list[object] = []
        directory = Directory(patience_s=0)
        await directory.start(machine.settings, on_decisions=heard.append)
        assert [*directory.decisions] == ["d"]
        await asyncio.to_thread(machine.ask, lambda client: put(client, b"rubbish"))
        async with asyncio.timeout(60):
            while directory.decisions:
                await asyncio.sleep(0.01)
        assert heard == [None, None]
        assert "can't be read on any server" in caplog.text
        await directory.close()

    asyncio.run(run())


def test_who_gets_no_turn_adopts_nothing(machine: Machine) -> None:
    leave(machine, LastChange(holder="another"))

    async def run() -> None:
        async def may_be() -> bool:
            raise AssertionError

        directory = Directory()
        await directory.start(machine.settings)
        with pytest.raises(NotAdopted):
            await Adoption(directory, limit_s=0.1).adopt(Gateway("g"), "d", may_be)
        await directory.close()

    asyncio.run(run())


def test_a_device_that_cant_be_adopted_now_waits(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """Its next reading tries again, and what has waited comes along."""
    with machine.sink(), machine.ingest() as station:
        key = machine.tmon("key", "get", "--gateway", "lora", "--adopt-all").stdout.strip()
        wait_for(lambda: post(station, key).status_code == 201)
        leave(machine, LastChange(1, holder="another"))
        assert post(station, key, reading("d", 1)).json()["accepted"] == 1
        assert waits(machine, "d") == [1]
        assert "a device of the gateway lora isn't a node yet, and waits" in caplog.text
        leave(machine, LastChange(1))
        assert post(station, key, reading("d", 2)).json()["accepted"] == 1
        wait_for(lambda: waits(machine, "d") == [])
        machine.wait_until_current()
        assert station.query("select value from readings order by 1") == [(1.0,), (2.0,)]


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[Devices]:
    """Of two that are nodes, and two that wait; of each a reading waits."""
    with closing(Devices(tmp_path / "tmon.devices.db")) as made:
        for name in ("a", "b", "c", "d"):
            made.keep("g", name, [Waiting("t", 1, 1.0, None, 1)], 1)
        for name in ("a", "b"):
            made.adopt(name, f"uid {name}", 1, keyless=True)
        yield made


def test_what_is_decided_anew_is_written(devices: Devices, tmp_path: Path) -> None:
    changed = [Decision("a"), Decision("b", "", None, 1), Decision("c", "h", "x"), Decision("e")]
    write(devices, changed, 2)
    assert {one: devices.known(one) for one in "abcde"} == {
        "a": None,
        "b": Device("b", ignored=True),
        "c": Device("c", "x"),
        "d": Device("d"),
        "e": None,
    }
    assert [one for one in "abcd" if devices.waiting(one)] == ["c", "d"]
    decided = [Decision("b", "g", None, 1), Decision("c", "h", "x")]
    assert all_beside(tmp_path / "tmon.db") == decided


def test_what_isnt_decided_any_more_waits_again(devices: Devices) -> None:
    """Unlike what is forgotten, it loses nothing: its machine was away."""
    devices.adopt("unheard", "x", 1)
    write_all(devices, [Decision("b", "g", "y")], 2)
    assert [devices.known(one) for one in "abcd"] == [
        *(Device("a"), Device("b", "y"), Device("c"), Device("d"))
    ]
    assert all(devices.waiting(one) for one in "abcd")
    assert devices.known("unheard") is None
