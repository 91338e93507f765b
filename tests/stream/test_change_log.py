"""One change at a time: whoever ends amid one never blocks the next, or loses what was made."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.station import wait_for
from tests.stream.streamed import Machine, one_server
from tests.stream.test_sink_store import NOON_MS
from tmon.core.reading import Batch, Node, Reading
from tmon.db.connect import open_for_reading
from tmon.stream.bucket import BUCKET_SUBJECT
from tmon.stream.change_log import (
    CHANGE,
    ChangeLog,
    LastChange,
    NotChanged,
    PerhapsChanged,
    StoredLater,
    UnreadableChange,
)
from tmon.stream.entries import Entry, NodeRow, decode_value, encode_value
from tmon.stream.messages import (
    MESSAGE_BYTES,
    Change,
    Readings,
    encode,
    partition_of,
    subject,
)
from tmon.stream.owner_database import Patience, open_to_change
from tmon.stream.streams import BUCKET_STREAM, all_states

NOTE = "insert into notes (node, at_ms, text, created_ms) values ('basement', 1, ?, 1)"
SOON_S = 0.1
IMPATIENT = Patience(turn_s=SOON_S, stored_s=SOON_S)


def notes(machine: Machine) -> list[str]:
    with open_for_reading(machine.path) as db:
        return [text for (text,) in db.execute("select text from notes order by id")]


def with_log(machine: Machine, use: Callable[[ChangeLog, Client], Awaitable[None]]) -> None:
    machine.ask(lambda client: use(ChangeLog(client, SOON_S), client))


async def last_change(client: Client) -> LastChange:
    found = await client.jetstream().get_last_msg(BUCKET_STREAM, BUCKET_SUBJECT + CHANGE)
    return decode_value(found.data, LastChange)


def made(number: int, text: str, **more: Any) -> LastChange:
    message = encode(Change(number, {}, [(NOTE, [text])]))
    return LastChange(number, "its author", 0, message, **more)


def leave(machine: Machine, last: LastChange) -> None:
    """What a command leaves in the bucket when it is killed."""

    async def put(client: Client) -> None:
        data = encode_value(last)
        await client.jetstream().publish(BUCKET_SUBJECT + CHANGE, data)

    machine.ask(put)


def test_a_command_that_was_killed_in_its_turn_blocks_nobody(machine: Machine) -> None:
    leave(machine, LastChange(holder="killed"))

    async def use(log: ChangeLog, _: Client) -> None:
        await turn(log)
        assert await log.commit([(NOTE, ["mine"])], {}, 0, ()) == 1

    with_log(machine, use)
    with machine.sink():
        machine.wait_until_current()
    assert notes(machine) == ["mine"]


def test_a_change_whose_command_was_killed_before_it_published_it_is_published_by_the_next(
    machine: Machine,
) -> None:
    entry = Entry("node.x", 1, NodeRow("x", "named", 1, None, None), (), None)
    leave(machine, made(1, "its", published=False, holder="killed", entries=(entry,)))

    async def use(log: ChangeLog, client: Client) -> None:
        await turn(log)
        assert log.next_number == 2
        found = await client.jetstream().get_last_msg(BUCKET_STREAM, BUCKET_SUBJECT + "node.x")
        assert decode_value(found.data, Entry) == entry
        await log.commit([(NOTE, ["mine"])], {}, 0, ())

    with_log(machine, use)
    with machine.sink():
        machine.wait_until_current()
    assert notes(machine) == ["its", "mine"]


def test_without_a_next_command_the_sink_publishes_it(machine: Machine) -> None:
    leave(machine, made(1, "its", published=False, holder="killed"))
    with machine.sink():
        wait_for(lambda: notes(machine) == ["its"])


def test_a_change_that_was_published_twice_is_stored_once(machine: Machine) -> None:
    """NATS knows the id of a message only for some time."""

    async def publish(client: Client) -> None:
        for number, text in ((1, "first"), (2, "second"), (1, "first")):
            data = encode(Change(number, {}, [(NOTE, [text])]))
            await client.jetstream().publish(subject(0), data)

    machine.ask(publish)
    with machine.sink():
        machine.wait_until_current()
    assert notes(machine) == ["first", "second"]


def test_a_command_that_is_too_slow_changes_nothing(machine: Machine) -> None:
    async def use(log: ChangeLog, client: Client) -> None:
        await turn(log)
        other = ChangeLog(client, SOON_S)
        await turn(other)  # once the first one takes too long
        with pytest.raises(NotChanged, match="nothing was changed"):
            await log.commit([(NOTE, ["mine"])], {}, 0, ())
        await log.release()  # not ours any more
        await other.commit([(NOTE, ["other"])], {}, 0, ())
        assert (await last_change(client)).holder == ""

    with_log(machine, use)
    with machine.sink():
        machine.wait_until_current()
    assert notes(machine) == ["other"]


async def turn(log: ChangeLog) -> None:
    """Wait for a turn, as with a file that has all that was made."""
    await log.acquire(lambda: log.next_number - 1, 60)


class Silent(Client):
    """A connection by which some answers to what is published are lost."""

    lost = 0

    async def request(self, subject: str, *arguments: Any, **options: Any) -> Msg:
        answer = await super().request(subject, *arguments, **options)
        if subject.startswith((BUCKET_SUBJECT, "tmon.")):
            self.lost -= 1
            if self.lost >= 0:
                raise nats.errors.TimeoutError
        return answer


def test_a_lost_answer_doesnt_change_twice(machine: Machine) -> None:
    async def use() -> None:
        client = Silent()
        await client.connect(machine.settings.stream[0])
        log = ChangeLog(client)
        client.lost = 1
        await turn(log)
        for lost in (1, 2):
            client.lost = lost
            await log.commit([(NOTE, [f"{lost}"])], {}, 0, ())
            await turn(log)
        await log.release()
        await client.close()

    asyncio.run(use())
    with machine.sink():
        machine.wait_until_current()
    assert notes(machine) == ["1", "2"]


def test_a_change_that_is_too_large_is_refused(machine: Machine) -> None:
    async def use(log: ChangeLog, client: Client) -> None:
        await turn(log)
        with pytest.raises(NotChanged, match="changes too much at once"):
            await log.commit([(NOTE, ["x" * MESSAGE_BYTES])], {}, 0, ())
        assert log.is_held
        await log.release()
        assert (await last_change(client)) == LastChange()

    with_log(machine, use)


def test_an_older_entry_never_replaces_a_later_one(machine: Machine) -> None:
    """A command that was paused may go on when others have made changes."""
    entries = [
        Entry("node.x", change, NodeRow("x", "x", change, None, None), (), None)
        for change in (2, 1)
    ]

    async def use(log: ChangeLog, client: Client) -> None:
        for entry in entries:
            await log.put(entry)
        found = await client.jetstream().get_last_msg(BUCKET_STREAM, BUCKET_SUBJECT + "node.x")
        assert decode_value(found.data, Entry) == entries[0]

    with_log(machine, use)


def test_a_last_change_that_cant_be_read_is_told(machine: Machine) -> None:
    async def ruin(client: Client) -> None:
        await client.jetstream().publish(BUCKET_SUBJECT + CHANGE, b"rubbish")

    machine.ask(ruin)
    ran = machine.tmon("note", "basement", "anything")
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert "`change` of the bucket tmon-nodes can't be read" in ran.stderr


def test_a_last_change_that_is_older_than_what_is_stored_is_told(machine: Machine) -> None:
    """Else its number would be used twice, and the sinks would take the second for the first."""

    async def use(log: ChangeLog, _: Client) -> None:
        with pytest.raises(UnreadableChange, match="change 5 was made, and it isn't there"):
            await log.acquire(lambda: 5, 60)

    with_log(machine, use)


def test_a_bucket_without_a_last_change_is_told(machine: Machine) -> None:
    """`tmon stream create` was killed amid it, or all servers have lost it."""

    async def remove(client: Client) -> None:
        await client.jetstream().purge_stream(BUCKET_STREAM, subject=BUCKET_SUBJECT + CHANGE)

    machine.ask(remove)
    ran = machine.tmon("note", "basement", "anything")
    assert ran.stderr.startswith("Error: the key `change` of the bucket tmon-nodes can't be read")


def test_an_entry_that_cant_be_read_is_replaced(machine: Machine) -> None:
    async def use(log: ChangeLog, client: Client) -> None:
        await client.jetstream().publish(f"{BUCKET_SUBJECT}node.ffff", b"rubbish")
        await log.put(Entry("node.ffff", 1, None, (), None))
        found = await client.jetstream().get_last_msg(BUCKET_STREAM, f"{BUCKET_SUBJECT}node.ffff")
        assert decode_value(found.data, Entry).change == 1

    with_log(machine, use)


def test_a_command_says_that_no_sink_runs(machine: Machine) -> None:
    with open_to_change(machine.settings, IMPATIENT) as db:
        with pytest.raises(StoredLater, match="don't repeat the command"):
            add_note(db, "hello")
        with pytest.raises(NotChanged, match=r"hasn't stored change 1 yet.*`tmon sink`"):
            add_note(db, "hello again")
    with machine.sink():
        machine.wait_until_current()
        assert notes(machine) == ["hello"]
        with open_to_change(machine.settings) as db:
            add_note(db, "now")
    assert notes(machine) == ["hello", "now"]


def test_what_was_stored_meanwhile_may_forbid_a_change(machine: Machine) -> None:
    """The reading makes a sensor of the name that the command gives to another one."""
    with open_for_reading(machine.path) as db:
        [uid] = db.execute("select uid from nodes").fetchone()

    def send(sensor: str) -> None:
        node = Node(uid, "basement", "basement")
        batch = Batch(node, NOON_MS, [Reading(0, sensor, 1.0, None, NOON_MS)])

        async def publish(client: Client) -> None:
            await client.jetstream().publish(subject(partition_of(uid)), encode(Readings([batch])))

        machine.ask(publish)

    send("x")
    with machine.sink():
        machine.wait_until_current()
    send("y")
    with ThreadPoolExecutor(1) as pool:
        command = pool.submit(machine.tmon, "sensor", "rename", "basement", "x", "y")
        wait_for(lambda: machine.ask(all_states)[partition_of(uid)].last == 3)
        with machine.sink():
            ran = command.result()
    assert ran.returncode == 1
    assert "nothing was changed: change 1 can't be stored: UNIQUE constraint failed" in ran.stderr
    with open_for_reading(machine.path) as db:
        assert db.execute("select name from sensors order by name").fetchall() == [("x",), ("y",)]


def test_nats_that_stops_amid_a_change_is_told(tmp_path: Path) -> None:
    with one_server(tmp_path / "nats") as server:
        machine = Machine(tmp_path / "a", server.url)
        machine.make_node("basement")
        machine.create_streams()

        async def use(log: ChangeLog, _: Client) -> None:
            await turn(log)
            server.stop()
            with pytest.raises(PerhapsChanged, match="look before you repeat"):
                await log.commit([(NOTE, ["mine"])], {}, 0, ())

        with_log(machine, use)


def add_note(db: Any, text: str) -> None:
    db.begin()
    try:
        db.execute(NOTE, [text])
        db.commit()
    finally:
        db.rollback()
