"""One machine's file as owners' commands use it: what they write is written on all machines.

A transaction runs on this machine's file, is rolled back, and its statements are published as
one change. Then the command waits until this machine's sink has stored that.
"""

import asyncio
from collections.abc import Coroutine
from time import monotonic, sleep
from typing import Any, NamedTuple, TypeVar, cast

import nats.errors
from nats.aio.client import Client

from tmon.core.errors import RefusedDatabase, TmonError
from tmon.core.settings import Settings
from tmon.db.checkpoint import WritableDatabase
from tmon.db.connect import is_of_cluster, open_database
from tmon.db.device_decisions import Decision
from tmon.stream.change_log import ChangeLog, NotChanged, StoredLater
from tmon.stream.connection import ANSWER_S, CannotConnect, connect, describe, without_password
from tmon.stream.entries import entries_of, name_of_device, of_device
from tmon.stream.messages import not_stored, partition_of
from tmon.stream.positions import newest_change, read_positions
from tmon.stream.reader import checked_states
from tmon.stream.recording import RecordingConnection
from tmon.stream.streams import NoAnswer, awaited

POLL_S = 0.005

T = TypeVar("T")

# Whose rows a transaction writes: a node's uid, or the id of a gateway's key.
_NODE_CALLED = "select 'node', uid from nodes where name = {row}.node"
_NODE_OF_SENSOR = (
    "select 'node', uid from nodes where name = (select node from sensors where id = {row}.sensor)"
)
_KEY = "select iif({row}.gateway is null, 'node', 'gateway'), coalesce({row}.node_uid, {row}.id)"
_ROWS_OF = {
    "nodes": "select 'node', {row}.uid",
    "sensors": _NODE_CALLED,
    "sensor_names": "select 'node', {row}.node_uid",
    "readings": _NODE_OF_SENSOR,
    "keys": _KEY,
}


class Patience(NamedTuple):
    """How long a command waits, in seconds.

    ``connect_s`` for NATS, ``turn_s`` for others' changes, and ``stored_s`` until this machine's
    sink has stored its change.
    """

    connect_s: float = ANSWER_S
    turn_s: float = 15.0
    stored_s: float = 10.0


PATIENCE = Patience()


class OtherPartition(TmonError):
    """A transaction concerns nodes whose readings are in different streams."""


class OwnerDatabase(WritableDatabase):
    """A database of which each transaction is a change of the whole station.

    Outside of transactions nothing can be written.
    """

    connection_type = RecordingConnection
    conn: RecordingConnection
    _log: ChangeLog
    _patience: Patience
    _decisions: tuple[Decision, ...] = ()  # of this transaction

    def join(self, settings: Settings, patience: Patience) -> None:
        """Connect to NATS; from then on all that is written is a change.

        Raises:
            CannotConnect: no server answers, or none may be used as the settings say.
            RefusedStream, Missing: this file could never store the change.
        """
        self._runner = asyncio.Runner()
        self._patience = patience
        try:
            self._client = self._run(_connect(settings, patience.connect_s))
            self._run(self._check_streams())
        except BaseException:
            self._runner.close()
            raise
        self._log = ChangeLog(self._client)
        _watch_rows(self)
        self.conn.end()

    def begin(self) -> None:
        """Wait for our turn, and begin a transaction.

        Raises:
            NotChanged: others take too long, or this machine's file lacks the last change.
        """
        self._run(self._log.acquire(self._newest_change, self._patience.turn_s))
        self._decisions = ()
        try:
            self.conn.begin()
        except BaseException:
            self._run(self._log.release())
            raise

    def commit(self) -> None:
        """Undo the transaction here, make it a change, and wait until it is stored here.

        Raises:
            OtherPartition: it concerns nodes of several streams.
            NotChanged: nothing was changed.
            PerhapsChanged, StoredLater: what to do is in the message.
        """
        if not self.conn.has_changes and not self._decisions:
            self.rollback()
            return
        statements = self.conn.statements
        touched = self.execute("select what, id from temp.touched order by what, id").fetchall()
        uids = [id_ for what, id_ in touched if what == "node"]
        gateways = [id_ for what, id_ in touched if what == "gateway"]
        partition = _only_partition(self, uids)
        number = self._log.next_number
        entries = [*entries_of(self, number, uids, gateways)]
        entries += [of_device(one, number) for one in self._decisions]
        after = {one.partition: one.sequence for one in read_positions(self)}
        self.conn.end()  # others may write while the change is published
        number = self._run(self._log.commit(statements, after, partition, entries))
        self._wait_until_stored(number)

    def rollback(self) -> None:
        """Undo the transaction, if there is one, and give our turn up."""
        self.conn.end()
        if self._log.is_held:
            self._run(self._log.release())

    def decision_of(self, device_id: str) -> Decision | None:
        """What is decided about a gateway's device, within a transaction.

        Raises:
            NotChanged: NATS doesn't answer.
        """
        try:
            entry = self._run(self._log.entry(name_of_device(device_id)))
        except nats.errors.Error as error:
            raise NotChanged(
                f"NATS doesn't answer, so nothing was changed: {describe(error)}"
            ) from error
        return entry.device if entry else None

    def decide(self, decision: Decision) -> None:
        """Let this be decided about a gateway's device once the transaction is committed."""
        self._decisions += (decision,)

    def close(self) -> None:
        """Close the file, and the connection to NATS."""
        super().close()
        self._run(self._client.close())
        self._runner.close()

    async def _check_streams(self) -> None:
        """Check that the streams are this file's: else the change would be another station's."""
        positions = read_positions(self)
        try:
            patience_s = self._patience.turn_s
            await awaited(
                lambda: checked_states(self._client, positions, patience_s), "change", patience_s
            )
        except NoAnswer as error:
            await self._client.close()
            raise NoAnswer(f"{error}, so nothing was changed; try again in a minute") from None
        except BaseException:
            await self._client.close()
            raise

    def _newest_change(self) -> int:
        return newest_change(read_positions(self))

    def _wait_until_stored(self, number: int) -> None:
        """Wait for this machine's sink.

        Raises:
            StoredLater: it takes too long.
            NotChanged: what was stored meanwhile doesn't allow the change, on any machine.
        """
        until_s = monotonic() + self._patience.stored_s
        while self._newest_change() < number:
            if monotonic() > until_s:
                raise StoredLater(
                    f"this is change {number}, which all machines will store, but this one hasn't "
                    "yet: see that `tmon sink` runs here, and don't repeat the command"
                )
            sleep(POLL_S)
        query = "select reason from rejected where instr(reason, ?) = 1"
        if found := self.execute(query, [not_stored(number)]).fetchone():
            raise NotChanged(f"nothing was changed: {found[0]}")

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


def open_to_change(settings: Settings, patience: Patience = PATIENCE) -> OwnerDatabase:
    """Open the file of this machine for an owner's command.

    Raises:
        RefusedDatabase: it can't be used, or isn't one of several machines'.
        CannotConnect: NATS can't be reached.
    """
    path = settings.db
    opened = open_database(path, in_cluster=True, database_type=OwnerDatabase)
    db = cast(OwnerDatabase, opened)
    if not is_of_cluster(db):
        WritableDatabase.close(db)
        raise RefusedDatabase(
            f"{path}: not a file of several machines, while TMON_STREAM is set: `tmon sink` has to "
            "run here first, or unset TMON_STREAM"
        )
    try:
        db.join(settings, patience)
    except BaseException:
        WritableDatabase.close(db)
        raise
    return db


async def _connect(settings: Settings, connect_s: float) -> Client:
    try:
        return await asyncio.wait_for(connect(settings, "change"), connect_s)
    except TimeoutError:
        servers = ", ".join(map(without_password, settings.stream))
        raise CannotConnect(
            f"no NATS server answers at {servers}, so nothing was changed"
        ) from None


def _watch_rows(db: OwnerDatabase) -> None:
    """Let this connection, and no other, note whose rows are written."""
    db.execute(
        "create temp table touched (what text, id text, primary key (what, id)) without rowid"
    )
    for table, query in _ROWS_OF.items():
        for event, rows in (("insert", "new"), ("delete", "old"), ("update", "old new")):
            noted = " ".join(
                # Not `insert or ignore`: what the statement itself says of conflicts comes first.
                f"insert into touched select * from ({query.format(row=row)})"
                " where true on conflict do nothing;"
                for row in rows.split()
            )
            db.execute(
                f"create temp trigger {event}_{table} after {event} on main.{table}"
                f" begin {noted} end"
            )


def _only_partition(db: OwnerDatabase, uids: list[str]) -> int:
    """The partition in which the change is published: 0, where it concerns no node's readings."""
    partitions = {partition_of(uid) for uid in uids}
    if len(partitions) > 1:
        query = f"select name from nodes where uid in ({', '.join('?' * len(uids))}) order by name"
        names = [name for (name,) in db.execute(query, uids)]
        raise OtherPartition(
            f"{' and '.join(names)} are in different streams, so this can't be "
            "changed while the station is on several machines; nothing was changed"
        )
    return min(partitions, default=0)
