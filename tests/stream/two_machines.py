"""Two machines of a station on one NATS server, each with its sink and its ingest."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import requests
from sqlite_utils import Database

from tests.station import Station, wait_for
from tests.stream.streamed import Machine, one_server
from tmon.db.connect import open_for_reading

# What the owner writes: the same in all files.
TABLES = (
    *("nodes", "sensors", "sensor_names", "readings", "limits", "mutes", "notes", "flags"),
    *("calibrations", "changes", "keys", "rejected", "hourly"),
)


class TwoMachines(NamedTuple):
    """Two machines of a station, each with its sink and its ingest."""

    first: Machine
    second: Machine
    ingests: tuple[Station, Station]

    @property
    def machines(self) -> tuple[Machine, Machine]:
        return self.first, self.second

    def do(self, *arguments: str, on: int = 0) -> str:
        """What a command prints on one of them; it must succeed."""
        ran = self.machines[on].tmon(*arguments)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def token(self, node: str, on: int = 0) -> str:
        """A node's token, once all know it."""
        return self._known(self.do("token", "get", node, on=on).strip())

    def key(self, node: str, on: int = 0) -> str:
        """A node's key, once all know it."""
        return self._known(self.do("key", "get", node, on=on).strip())

    def gateway(self, name: str, *flags: str, on: int = 0) -> str:
        """A gateway's key, once all know it."""
        return self._known(self.do("key", "get", "--gateway", name, *flags, on=on).strip())

    def _known(self, secret: str) -> str:
        for at in (0, 1):
            wait_for(lambda at=at: self.post(secret, at=at).status_code == 201)
        return secret

    def post(self, token: str, *readings: object, at: int = 0) -> requests.Response:
        """Post readings to one of the ingests."""
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{self.ingests[at].url}/readings"
        return self.ingests[at].http.post(url, headers=headers, json=[*readings], timeout=60)

    def values(self, node: str) -> list[float]:
        """The node's values in both files, which are the same."""
        assert self.same() == []
        query = (
            "select value from readings join sensors on id = sensor where node = ? order by value"
        )
        return [value for (value,) in self.ingests[0].query(query, [node])]

    def same(self) -> list[str]:
        """Wait until both files have all; the tables in which they differ."""
        for machine in self.machines:
            machine.wait_until_current()
        with open_for_reading(self.first.path) as one, open_for_reading(self.second.path) as other:
            return [table for table in TABLES if rows(one, table) != rows(other, table)]


def rows(db: Database, table: str) -> list[tuple[object, ...]]:
    left_out = ("last_received_ms", "clock_skew_s", "devices_waiting")  # written once a minute
    described = db.execute(f"select * from {table} limit 0").description
    columns = [name for name, *_ in described if name not in left_out]
    return db.execute(
        f"select {', '.join(columns)} from {table} order by {columns[0]}, {columns[1]}"
    ).fetchall()


@contextmanager
def two_machines(folder: Path) -> Iterator[TwoMachines]:
    """Two machines that run; the second began with the first's file, which has a node."""
    with ExitStack() as stack:
        url = stack.enter_context(one_server(folder / "nats")).url
        first, second = Machine(folder / "a", url), Machine(folder / "b", url)
        first.make_node("before")
        first.create_streams()
        first.tmon("backup", str(folder / "backups"))
        [backup] = (folder / "backups").glob("*.db")
        second.tmon("restore", str(backup))
        for each in (first, second):
            stack.enter_context(each.sink())
        ingests = [stack.enter_context(each.ingest()) for each in (first, second)]
        yield TwoMachines(first, second, (ingests[0], ingests[1]))
