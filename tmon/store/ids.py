"""The ids of new rows: SQLite's own, unless several files must have the same."""

from collections.abc import Sequence

from sqlite_utils import Database

from tmon.core.reading import Node

REJECTED_KEPT = 100_000


class Ids:
    """The ids of one file's new sensors and refused readings; None lets SQLite choose."""

    def of_sensor(self, node: Node) -> int | None:  # noqa: ARG002 - others need it
        return None

    def of_rejected(self, node: Node) -> int | None:  # noqa: ARG002
        return None

    def trim_rejected(self, db: Database, added: Sequence[int | None]) -> None:  # noqa: ARG002
        """Delete the oldest refused readings, after some were added."""
        db.execute(
            "delete from rejected where id <= (select max(id) from rejected) - ?", [REJECTED_KEPT]
        )
