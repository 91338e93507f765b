"""What an owner's command changes on one machine is changed on all, once, and in one order."""

import asyncio
import random
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from msgspec.structs import replace
from nats.aio.client import Client

from tests.station import Process, tmon, wait_for
from tests.stream.streamed import Machine, Server, delete_streams
from tests.stream.two_machines import TwoMachines
from tmon.db.connect import open_for_reading
from tmon.stream.connection import CannotConnect
from tmon.stream.messages import PARTITIONS, partition_of, stream_name, subject
from tmon.stream.owner_database import Patience, open_to_change
from tmon.stream.positions import read_positions
from tmon.stream.reader import Missing, checked_states
from tmon.stream.streams import all_states


def rows_of(machines: TwoMachines, sql: str) -> list[list[tuple[object, ...]]]:
    """What a query finds in each file."""
    return [ingest.query(sql) for ingest in machines.ingests]


def test_a_token_works_at_once_on_all_machines(machines: TwoMachines) -> None:
    token = machines.token("token", on=0)
    for at in (1, 0):
        assert machines.post(token, {"value": 1.0 + at, "measured_ms": 10**12 + at}, at=at).ok
    assert machines.token("token", on=1) == token
    assert machines.same() == []


def test_a_node_of_the_first_file_is_known_to_all(machines: TwoMachines) -> None:
    assert machines.post(machines.token("before", on=1), {"value": 1}, at=1).status_code == 201


@pytest.mark.parametrize(
    ("command", "status"), [("revoke", 403), ("rotate", 401)], ids=["revoked", "rotated"]
)
def test_a_token_is_refused_by_all(machines: TwoMachines, command: str, status: int) -> None:
    token = machines.token(command)
    assert machines.post(token, {"value": 1}, at=1).status_code == 201
    machines.do("token", command, command)
    for at in (0, 1):
        wait_for(lambda at=at: machines.post(token, {"value": 1}, at=at).status_code == status)


def test_a_key_works_on_all_machines_until_it_is_revoked(machines: TwoMachines) -> None:
    key = machines.key("plug", on=1)
    assert machines.post(key, {"value": 1}).status_code == 201
    machines.do("key", "revoke", "plug", on=0)
    wait_for(lambda: machines.post(key, {"value": 1}, at=1).status_code == 403)


def test_running_machines_are_compared_once_both_have_what_came(machines: TwoMachines) -> None:
    token = machines.token("compared")
    for at in range(20):
        machines.post(token, {"value": at, "measured_ms": 10**12 + at}, at=at % 2)
    files = [str(machine.path) for machine in machines.machines]
    said = machines.do("compare", *files, "--remember")
    assert said.startswith("equal: ")
    rows = rows_of(machines, "select outcome from chores where name = 'compare'")
    assert rows == [[("ok",)], []]


def test_what_the_owner_sets_stands_in_all_files(machines: TwoMachines) -> None:
    token = machines.token("hall")
    machines.post(token, {"value": 20, "sensor": "t", "unit": "°C"}, {"value": 1, "sensor": "n"})
    machines.same()
    for on, command in enumerate(
        (
            "note|hall|painted",
            "note|hall/t|moved",
            "limit|hall|t|--above|30",
            "sensor|set|hall|t|--title|Hall",
            "sensor|set|hall|n|--unit|1",
            "node|set|hall|--description|by the door|--latitude|52.1|--area|House",
            "mute|hall|2h",
            "mute|hall/t|2h",
            "calibrate|hall|t|--offset|-0.4",
            "flag|hall|t|--from|2026-01-01|--to|2026-01-02|--reason|broken",
            "sensor|rename|hall|n|count",
        )
    ):
        machines.do(*command.split("|"), on=on % 2)
    assert machines.same() == []
    assert "painted" in machines.do("note", "list", "hall", on=1)
    for command in ("mute|--end|hall", "limit|hall|t|--remove", "calibrate|hall|t|--remove"):
        machines.do(*command.split("|"))
    assert machines.same() == []


def test_a_node_is_renamed_while_its_readings_flow(machines: TwoMachines) -> None:
    token = machines.token("old")
    with ThreadPoolExecutor(2) as pool:

        def send(at: int) -> set[int]:
            return {
                machines.post(
                    token,
                    {"sensor": f"s{number % 30}-{at}", "measured_ms": 10**12 + number, "value": 1},
                    at=at,
                ).status_code
                for number in range(120)
            }

        sending = [pool.submit(send, at) for at in (0, 1)]
        machines.do("node", "rename", "old", "new", on=1)
        machines.do("sensor", "rename", "new", name_of_a_sensor(machines, "new"), "first")
        assert [one.result() for one in sending] == [{201}, {201}]
    assert machines.same() == []
    assert machines.ingests[0].query("select count(*) from sensors where node = 'new'") == [(60,)]
    assert machines.post(token, {"node": "old", "value": 1}).status_code == 201


def name_of_a_sensor(machines: TwoMachines, node: str) -> str:
    query = "select name from sensors where node = ? order by id limit 1"
    wait_for(lambda: machines.ingests[0].query(query, [node]))
    return str(machines.ingests[0].query(query, [node])[0][0])


def test_a_probe_is_replaced_with_its_readings(machines: TwoMachines) -> None:
    token = machines.token("cellar")
    for sensor, begin in (("a", 0), ("b", 10**9)):
        readings = [
            {"sensor": sensor, "value": 20 + i % 7, "measured_ms": 10**12 + begin + i * 60_000}
            for i in range(2_000)
        ]
        assert machines.post(token, *readings).json()["accepted"] == 2_000
    machines.same()
    told = machines.do("sensor", "replace", "cellar", "a", "--by", "b", on=1)
    assert "2,000 readings taken over" in told
    machines.post(token, {"sensor": "b", "value": 20})
    assert machines.same() == []
    query = "select count(*) from readings join sensors on id = sensor where node = 'cellar'"
    assert machines.ingests[1].query(query) == [(4_001,)]


def test_two_commands_at_once_both_succeed(machines: TwoMachines) -> None:
    machines.token("busy")
    with ThreadPoolExecutor(4) as pool:
        commands = [("note", "busy", f"note {number}") for number in range(6)]
        ran = [
            pool.submit(machines.machines[number % 2].tmon, *command)
            for number, command in enumerate(commands)
        ]
        told = [one.result() for one in ran]
    assert [one.stderr for one in told] == [""] * 6
    numbers = {number for one in told for number in re.findall(r"note (\d+), at", one.stdout)}
    assert len(numbers) == 6
    assert machines.same() == []
    assert machines.ingests[0].query("select count(*) from notes where node = 'busy'") == [(6,)]


def test_a_sensor_cant_move_to_a_node_of_another_stream(machines: TwoMachines) -> None:
    """Two nodes' readings come in no certain order, unless they are in one stream."""
    token = machines.token("from")
    partition = partition_of(token.split(".")[1])
    made = (f"to{number}" for number in count(1))
    other = next(
        name for name in made if partition_of(machines.token(name).split(".")[1]) != partition
    )
    machines.post(token, {"value": 1, "sensor": "probe"})
    machines.same()
    ran = machines.first.tmon("sensor", "move", "from", "probe", "--to", other)
    assert ran.returncode == 1
    assert f"from and {other} are in different streams" in ran.stderr
    assert machines.same() == []


def test_a_change_that_fails_changes_nothing(machines: TwoMachines) -> None:
    machines.token("here")
    before = machines.ingests[0].query("select max(change) from stream_positions")
    for command in ("node|rename|here|a b", "token|revoke|nobody", "note|here|", "note|remove|99"):
        ran = machines.first.tmon(*command.split("|"))
        assert ran.returncode == 1
    assert machines.ingests[0].query("select max(change) from stream_positions") == before
    machines.do("note", "here", "the next one works at once", on=1)


@pytest.mark.parametrize(
    "command",
    ["import data.csv --node x", "imports undo 1 --yes", "demo add", "demo remove", "mqtt"],
)
def test_what_would_change_one_file_alone_is_refused(machines: TwoMachines, command: str) -> None:
    (machines.first.folder / "data.csv").write_text("time,x\n2026-01-01T00:00Z,1\n")
    ran = machines.first.tmon(*command.split())
    assert ran.returncode == 1
    assert "isn't possible for a station on several machines" in ran.stderr


@pytest.mark.parametrize(
    "command", ["stats", "prune --raw-older-than 90y", "rollup --check", "token list", "note list"]
)
def test_what_is_each_machines_own_is_done_here(machines: TwoMachines, command: str) -> None:
    machines.do(*command.split())


@pytest.mark.parametrize(
    "command", ["token get x", "note before hello", "serve", "serve ingest", "key get x"]
)
def test_without_the_setting_the_file_is_refused(machine: Machine, command: str) -> None:
    """What is written then would stand in one file alone."""
    ran = tmon(machine.folder, *command.split(), environ={"TMON_STREAM": ""})
    assert ran.returncode == 1
    assert ran.stderr.startswith("Error: tmon.db: one of the files of a station on several")
    assert ran.stderr.count("\n") == 1


def test_a_file_of_no_cluster_is_refused_with_the_setting(tmp_path: Path, server: Server) -> None:
    alone = Machine(tmp_path / "a", server.url)
    alone.make_node("basement")
    ran = alone.tmon("note", "basement", "hello")
    assert ran.returncode == 1
    assert "not a file of several machines" in ran.stderr


def test_nats_that_is_away_is_told(machine: Machine) -> None:
    away = Machine(machine.folder, "nats://user:secret@127.0.0.1:1").settings
    with pytest.raises(CannotConnect) as caught:
        open_to_change(away, Patience(connect_s=0.2))
    assert "no NATS server answers at nats://127.0.0.1:1, so nothing was changed" in str(
        caught.value
    )


def test_another_stations_streams_get_no_change(machine: Machine, tmp_path: Path) -> None:
    """The machine's own were deleted, and another file began anew."""
    delete_streams(machine.settings.stream[0])
    other = Machine(tmp_path / "other", machine.settings.stream[0])
    other.make_node("basement")
    other.create_streams()
    for command in ("note basement hello", "stream status"):
        ran = machine.tmon(*command.split())
        assert ran.returncode == 1
        assert ran.stderr.startswith("Error: tmon-readings-0 is of another station than this file")
        assert ran.stderr.count("\n") == 1
    assert other.ask(last_of_all) == [0] * PARTITIONS


def test_a_lost_stream_is_told_before_anything_is_changed(machine: Machine) -> None:
    async def delete(client: Client) -> None:
        await client.jetstream().delete_stream(stream_name(3))

    machine.ask(delete)
    for command in ("note basement hello", "stream status"):
        ran = machine.tmon(*command.split())
        assert ran.returncode == 1
        assert ran.stderr.startswith("Error: tmon-readings-3 was deleted: docs/cluster.md says")


def test_a_leader_that_has_not_all_yet_is_waited_for(machine: Machine) -> None:
    """It leads since a moment ago, and others have acknowledged more."""
    with open_for_reading(machine.path) as db:
        first, *others = read_positions(db)
    ahead = [replace(first, sequence=1), *others]

    async def check(client: Client) -> None:
        with pytest.raises(Missing):
            await checked_states(client, ahead, 0)
        publish = client.jetstream().publish(subject(0), b"one")
        states, _ = await asyncio.gather(checked_states(client, ahead, 60), publish)
        assert states[0].last == 1

    machine.ask(check)


def test_a_lost_bucket_is_told(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """Ingest goes on with what it knows; who wants to change something, or checks, is told."""

    async def delete(client: Client) -> None:
        await client.jetstream().delete_key_value("tmon-nodes")

    with machine.ingest():
        machine.ask(delete)
        wait_for(lambda: "the bucket tmon-nodes was deleted" in caplog.text)
    told = machine.tmon("note", "basement", "hello")
    assert told.stderr.startswith("Error: the bucket tmon-nodes was deleted: docs/cluster.md says")
    checked = machine.tmon("check").stdout
    assert "T24 critical: streams: the bucket tmon-nodes was deleted" in checked


async def last_of_all(client: Client) -> list[int]:
    """The sequence of each stream's last message."""
    return [state.last for state in await all_states(client)]


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.soak)])
def test_commands_that_are_killed_leave_all_files_equal(machines: TwoMachines, kills: int) -> None:
    """Each is done on all machines or on none, and none blocks the next one for long."""
    machines.token("killed")
    chance = random.Random(kills)
    for number in range(kills):
        machine = machines.machines[number % 2]
        command = ["note", "killed", f"{kills} {number}"]
        process = Process(machine.folder, *command, environ=machine.environ)
        # When its modules are loaded, it takes some milliseconds.
        with suppress(subprocess.TimeoutExpired):
            process.popen.wait(chance.uniform(0.2, 0.6))
        process.kill()
    machines.do("note", "killed", f"{kills} last")
    assert machines.same() == []
    query = "select text, count(*) from notes where text like ? group by text having count(*) > 1"
    assert machines.ingests[0].query(query, [f"{kills} %"]) == []
    query = "select count(*) from notes where text = ?"
    assert machines.ingests[1].query(query, [f"{kills} last"]) == [(1,)]
