"""A sensor's row on the home page, and what is wrong with it."""

from collections.abc import Sequence
from typing import NamedTuple

from tmon.core.time import DAY_MS
from tmon.pages.home_charts import DayChart

LOW_PERCENT = 20  # of a battery
LOW_LEVEL = 1  # of 0 to 6, as Ecowitt's consoles report
OK, LOW_BATTERY, SILENT, BEYOND = range(4)  # from fine to worst


class SensorRow(NamedTuple):
    """A sensor's newest reading; ``day`` is None without readings in the last 24 hours."""

    id: int
    node: str
    name: str
    title: str | None
    quantity: str | None
    unit: str | None
    measured_ms: int
    value: float
    age_s: int
    silent: int
    history: int
    below: float | None
    above: float | None
    day: DayChart | None

    @property
    def shown_name(self) -> str:
        return self.title or self.name

    @property
    def is_switch(self) -> bool:
        return self.quantity == "switch"

    @property
    def is_archive(self) -> bool:
        """Whether nobody expects its value to be of today."""
        return bool(self.history) and self.age_s * 1000 >= DAY_MS

    @property
    def bound(self) -> tuple[str, float] | None:
        """The limit that the value is beyond, with ``above`` or ``below``."""
        if self.is_archive:
            return None
        if self.above is not None and self.value > self.above:
            return "above", self.above
        if self.below is not None and self.value < self.below:
            return "below", self.below
        return None

    @property
    def battery_is_low(self) -> bool:
        """By percent, by level, or by a flag; what a low voltage is depends on the battery."""
        if "batt" not in (self.quantity or self.name).lower() + self.name.lower():
            return False
        if self.unit == "%":
            return self.value <= LOW_PERCENT
        if self.unit is None and self.name.endswith("_level"):
            return self.value <= LOW_LEVEL
        return self.unit is None and self.name.endswith("_low") and self.value == 1

    @property
    def trouble(self) -> int:
        if self.bound:
            return BEYOND
        if self.silent:
            return SILENT
        return LOW_BATTERY if self.battery_is_low and not self.is_archive else OK


class NodeRows(NamedTuple):
    """A node with its sensors; without any until it sends a reading."""

    node: str
    area: str | None
    description: str | None
    rows: Sequence[SensorRow]

    def by_trouble(self) -> tuple[float, str]:
        """A sort key: nodes with the worst trouble first; those without readings come after."""
        if not self.rows:
            return -0.5, self.node
        return -max(row.trouble for row in self.rows), self.node

    @property
    def weight(self) -> int:
        """How much of a page it takes, in rows."""
        return max(1, len(self.rows))
