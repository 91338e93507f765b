"""Load on a station of several machines: nodes that send all the time."""

import json
import random
import threading
import time
from collections import Counter
from heapq import nlargest
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from tests.station import wait_for
from tests.stream.outages import KEPT, Outage, Watch
from tests.test_kill import NOON_MS
from tmon.db.connect import open_for_reading
from tmon.stream.messages import partition_of

if TYPE_CHECKING:
    from tests.stream.machines import Station


class Load:
    """Senders, one for each node; those of a later load go on where the earlier ones ended."""

    def __init__(self, station: "Station", size: int, rate: float) -> None:
        self.urls, self.size = [machine.url for machine in station.machines], size
        self.pause_s = size * len(station.tokens) / rate if rate else 0.0
        self.stop = threading.Event()
        self.senders = [Sender(self, station, number) for number in range(len(station.tokens))]
        self.watch = Watch(station.cluster, [one.port for one in station.machines])
        self.began_s = time.monotonic()
        self.lasted_s = 0.0

    def start(self) -> None:
        for each in (self.watch, *self.senders):
            each.start()

    def end(self) -> None:
        self.lasted_s = self.lasted_s or time.monotonic() - self.began_s
        self.stop.set()
        for sender in self.senders:
            sender.join()
        self.watch.end()

    @property
    def acknowledged(self) -> int:
        return sum(sender.acknowledged for sender in self.senders)

    @property
    def outages(self) -> list[Outage]:
        """The times in which a node got no acknowledgement, the longest first."""
        found = [outage for sender in self.senders for outage in sender.outages]
        return sorted(found, key=self.watch.reachable_s, reverse=True)

    @property
    def outage_s(self) -> float:
        """The longest of them, as far as an ingest could be reached."""
        return max(map(self.watch.reachable_s, self.outages), default=0.0)

    def goes_on(self) -> None:
        """Wait until each sender has got another acknowledgement."""
        before = [sender.acknowledged for sender in self.senders]
        wait_for(lambda: all(s.acknowledged > n for s, n in zip(self.senders, before, strict=True)))


class Sender(threading.Thread):
    """Sends one node's readings in order, the n-th with the value n, each until acknowledged.

    It asks another ingest after each failure, as the nodes of a station do whose name has several
    addresses. ``odd`` are answers that nobody expects.
    """

    def __init__(self, load: Load, station: "Station", number: int) -> None:
        super().__init__()
        self.node = f"node-{number}"
        self.outages: list[Outage] = []
        self.took_s: list[float] = []
        self.odd: list[str] = []
        self._load = load
        self._urls = cycle([*load.urls[number % len(load.urls) :], *load.urls])
        self._url = next(self._urls)
        token = station.tokens[number]
        self._headers = {"Authorization": f"Bearer {token}"}
        self._partition = partition_of(token.split(".")[1])
        self._count = station.acknowledged

    @property
    def acknowledged(self) -> int:
        """How many of its readings, from the first on."""
        return self._count[self.node]

    def run(self) -> None:
        size, stop = self._load.size, self._load.stop
        last_s = due_s = time.monotonic()
        with requests.Session() as http:
            http.trust_env = False
            while not stop.is_set():
                first = self.acknowledged
                batch = [self._reading(count) for count in range(first, first + size)]
                began_s = time.monotonic()
                answers: Counter[str] = Counter()
                acknowledged = self._send(http, json.dumps(batch).encode(), answers)
                now_s = time.monotonic()
                outage = Outage(self.node, self._partition, last_s, now_s, answers)
                self.outages = nlargest(KEPT, [*self.outages, outage], key=lambda one: one.lasted_s)
                if not acknowledged:
                    return
                self._count[self.node] += size
                self.took_s.append(now_s - began_s)
                last_s = now_s
                due_s = max(due_s + self._load.pause_s, now_s - 1)
                stop.wait(due_s - now_s if due_s > now_s else 0)

    def _reading(self, count: int) -> dict[str, object]:
        return {"sensor": f"s{count % 3}", "value": count, "measured_ms": NOON_MS + count * 10}

    def _send(self, http: requests.Session, body: bytes, answers: Counter[str]) -> bool:
        """Whether it was acknowledged before we were told to stop; ``answers`` gets the others."""
        while not self._load.stop.is_set():
            try:
                answer = http.post(
                    f"{self._url}/readings", data=body, headers=self._headers, timeout=15
                )
            except requests.RequestException as error:
                answers[f"{self._url} {type(error).__name__}"] += 1
            else:
                if answer.status_code == 201 and not answer.json()["rejected"]:
                    return True
                text = f"{self._url} {answer.status_code} {answer.text[:200]}"
                if answer.status_code != 503 or "Retry-After" not in answer.headers:
                    self.odd.append(text)
                answers[text] += 1
            self._url = next(self._urls)
            self._load.stop.wait(random.uniform(0.02, 0.1))
        return False

    def stored(self, path: Path) -> int:
        """How many of its readings a file has, from the first on; fails if one is missing."""
        with open_for_reading(path) as db:
            count, first, last, wrong = db.execute(
                """
                select count(*), min(value), max(value), total(measured_ms <> ? + value * 10)
                from readings join sensors on sensors.id = sensor
                where node = ? and name <> 'beside'
                """,
                [NOON_MS, self.node],
            ).fetchone()
        if count:
            assert (first, last, wrong) == (0, count - 1, 0), self.node
        return int(count)
