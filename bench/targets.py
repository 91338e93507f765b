"""The targets (targets.toml), and whether they were reached."""

import tomllib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from bench.figures import Figure, Record
from bench.peers import TMON_NAME

TIMES_SIGN = "\N{MULTIPLICATION SIGN}"


class Sense(Enum):
    """How our value and the peer's are compared with the target."""

    TIMES = "times"  # ours / theirs, where more is better
    WITHIN = "within"  # ours / theirs, where less is better
    FASTER = "faster"  # theirs / ours, where less is better
    BELOW = "below"  # ours alone, where less is better


@dataclass(frozen=True)
class Target:
    """One line of the table: a figure, whose values are compared, and the number to reach."""

    id: str
    row: str
    work: str
    figure: str
    unit: str
    sense: Sense
    reach: float
    ours: tuple[str, ...] = (TMON_NAME,)
    theirs: str | None = None
    aim: float | None = None
    chart: str = ""

    def text(self) -> str:
        """The number to reach, as text."""
        sign = (
            "\N{LESS-THAN OR EQUAL TO}" if self._less_is_better else "\N{GREATER-THAN OR EQUAL TO}"
        )
        unit = self.unit if self.sense is Sense.BELOW else TIMES_SIGN
        faster = " faster" if self.sense is Sense.FASTER else ""
        aim = f", aim {self.aim:g} {TIMES_SIGN}" if self.aim else ""
        return f"{sign} {self.reach:g} {unit}{faster}{aim}"

    def is_reached(self, value: float) -> bool:
        return value <= self.reach if self._less_is_better else value >= self.reach

    @property
    def _less_is_better(self) -> bool:
        return self.sense in (Sense.WITHIN, Sense.BELOW)


@dataclass(frozen=True)
class Result:
    """A target, and the measured medians."""

    target: Target
    ours: float | None
    theirs: float | None

    @property
    def ratio(self) -> float | None:
        """The ratio that the target is about; for ``below``, ours over theirs."""
        if not self.ours or not self.theirs:
            return None
        if self.target.sense is Sense.FASTER:
            return self.theirs / self.ours
        return self.ours / self.theirs

    @property
    def advantage(self) -> float | None:
        """How many times better our value is."""
        if self.ratio is None or self.target.sense in (Sense.TIMES, Sense.FASTER):
            return self.ratio
        return 1 / self.ratio

    @property
    def verdict(self) -> str:
        value = self.ours if self.target.sense is Sense.BELOW else self.ratio
        if value is None:
            return "not measured"
        return "reached" if self.target.is_reached(value) else "falls short"


def _read(path: Path) -> tuple[Target, ...]:
    lines = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(_target(id_, fields) for id_, fields in lines.items())


def _target(id_: str, fields: dict[str, Any]) -> Target:
    ours = tuple(fields.pop("ours", [TMON_NAME]))
    return Target(id=id_, sense=Sense(fields.pop("sense")), ours=ours, **fields)


TARGETS = _read(Path(__file__).parent / "targets.toml")
ROWS = tuple(dict.fromkeys(target.row for target in TARGETS))
LARGE_ROWS = ("pages", "growth", "start")


def results(record: Record) -> list[Result]:
    """All targets with their medians, None if not measured."""
    return [_result(target, record.figures.get(target.figure, Figure(""))) for target in TARGETS]


def _result(target: Target, figure: Figure) -> Result:
    values = [value for name in target.ours if (value := figure.median(name)) is not None]
    theirs = figure.median(target.theirs) if target.theirs else None
    return Result(target, values[0] if values else None, theirs)
