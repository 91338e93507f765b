"""The SQL aggregate ``tmon_checksum(a, b, …)``: whether two files have the same rows."""

import hashlib
from typing import Any

SQL_NAME = "tmon_checksum"


class Checksum:
    """128 bits of BLAKE2b over rows, in the order in which they come.

    Values that differ in type or in any bit differ here: ``1`` and ``1.0``, ``0.0`` and ``-0.0``,
    null and an empty text. Python writes them the same in all its versions.
    """

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._update = self._hash.update

    def step(self, *values: Any) -> None:
        self._update(ascii(values).encode())

    def finalize(self) -> str:
        return self._hash.hexdigest()


def register(connection: Any) -> None:
    """Add the function to a connection of SQLite's."""
    connection.create_aggregate(SQL_NAME, -1, Checksum)
