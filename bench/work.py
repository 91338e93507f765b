"""The context of all parts of the benchmark, and its progress messages."""

import random
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench import peers
from bench.figures import Record
from bench.peers import Server
from bench.scale import Scale
from bench.shape import Node

SEED = 3  # so that random numbers are the same in every run

Start = Callable[[Path, Sequence[Node]], AbstractContextManager[Server]]
WRITERS: dict[str, Start] = {
    peers.TMON_NAME: peers.tmon,
    peers.INFLUX_NAME: peers.influxdb,
    peers.VICTORIA_NAME: peers.victoria_metrics,
    peers.DATASETTE_NAME: peers.datasette,
    peers.NULL_NAME: peers.null,
}


@dataclass(frozen=True)
class Work:
    """One run: its sizes, its rows, its folder, the missing peers, and the figures so far."""

    scale: Scale
    rows: Collection[str]
    folder: Path
    absent: Collection[str]
    record: Record
    started_s: float

    def has(self, *rows: str) -> bool:
        """Whether any of these rows is to be measured."""
        return any(row in self.rows for row in rows)

    def has_influx(self) -> bool:
        return peers.INFLUX_NAME not in self.absent

    def say(self, text: str) -> None:
        """Print progress, with minutes and seconds since the start."""
        minutes, seconds = divmod(int(time.monotonic() - self.started_s), 60)
        print(f"{minutes:3}:{seconds:02}  {text}", file=sys.stderr, flush=True)

    def names(self) -> list[str]:
        return [f"n{number:05}" for number in range(self.scale.nodes)]

    def shuffled(self, nodes: Sequence[Node]) -> list[Node]:
        """The nodes in the order in which they send, which is random."""
        shuffled = list(nodes)
        random.Random(SEED).shuffle(shuffled)  # noqa: S311 - no secret
        return shuffled
