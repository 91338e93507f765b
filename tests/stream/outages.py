"""Times in which a node got no acknowledgement: how long, what it was answered, what was up."""

import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import monotonic, time
from typing import NamedTuple

PAUSE_S = 0.05
TOLD_S = 1.0  # what is shorter isn't kept


class Attempt(NamedTuple):
    """A request that wasn't acknowledged."""

    at_s: float
    url: str
    answer: str


class Outage(NamedTuple):
    """The time between two acknowledgements of a node, in seconds of ``monotonic``."""

    node: str
    began_s: float
    ended_s: float
    attempts: Sequence[Attempt]

    def __str__(self) -> str:
        begin = datetime.fromtimestamp(time() - monotonic() + self.began_s, UTC)
        counts = Counter(f"{one.url}: {one.answer}" for one in self.attempts)
        answers = "".join(f"\n    {count} x {answer}" for answer, count in counts.most_common())
        return f"{self.node}, {self.ended_s - self.began_s:.1f} s from {begin:%H:%M:%S.%f}{answers}"


class Look(NamedTuple):
    """What was up at a moment."""

    at_s: float
    ingests: int
    servers: int


class Watch(threading.Thread):
    """Looks again and again at how many ingests listen, and how many NATS servers are up."""

    def __init__(self, ports: Sequence[int], servers: Callable[[], int]) -> None:
        super().__init__()
        self._ports = ports
        self._servers = servers
        self._looks = [self._look()]
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(PAUSE_S):
            self._looks.append(self._look())

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _look(self) -> Look:
        listening = 0
        for port in self._ports:
            with socket.socket() as sock:
                listening += sock.connect_ex(("127.0.0.1", port)) == 0
        return Look(monotonic(), listening, self._servers())

    def reachable_s(self, outage: Outage, servers: int = 0) -> float:
        """How long an ingest could be reached in it, with so many servers up."""
        total_s = 0.0
        for look, following in zip(self._looks, self._looks[1:], strict=False):
            if look.ingests and look.servers >= servers:
                begin_s = max(look.at_s, outage.began_s)
                total_s += max(0.0, min(following.at_s, outage.ended_s) - begin_s)
        return total_s
