"""`tmon stream create --again`, `set` and `leave`: streams that were lost, are too small, or go."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.station import tmon
from tests.stream.streamed import Machine, Server
from tests.stream.test_stream_sink import count, message, publish, refusal, second
from tmon.stream.messages import PARTITIONS, stream_name
from tmon.stream.streams import all_states


@pytest.fixture
def machine(tmp_path: Path, server: Server) -> Machine:
    made = Machine(tmp_path / "a", server.url)
    tmon(made.folder, "token", "get", "basement")
    made.create_streams("--again", "--force")  # of another test
    return made


def test_lost_streams_begin_again_with_a_machines_file(machine: Machine) -> None:
    async def lose(client: Client) -> None:
        for number in range(PARTITIONS):
            await client.jetstream().delete_stream(stream_name(number))

    other = second(machine)
    with machine.sink():
        publish(machine, message(machine))
        machine.wait_until_current()
    machine.ask(lose)
    refused = machine.tmon("stream", "create", "--replicas", "1")
    assert refused.returncode == 1
    assert "--again begins anew with this file" in refused.stderr
    machine.create_streams("--again")
    with machine.sink():
        publish(machine, message(machine, at_ms=1))
        machine.wait_until_current()
        assert count(machine) == 2
    assert "of another station than this file" in refusal(other)


def test_messages_that_a_file_lacks_are_kept(machine: Machine) -> None:
    publish(machine, message(machine), message(machine, at_ms=1))
    again = ("stream", "create", "--replicas", "1", "--again")
    refused = machine.tmon(*again)
    assert refused.returncode == 1
    assert "the streams hold 2 messages that this file lacks" in refused.stderr
    assert sum(state.last for state in machine.ask(all_states)) == 2
    with machine.sink():
        machine.wait_until_current()
    assert machine.tmon(*again).returncode == 0
    publish(machine, message(machine, at_ms=2))
    assert machine.tmon(*again, "--force").returncode == 0
    assert count(machine) == 2


def test_streams_are_made_larger_while_they_are_used(machine: Machine) -> None:
    ran = machine.tmon("stream", "set", "--days", "14", "--gigabytes", "3.2")
    assert (ran.returncode, ran.stderr) == (0, "")
    states = machine.ask(all_states)
    assert {(state.max_age_s, state.max_bytes) for state in states} == {(14 * 86_400, 200_000_000)}
    assert machine.tmon("stream", "set", "--days", "7").returncode == 0
    states = machine.ask(all_states)
    assert {(state.max_age_s, state.max_bytes) for state in states} == {(7 * 86_400, 200_000_000)}
    assert {state.replicas for state in states} == {1}
    for wrong, said in (([], "nothing to change"), (["--gigabytes", "nan"], "isn't a number")):
        refused = machine.tmon("stream", "set", *wrong)
        assert refused.returncode == 2
        assert said in refused.stderr
    alone = machine.tmon("stream", "set", "--replicas", "3")
    assert alone.returncode == 1
    assert "Traceback" not in alone.stderr
    assert "Error: the NATS servers can't keep the streams" in alone.stderr


def test_a_machine_leaves_with_all_that_was_published(machine: Machine) -> None:
    publish(machine, message(machine))
    refused = machine.tmon("stream", "leave")
    assert "the streams hold 1 messages that this file lacks" in refused.stderr
    with machine.sink():
        machine.wait_until_current()
    alone = tmon(machine.folder, "token", "get", "attic")
    assert "one of the files of a station on several machines" in alone.stderr
    assert machine.tmon("stream", "leave").returncode == 0
    assert tmon(machine.folder, "token", "get", "attic").returncode == 0
    assert "isn't a file of this cluster" in machine.tmon("stream", "status").stderr
    again = machine.tmon("stream", "leave")
    assert again.returncode == 1
    assert "is of one machine already" in again.stderr


def test_a_machine_leaves_servers_that_are_gone(machine: Machine) -> None:
    with closing(sqlite3.connect(machine.path)) as db:
        db.execute("insert into chores values ('compare', 0, 'b has other data')")
        db.commit()
    machine.environ["TMON_STREAM"] = "nats://127.0.0.1:1"
    assert "no NATS server answers" in machine.tmon("stream", "leave").stderr
    assert machine.tmon("stream", "leave", "--force").returncode == 0
    assert "T29" not in tmon(machine.folder, "check").stdout
    assert tmon(machine.folder, "token", "get", "attic").returncode == 0
