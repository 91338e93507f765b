"""Parse what people type: lengths of time, dates, and sensors."""

import re
from datetime import UTC, datetime
from math import isnan
from typing import Any

import click
from sqlite_utils import Database

from tmon.core.time import as_ms
from tmon.db.lookup import find_node_uid, find_sensor

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
LONGEST_S = 100 * SECONDS["y"]
_LENGTH = re.compile(r"(\d{1,10})([smhdwy])", re.ASCII)


class Length(click.ParamType[int]):
    """``90s``, ``10m``, ``2h``, ``30d``, ``8w`` or ``2y``, as seconds."""

    name = "length"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = _LENGTH.fullmatch(str(value))
        seconds = int(found[1]) * SECONDS[found[2]] if found else 0
        if not 0 < seconds <= LONGEST_S:
            self.fail(
                f"{value!r} must be a length of time like 90s, 10m, 2h, 30d or 2y", param, ctx
            )
        return seconds


class Instant(click.ParamType[int]):
    """``2026-11-22``, or ``2026-11-22T12:00Z``, as Unix milliseconds; without an offset, UTC."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            at = datetime.fromisoformat(str(value))
            at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} must be like 2026-11-22 or 2026-11-22T12:00Z", param, ctx)
        return as_ms(at)


class NumberRange(click.FloatRange):
    """As click's, without ``nan``, which is neither too small nor too large."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        return self.fail(f"{value!r} isn't a number.", param, ctx) if isnan(number) else number


LENGTH, INSTANT = Length(), Instant()


def find_sensors(db: Database, node: str | None, sensor: str | None) -> list[int] | None:
    """The ids of the sensors that --node and --sensor name; None for all.

    Raises:
        UnknownNode: there is no such node.
        UnknownSensor: the node has none of that name.
        click.UsageError: a sensor without its node.
    """
    if node is None:
        if sensor is not None:
            raise click.UsageError("--sensor needs --node: whose sensor is it?")
        return None
    if sensor is not None:
        return [find_sensor(db, node, sensor).id]
    find_node_uid(db, node)
    found = db.execute("select id from sensors where node = ?", [node])
    return [id_ for (id_,) in found.fetchall()]
