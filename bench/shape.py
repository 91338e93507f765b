"""The form of each peer's requests, from which all requests are made."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Point:
    """One reading: its sensor's name, its time in Unix milliseconds, its value as text."""

    sensor: str
    measured_ms: int
    value: str


@dataclass(frozen=True)
class Node:
    """A sender. All names have the same length, so that all requests have."""

    name: str
    token: str


@dataclass(frozen=True)
class Shape:
    """The template of a request, with @token@, @node@, @sensor@, @time@ and @value@ to fill in.

    ``first`` and ``last`` enclose several points; if ``bare``, a single point has neither.
    """

    path: str
    headers: str
    first: str
    point: str
    between: str
    last: str
    bare: bool = False

    def request(self, node: Node, points: Iterable[Point]) -> bytes:
        """One whole HTTP request."""
        template = self.point.replace("@node@", node.name)
        texts = [
            template.replace("@sensor@", one.sensor)
            .replace("@time@", str(one.measured_ms))
            .replace("@value@", one.value)
            for one in points
        ]
        body = self.between.join(texts)
        if not (self.bare and len(texts) == 1):
            body = self.first + body + self.last
        content = body.encode()
        head = self._head().replace("@token@", node.token)
        return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content

    def write_lua(
        self, path: Path, count: int, sensors: int, *, start_ms: int, step_ms: int
    ) -> None:
        """Write the template for load.lua, with ``count`` readings in each request."""
        bare = self.bare and count == 1
        fields = {
            "head": self._head(),
            "first": "" if bare else self.first,
            "point": self.point,
            "between": self.between,
            "last": "" if bare else self.last,
            "count": count,
            "sensors": sensors,
            "start_ms": start_ms,
            "step_ms": step_ms,
        }
        # JSON's strings and numbers are valid in Lua, as long as there is no \\u in them.
        lines = [f"  {name} = {json.dumps(it, ensure_ascii=False)}," for name, it in fields.items()]
        path.write_text("\n".join(["return {", *lines, "}", ""]), encoding="utf-8")

    def _head(self) -> str:
        return f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\n{self.headers}"


TMON = Shape(
    path="/readings",
    headers="Authorization: Bearer @token@\r\nContent-Type: application/json\r\n",
    first="[",
    point='{"sensor":"@sensor@","value":@value@,"unit":"°C","measured_ms":@time@}',
    between=",",
    last="]",
    bare=True,
)
# InfluxDB's line protocol, which VictoriaMetrics takes too: a sensor is a measurement.
LINES = Shape(
    path="/write?db=bench&precision=ms",
    headers="",
    first="",
    point="@sensor@,node=@node@ value=@value@ @time@",
    between="\n",
    last="",
)
DATASETTE = Shape(
    path="/peer/readings/-/insert",
    headers="Authorization: Bearer @token@\r\nContent-Type: application/json\r\n",
    first='{"rows":[',
    point='{"node":"@node@","sensor":"@sensor@","value":@value@,"unit":"°C","measured_ms":@time@}',
    between=",",
    last="]}",
)
