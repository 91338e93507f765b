"""Devices that send to a station, each with the key of a node of its own."""

import re
from collections.abc import Mapping
from typing import Any

import requests

from tests.station import Station
from tmon.db import keys
from tmon.db.connect import open_database
from tmon.db.tokens import load_or_create_secret


def key_of(station: Station, node: str) -> str:
    """The key that ``tmon key get`` prints."""
    with open_database(station.path) as db:
        return keys.Keys(load_or_create_secret(station.settings)).make(keys.get_or_create(db, node))


class Device:
    """A node's key, and what the station has of that node."""

    def __init__(self, station: Station, node: str) -> None:
        self.station = station
        self.node = node
        self.key = key_of(station, node)

    def send(
        self,
        method: str,
        path: str,
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
    ) -> requests.Response:
        """A request; KEY in its path, headers and body stands for the key."""
        data = self._filled(body).encode() if isinstance(body, str) else body
        filled = {name: self._filled(value) for name, value in (headers or {}).items()}
        pair = (auth[0], self._filled(auth[1])) if auth else None
        url = self.station.url + self._filled(path)
        return self.station.http.request(
            method, url, data=data, headers=filled, auth=pair, timeout=60, allow_redirects=False
        )

    def _filled(self, text: str) -> str:
        return re.sub(r"\bKEY\b", self.key, text)

    def get(self, path: str, **how: Any) -> requests.Response:
        return self.send("GET", path, **how)

    def post(self, path: str, body: str | bytes = "", **how: Any) -> requests.Response:
        return self.send("POST", path, body, **how)

    def rows(self) -> dict[str, list[tuple[int, float, str | None]]]:
        """Time, value and unit of each reading, by sensor."""
        rows: dict[str, list[tuple[int, float, str | None]]] = {}
        query = """
            select sensors.name, measured_ms, value, unit from readings
            join sensors on sensors.id = sensor where node = ? order by sensor, measured_ms
        """
        for name, *row in self.station.query(query, [self.node]):
            rows.setdefault(name, []).append((row[0], row[1], row[2]))
        return rows

    def values(self) -> dict[str, tuple[float, str | None]]:
        """The newest value and the unit of each sensor."""
        return {name: (rows[-1][1], rows[-1][2]) for name, rows in self.rows().items()}

    def rejected(self) -> list[tuple[Any, ...]]:
        query = "select sensor, code, value from rejected where node = ? order by id"
        return self.station.query(query, [self.node])
