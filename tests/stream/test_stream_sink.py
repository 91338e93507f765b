"""From ingest through the streams into the file of each machine."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.js import api

from tests.station import wait_for
from tests.stream.streamed import Machine, Server, delete_streams
from tests.stream.test_sink_store import NOON_MS, contents, reading
from tmon.core.reading import Batch, Node
from tmon.db import nodes
from tmon.db.connect import open_database, open_for_reading, transaction
from tmon.stream.messages import (
    PARTITIONS,
    VERSION,
    Change,
    Readings,
    encode,
    partition_of,
    seal,
    stream_name,
    subject,
)
from tmon.stream.reader import RefusedStream
from tmon.stream.streams import Snapshot, all_states


def second(machine: Machine, name: str = "b") -> Machine:
    """A machine that begins with a copy of the first one's file, as a restored backup is."""
    with open_database(machine.path, in_cluster=True) as db:
        db.checkpoint()
    folder = machine.folder.with_name(name)
    shutil.copytree(machine.folder, folder, ignore=shutil.ignore_patterns("*-wal", "*-shm"))
    return Machine(folder, machine.environ["TMON_STREAM"])


def node_of(machine: Machine) -> Node:
    with open_for_reading(machine.path) as db:
        found = nodes.find(db, "basement")
    return Node(found.uid, found.name, found.name)


def partition(machine: Machine) -> int:
    return partition_of(node_of(machine).uid)


def publish(machine: Machine, *messages: bytes, to: int | None = None) -> None:
    """Publish messages into a partition; by default that of its node."""
    number = partition(machine) if to is None else to

    async def run(client: Client) -> None:
        for message in messages:
            await client.jetstream().publish(subject(number), message)

    machine.ask(run)


def message(machine: Machine, value: float = 1.0, at_ms: int = 0) -> bytes:
    one = Batch(node_of(machine), NOON_MS + at_ms, [reading(value, at_ms)])
    return encode(Readings([one]))


def count(machine: Machine) -> int:
    with open_for_reading(machine.path) as db:
        return int(db.execute("select count(*) from readings").fetchone()[0])


def test_a_reading_is_stored_on_all_machines(machine: Machine) -> None:
    other = second(machine)
    with machine.sink(), other.sink(), machine.ingest() as station:
        answer = station.post([{"value": 21.5}, {"value": 50, "sensor": "humidity", "unit": "%"}])
        assert answer.status_code == 201
        assert answer.json() == {"accepted": 2, "duplicates": 0, "rejected": []}
        for each in (machine, other):
            each.wait_until_current()
    with open_for_reading(machine.path) as db, open_for_reading(other.path) as copy:
        assert contents(db, "sensors", "readings") == contents(copy, "sensors", "readings")
        assert db.execute("select count(*) from readings").fetchone() == (2,)
        # Written when the sink stops.
        assert db.execute("select last_received_ms is not null from nodes").fetchone() == (1,)


def test_what_only_the_database_knows_stands_in_rejected(machine: Machine) -> None:
    """A receipt says what parsing found; a duplicate isn't told, a conflict is kept."""
    at = "2025-11-22T12:00:00Z"
    with machine.sink(), machine.ingest() as station:
        for value in (1, 1, 2):
            body = [{"value": value, "measured_at": at}]
            assert station.post(body).json()["accepted"] == 1
        bad = station.post([{"value": "warm"}]).json()
        assert (bad["accepted"], bad["rejected"][0]["code"]) == (0, "invalid_value")
        assert station.post(b"nonsense").status_code == 400
        machine.wait_until_current()
        codes = [code for (code,) in station.query("select code from rejected order by id")]
        assert codes == ["conflict", "invalid_value", "invalid_body"]
        assert station.count() == 1


def test_a_sink_that_was_away_catches_up(machine: Machine) -> None:
    with machine.ingest() as station:
        for value in range(10):
            assert station.post([{"value": value}]).status_code == 201
    for _ in range(2):  # the second time there is nothing new
        with machine.sink():
            machine.wait_until_current()
        assert count(machine) == 10


def test_sinks_go_on_when_the_server_was_away(
    machine: Machine, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Ingest refuses meanwhile, so the nodes keep their readings."""
    with machine.sink() as ended, machine.ingest() as station:
        assert station.post([{"value": 1}]).status_code == 201
        server.stop(signal.SIGKILL)
        refused = station.post([{"value": 2}])
        assert refused.status_code == 503
        assert refused.json()["code"] == "unavailable"
        assert int(refused.headers["Retry-After"]) > 0
        server.start()
        wait_for(lambda: station.post([{"value": 3}]).status_code == 201)
        machine.wait_until_current()
        assert not ended.done()
        values = [value for (value,) in station.query("select value from readings")]
        assert values[0] == 1
        assert values[-1] == 3
    assert "no connection to the NATS servers" in caplog.text
    assert "connected to the NATS servers again" in caplog.text


def test_a_consumer_that_vanishes_is_made_again(machine: Machine) -> None:
    async def delete_consumers(client: Client) -> None:
        name = stream_name(partition(machine))
        for consumer in await client.jetstream().consumers_info(name):
            await client.jetstream().delete_consumer(name, consumer.name)

    with machine.sink():
        publish(machine, message(machine))
        machine.wait_until_current()
        machine.ask(delete_consumers)
        publish(machine, message(machine, at_ms=1))
        machine.wait_until_current()
        assert count(machine) == 2


def test_a_change_waits_for_what_its_command_saw(machine: Machine) -> None:
    """Other partitions go on; what follows it in its own comes after it."""
    here = partition(machine)
    there = (here + 1) % PARTITIONS
    change = Change(1, {there: 2, here: 0}, [("update nodes set area = ?", ["cellar"])])
    with machine.sink():
        publish(machine, encode(change), message(machine))
        publish(machine, encode(Readings([])), to=there)
        wait_for(lambda: machine.sequences()[there] == 1)
        assert machine.sequences()[here] == 0
        publish(machine, encode(Readings([])), to=there)
        machine.wait_until_current()
        with open_for_reading(machine.path) as db:
            assert db.execute("select area from nodes").fetchone() == ("cellar",)
        assert count(machine) == 1


def refusal(machine: Machine) -> str:
    """Why a sink of this machine doesn't run."""
    with machine.sink() as ended:
        error = ended.exception(timeout=60)
    assert isinstance(error, RefusedStream), repr(error)
    assert "\n" not in str(error)
    return str(error)


def set_position(machine: Machine, column: str, value: object) -> None:
    with open_database(machine.path, in_cluster=True) as db, transaction(db):
        db.execute(f"update stream_positions set {column} = ?", [value])


def test_a_stream_that_was_made_again_is_refused(machine: Machine) -> None:
    async def again(client: Client) -> None:
        name = stream_name(partition(machine))
        config = (await client.jetstream().stream_info(name)).config
        await client.jetstream().delete_stream(name)
        await client.jetstream().add_stream(config)

    machine.ask(again)
    assert "was deleted and made again" in refusal(machine)


def test_a_stream_that_is_gone_is_refused(machine: Machine) -> None:
    async def delete(client: Client) -> None:
        await client.jetstream().delete_stream(stream_name(3))

    machine.ask(delete)
    assert "tmon-readings-3 was deleted" in refusal(machine)


def test_a_file_that_was_away_for_too_long_is_refused(machine: Machine) -> None:
    """The messages that it needs are no longer kept."""

    async def keep_one(client: Client) -> None:
        config = (await client.jetstream().stream_info(stream_name(partition(machine)))).config
        config.max_msgs, config.discard = 1, api.DiscardPolicy.OLD
        await client.jetstream().update_stream(config)

    publish(machine, *[message(machine, at_ms=at) for at in range(3)])
    machine.ask(keep_one)
    told = refusal(machine)
    assert "begins with message 3, and this file needs 1" in told
    assert "restore a backup" in told
    assert count(machine) == 0


def test_a_file_ahead_of_its_stream_is_refused(machine: Machine) -> None:
    """The servers have lost what it has: other machines would store other messages."""
    publish(machine, message(machine))
    set_position(machine, "sequence", 5)
    assert "and this file has 5 already" in refusal(machine)


def test_a_file_of_another_station_is_refused(machine: Machine) -> None:
    set_position(machine, "snapshot", "another")
    assert "of another station than this file" in refusal(machine)


def test_a_message_of_a_newer_tmon_is_refused(machine: Machine) -> None:
    """What came before it is stored."""
    publish(machine, message(machine), seal(b"unknown", VERSION + 1))
    assert "message 2 of" in (told := refusal(machine))
    assert "newer tmon: upgrade this one" in told
    assert count(machine) == 1


def test_a_missing_message_is_refused(machine: Machine) -> None:
    """Damage in a replica's files hides messages: what follows them must not be stored."""

    async def allow_and_delete(client: Client) -> None:
        stream, name = client.jetstream(), stream_name(partition(machine))
        state = (await all_states(client))[partition(machine)]
        await stream.delete_stream(name)
        config = api.StreamConfig(
            name=name, subjects=[subject(partition(machine))], metadata=state.snapshot.as_metadata()
        )
        made = await stream.add_stream(config)
        for at in range(3):
            await stream.publish(subject(partition(machine)), message(machine, at_ms=at))
        await stream.delete_msg(name, 2)
        set_position_of(machine, partition(machine), str(made.created))

    machine.ask(allow_and_delete)
    assert "message 2 is missing" in refusal(machine)
    assert count(machine) == 1


def test_the_last_messages_are_missed_too(machine: Machine) -> None:
    """Nothing comes after them: the server's heartbeats tell."""

    async def delete_last(client: Client) -> None:
        name = stream_name(partition(machine))
        config = (await client.jetstream().stream_info(name)).config
        await client.jetstream().delete_stream(name)
        config.deny_delete = False
        made = await client.jetstream().add_stream(config)
        for at in range(2):
            there = subject(partition(machine))
            await client.jetstream().publish(there, message(machine, at_ms=at))
        await client.jetstream().delete_msg(name, 2)
        set_position_of(machine, partition(machine), str(made.created))

    machine.ask(delete_last)
    assert "message 2 is missing" in refusal(machine)
    assert count(machine) == 1


def test_a_damaged_message_is_refused(machine: Machine) -> None:
    """It is acknowledged: it must not be skipped, nor stored as something else."""
    damaged = bytearray(message(machine, at_ms=1))
    damaged[-1] ^= 1
    publish(machine, message(machine), bytes(damaged), message(machine, at_ms=2))
    assert "message 2 is damaged" in refusal(machine)
    assert count(machine) == 1


def set_position_of(machine: Machine, number: int, created: str) -> None:
    with open_database(machine.path, in_cluster=True) as db, transaction(db):
        query = "update stream_positions set created = ? where partition = ?"
        db.execute(query, [created, number])


def test_an_empty_machine_begins_where_the_cluster_did(tmp_path: Path, server: Server) -> None:
    first = Machine(tmp_path / "a", server.url)
    first.create_streams()
    publish(first, encode(Readings([])), to=5)
    joining = Machine(tmp_path / "b", server.url)
    open_database(joining.path, create=True).close()
    try:
        for machine in (first, joining):
            with machine.sink():
                wait_for(lambda machine=machine: sum(machine.sequences()) == 1)
        with open_for_reading(first.path) as db, open_for_reading(joining.path) as copy:
            assert contents(db, "stream_positions") == contents(copy, "stream_positions")
    finally:
        delete_streams(server.url)


def test_an_empty_file_cant_join_a_cluster_that_began_with_readings(machine: Machine) -> None:
    joining = Machine(machine.folder.with_name("b"), machine.environ["TMON_STREAM"])
    open_database(joining.path, create=True).close()
    assert "the cluster began with readings: restore a backup" in refusal(joining)


def test_a_file_of_its_own_cant_join(machine: Machine) -> None:
    joining = Machine(machine.folder.with_name("b"), machine.environ["TMON_STREAM"])
    joining.make_node("attic")
    assert "isn't a file of this cluster: restore a backup" in refusal(joining)


def test_a_sink_waits_while_its_file_cant_be_written(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is skipped, and it goes on by itself."""
    with open_database(machine.path, in_cluster=True) as db, machine.sink() as ended:
        db.execute("begin immediate")
        publish(machine, message(machine))
        wait_for(lambda: "they stay in the streams" in caplog.text)
        publish(machine, message(machine, at_ms=1))
        assert count(machine) == 0
        db.execute("rollback")
        machine.wait_until_current()
        assert not ended.done()
    assert count(machine) == 2


@pytest.mark.parametrize("has_readings", [False, True])
def test_a_second_station_cant_create_the_streams(machine: Machine, *, has_readings: bool) -> None:
    """Neither where it has as many nodes as the first, and nothing was published yet."""
    if has_readings:
        publish(machine, message(machine))
    other = Machine(machine.folder.with_name("b"), machine.environ["TMON_STREAM"])
    other.make_node("basement")
    ran = other.tmon("stream", "create", "--replicas", "1")
    assert ran.returncode == 1
    assert "exists already" in ran.stderr
    assert "Traceback" not in ran.stderr
    ran = other.tmon("stream", "create", "--replicas", "1", "--again")
    assert ran.returncode == 1
    assert "the streams are another station's" in ran.stderr
    assert len(machine.ask(all_states)) == PARTITIONS
    ran = machine.tmon("stream", "create", "--replicas", "1")
    assert "belongs to a cluster already" in ran.stderr


def test_creating_streams_can_be_tried_again(machine: Machine) -> None:
    """The first try may have ended before it had written to the file."""

    async def delete(client: Client) -> list[Snapshot]:
        snapshots = [state.snapshot for state in await all_states(client)]
        await client.jetstream().delete_stream(stream_name(PARTITIONS - 1))
        return snapshots

    [snapshot] = set(machine.ask(delete))
    with open_database(machine.path, in_cluster=True) as db, transaction(db):
        db.execute("delete from stream_positions")
    machine.create_streams()
    assert {state.snapshot for state in machine.ask(all_states)} == {snapshot}
    with machine.sink() as ended:
        publish(machine, message(machine))
        machine.wait_until_current()
        assert not ended.done()


def test_three_replicas_need_three_servers(machine: Machine, server: Server) -> None:
    delete_streams(server.url)
    with open_database(machine.path, in_cluster=True) as db, transaction(db):
        db.execute("delete from stream_positions")
    ran = machine.tmon("stream", "create")
    assert ran.returncode == 1
    assert "--replicas 1, or make a cluster of three" in ran.stderr


def test_status_says_how_far_the_file_is_behind(machine: Machine) -> None:
    publish(machine, message(machine), message(machine, at_ms=1))
    rows = json.loads(machine.tmon("stream", "status", "--json").stdout)
    assert len(rows) == PARTITIONS
    assert [row["behind"] for row in rows if row["last"]] == [2]


def test_without_a_stream_the_commands_say_so(tmp_path: Path) -> None:
    alone = Machine(tmp_path / "a", "")
    for arguments in (["sink"], ["stream", "status"], ["stream", "create"]):
        ran = alone.tmon(*arguments)
        assert ran.returncode == 1
        assert "TMON_STREAM isn't set" in ran.stderr
