"""What ingest knows of nodes, keys and devices, in memory."""

from collections.abc import Callable, Iterable, Sequence

from sqlite_utils import Database

from tmon.db.device_decisions import Decision
from tmon.stream.entries import KEY_COLUMNS, NODE_COLUMNS, Entry, ids_in, name_of_device

# The columns that ingest/auth.py reads. Names aren't unique: while two nodes change theirs, both
# may have the same for a moment.
_SCHEMA = f"""
create table nodes ({", ".join(NODE_COLUMNS)}, primary key (uid)) without rowid;
create index nodes_name on nodes (name);
create table keys ({", ".join(KEY_COLUMNS)}, primary key (id)) without rowid;
create index keys_node on keys (node_uid);
create table changes (node_uid, before, what default 'rename node');
create index changes_node on changes (node_uid);
create table revisions (name primary key, revision) without rowid;
"""
_NOTE = """
insert into revisions values (?, ?)
on conflict (name) do update set revision = excluded.revision where excluded.revision > revision
"""


class DirectoryTables:
    """Owns the tables ``nodes``, ``keys`` and ``changes`` in memory.

    ``decisions`` is what the owner has decided about devices, by their ids. The table
    ``revisions`` has, by the entries' names, which revision of each is known.
    """

    def __init__(self) -> None:
        self.db = Database(memory=True, execute_plugins=False)
        self.db.conn.executescript(_SCHEMA)
        self.decisions: dict[str, Decision] = {}
        self._is_loading = True  # until all that was in the bucket has come
        self._on_change: Callable[[], object] = lambda: None
        self._on_decisions: Callable[[Sequence[Decision] | None], object] = lambda _: None

    def apply(self, entries: Iterable[tuple[int, Entry]]) -> None:
        """Put entries with their revisions into the tables, unless as late ones are known."""
        with self.db.atomic():
            latest = self._later([*{entry.name: (at, entry) for at, entry in entries}.values()])
            nodes = [entry.node for entry in latest if entry.node]
            uids = [(node[0],) for node in nodes]
            keys = [entry.key for entry in latest if entry.key]
            former = [
                (entry.node[0], name)
                for entry in latest
                if entry.node
                for name in entry.former_names
            ]
            many = self.db.conn.executemany
            many("delete from keys where node_uid = ?", uids)
            many("delete from changes where node_uid = ?", uids)
            many(
                f"insert or replace into nodes values ({', '.join('?' * len(NODE_COLUMNS))})", nodes
            )
            many(f"insert or replace into keys values ({', '.join('?' * len(KEY_COLUMNS))})", keys)
            many("insert into changes (node_uid, before) values (?, ?)", former)
        if latest:
            self._on_change()
        self._decide([entry.device for entry in latest if entry.device])

    def _later(self, entries: Iterable[tuple[int, Entry]]) -> list[Entry]:
        """Those that are later than what is known; they are known from now on."""
        return [entry for at, entry in entries if self._note(entry.name, at)]

    def _note(self, name: str, revision: int) -> bool:
        """Note that a revision is known; whether it is a later one."""
        noted = self.db.conn.execute(_NOTE, [name, revision])
        return noted.rowcount > 0

    def revision_of(self, name: str) -> int:
        """The revision of an entry that is known; 0 if none is."""
        query = "select revision from revisions where name = ?"
        found = self.db.execute(query, [name]).fetchone()
        return found[0] if found else 0

    def _decide(self, decisions: Sequence[Decision]) -> None:
        for one in decisions:
            self.decisions.pop(one.id, None)
            if one.is_made:
                self.decisions[one.id] = one
        if decisions and not self._is_loading:
            self._on_decisions(decisions)

    def _end_loading(self) -> None:
        if self._is_loading:
            self._is_loading = False
            self._on_decisions(None)

    def _empty(self) -> None:
        """Know nothing, until another bucket is loaded."""
        self._is_loading, self.decisions = True, {}
        for table in ("nodes", "keys", "changes", "revisions"):
            self.db.execute(f"delete from {table}")

    def forget(self, name: str, revision: int) -> None:
        """Know nothing of what an entry is of, up to a revision.

        What is known may be older than a revocation.
        """
        for device_id in [one for one in self.decisions if name_of_device(one) == name]:
            del self.decisions[device_id]
            self._on_decisions(None)
        node_uid, key_id = ids_in(name)
        with self.db.atomic():
            self._note(name, revision)
            for table, column, id_ in (
                *(("nodes", "uid", node_uid), ("keys", "node_uid", node_uid)),
                *(("changes", "node_uid", node_uid), ("keys", "id", key_id)),
            ):
                self.db.execute(f"delete from {table} where {column} = ?", [id_])
        self._on_change()
