"""The measured figures, stored as JSON, so that one table can have rows of several runs."""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench.machine import Machine


@dataclass(frozen=True)
class Figure:
    """A measured quantity: the day, and the value of each peer in each round."""

    on: str  # UTC day, ISO 8601
    rounds: dict[str, list[float]] = field(default_factory=dict)

    def median(self, peer: str) -> float | None:
        return median(self.rounds[peer]) if self.rounds.get(peer) else None


@dataclass(frozen=True)
class Record:
    """All figures by name, and the machine on which they were measured."""

    machine: Machine
    figures: dict[str, Figure] = field(default_factory=dict)

    def add(self, name: str, peer: str, value: float) -> None:
        """Add a round of a figure."""
        today = datetime.now(UTC).date().isoformat()
        figure = self.figures.setdefault(name, Figure(today))
        figure.rounds.setdefault(peer, []).append(float(f"{value:.5g}"))

    def merged_into(self, earlier: "Record | None") -> "Record":
        """These figures, and those of an earlier run that were not measured again.

        Figures of another machine can't be compared with these, and are dropped.
        """
        if earlier is None or not earlier.machine.is_like(self.machine):
            return self
        return Record(self.machine, {**earlier.figures, **self.figures})

    def save(self, path: Path) -> None:
        text = json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")


def load(path: Path) -> Record | None:
    """The figures of an earlier run; None if there was none."""
    if not path.exists():
        return None
    saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    figures = {name: Figure(**fields) for name, fields in saved["figures"].items()}
    return Record(Machine(**saved["machine"]), figures)
