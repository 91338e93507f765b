"""Bodies made from a seed go through the app to the store and back, each beside a healthy request.

``python -m tests.fuzzing BODIES SEED`` prints what came of it as JSON. Nothing is left out but the
sockets: the app is called as the server calls it, and the writer is a process of its own.
"""

import asyncio
import gzip
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import uvloop
from hypothesis import Phase, given, seed, settings
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message

from ingest.app import create_app
from ingest.exchange import Sender
from tests.station import hourly_equals_raw
from tests.test_hostile_input import BODIES, POISON
from tmon.core.settings import Settings
from tmon.core.time import now_ms
from tmon.db import tokens
from tmon.db.connect import open_database, open_for_reading
from tmon.store import writer_process

IN_FLIGHT = 64
BODIES_A_NODE = 5_000  # a node can have 1,000 sensors
LONGEST_BYTES = 4_000  # long bodies say nothing new, and take long
HEALTHY_HOURS = 20  # ago the healthy readings begin
SLOTS = 8  # times that each healthy request has for itself

TOKENS = (
    *(
        b"\\ud800",
        b"\\uDFFF",
        b"\\ud83c\\udf21",
        b"\xed\xa0\x80",
        b"\xff",
        b"\xc3",
        b"\\u0000",
        b"\0",
    ),
    *(b"NaN", b"-Infinity", b"1e999", b"-0", b"9" * 400, b"18446744073709551616", b"1e30", b"85.0"),
    *(b"null", b"true", b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\n", b" ", b"[" * 999),
    *(b'"readings":', b'"node":', b'"sensor":', b'"value":', b'"unit":', b'"measured_ms":'),
    *(b'"measured_at":"2026-01-01T00:00:00Z"', b'"age_s":', b'"fuzz-0"', b"\xc2\xb0C", b"%"),
    *(b"\xef\xbb\xbf", b"T", b"Z", b"+00:00", b"W01", b".123456789", "\u0663".encode(), b"-127.0"),
)
SEEDS = (
    b'{"sensor": "a", "value": 21.5, "unit": "\xc2\xb0C", "measured_at": "2025-11-22T12:00:00Z"}',
    b'{"node": "fuzz-0", "readings": [{"value": 21.5, "measured_ms": 1763812800000}]}',
    b'[{"value": 1, "age_s": 5}, {"sensor": "b", "value": 2, "unit": "%"}]',
    b'{"value": 1}\n{"sensor": "c", "value": 2}\n\n{"sensor": "d"}',
    *POISON,
)
TYPES = (*[b"application/json"] * 4, b"application/x-ndjson", b"", b"text/\xff")
DATES = (
    b"Thu, 26 Nov 2026 01:13:40 GMT",
    b"Sun, 31 Dec 9998 00:00:00 GMT",
    b"Thu, 99 Nov 2026",
    b"0",
    b"\xff",
    b" ",
    b"1" * 50,
)


class Answer(NamedTuple):
    """A status, and what the body says."""

    status: int
    said: Any


class Made:
    """The bodies: Hypothesis' and ours, and what changes of bytes make of them."""

    def __init__(self, bodies: int, number: int) -> None:
        self.random = random.Random(number)
        self._corpus = [*SEEDS]
        self._known: set[tuple[Any, ...]] = set()

        @seed(number)
        @settings(max_examples=max(200, bodies // 50), database=None, phases=[Phase.generate])
        @given(BODIES)
        def collect(body: bytes) -> None:
            if len(body) <= LONGEST_BYTES:
                self._corpus.append(body)

        collect()

    def next(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """A body and its headers."""
        is_good = self.random.random() < 0.4
        body = self._good() if is_good else self.random.choice(self._corpus)
        headers = [(b"content-type", self.random.choice(TYPES))]
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 4))):
            body = self._changed(body)
        if self.random.random() < 0.1:
            body = gzip.compress(body, 1)
            headers.append((b"content-encoding", b"gzip"))
            if self.random.random() < 0.3:
                body = self._changed(body)
        if self.random.random() < 0.2:
            headers.append((b"date", self._changed(self.random.choice(DATES))))
        return body[:LONGEST_BYTES], headers

    def learn(self, body: bytes, answer: Answer) -> None:
        """Keep a body that was answered like none before: its changes may find more."""
        codes = sorted({told["code"] for told in answer.said.get("rejected", ())})
        outcome = (answer.status, answer.said.get("error", "")[:24], *codes)
        if outcome not in self._known:
            self._known.add(outcome)
            self._corpus.append(body)

    def _good(self) -> bytes:
        """Readings as they should be, of times that nobody has sent yet, or of none."""
        readings = []
        for _ in range(self.random.randrange(1, 4)):
            at = datetime.fromtimestamp(self.random.randrange(1_600_000_000, 1_700_000_000), UTC)
            time = self.random.choice(
                ({}, {"measured_at": str(at)}, {"measured_ms": round(1000 * at.timestamp())})
            )
            sensor, unit = self.random.choice((("a", "°C"), ("b", "%"), ("c", None), ("d", "hPa")))
            value = self.random.randrange(100)
            readings.append({"sensor": sensor, "unit": unit, "value": value, **time})
        whole: Any = self.random.choice((readings, {"readings": readings}, readings[0]))
        return json.dumps(whole, ensure_ascii=self.random.random() < 0.5).encode()

    def _changed(self, body: bytes) -> bytes:
        at, to = sorted(self.random.randrange(len(body) + 1) for _ in range(2))
        to = min(to, at + 40)
        match self.random.randrange(6):
            case 0:
                return body[:at] + self.random.choice(TOKENS) + body[at:]
            case 1:
                return body[:at] + self.random.choice(TOKENS) + body[to:]
            case 2:
                return body[:at] + body[to:]
            case 3:
                return body[:to] + body[at:to] + body[to:]
            case 4:
                return body[:at] + self.random.randbytes(1) + body[at + 1 :]
            case _:
                other = self.random.choice(self._corpus)
                return body[:at] + other[self.random.randrange(len(other) + 1) :]


class Fuzz:
    """Asks the app, and remembers what must hold afterwards."""

    def __init__(self, app: ASGIApp, state: Mapping[str, Any], made: Made) -> None:
        self._app = app
        self._state = state
        self._made = made
        self._began_ms = now_ms() - HEALTHY_HOURS * 3_600_000
        self.statuses: Counter[int] = Counter()
        self.codes: Counter[str] = Counter()
        self.accepted = self.healthy = 0
        self.problems: list[str] = []

    async def run(self, numbers: Iterator[int], tokens: list[str]) -> None:
        """Take the next number, ask with its body and with a healthy one; until there is none."""
        for number in numbers:
            if len(self.problems) > 10:
                return
            body, headers = self._made.next()
            token = tokens[1 + number // BODIES_A_NODE]
            healthy, expected = self._healthy(number)
            answer, own = await asyncio.gather(
                self._ask(body, headers, token), self._ask(healthy, [], tokens[0])
            )
            self._note(body, headers, answer)
            if own != Answer(201, expected):
                self.problems.append(f"healthy {number}: {own} beside {body!r}")

    def _healthy(self, number: int) -> tuple[bytes, dict[str, Any]]:
        """A request whose receipt can hardly be another's, and that receipt."""
        size = 1 + number * 5 % (SLOTS - 1)
        first_ms = self._began_ms + number * SLOTS
        batch: list[dict[str, Any]] = [
            {"sensor": "count", "value": number * SLOTS + i, "measured_ms": first_ms + i}
            for i in range(size)
        ]
        expected: dict[str, Any] = {"accepted": size, "duplicates": 0, "rejected": []}
        if number % 3 == 0:
            batch.append(batch[0])
            expected["duplicates"] = 1
        if number % 5 == 0:
            batch.append({"value": 1, f"unknown {number}": 1})
            known = "value, sensor, unit, measured_at, measured_ms, age_s, node"
            error = f"unknown field 'unknown {number}'; the fields are {known}"
            told = {"index": len(batch) - 1, "code": "unknown_field", "error": error}
            expected["rejected"] = [told]
        self.healthy += size
        return json.dumps(batch).encode(), expected

    def _note(self, body: bytes, headers: Any, answer: Answer) -> None:
        self.statuses[answer.status] += 1
        if answer.status == 201:
            self.accepted += answer.said["accepted"]
            self.codes.update(told["code"] for told in answer.said["rejected"])
        elif answer.status in (400, 403, 413, 415) or answer.said["code"] == "clock_differs":
            self.codes[answer.said["code"]] += 1
        else:
            self.problems.append(f"{answer} for {body!r} with {headers!r}")
            return
        self._made.learn(body, answer)

    async def _ask(self, body: bytes, headers: list[tuple[bytes, bytes]], token: str) -> Answer:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/readings",
            "root_path": "",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {token}".encode()), *headers],
            "state": dict(self._state),
            "extensions": {"tmon.sender": Sender()},
        }
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # what a connection answers 500
            return Answer(500, {"error": repr(error), "code": "internal"})
        return Answer(sent[0]["status"], json.loads(sent[1]["body"]))


def differences(path: Path, fuzz: Fuzz) -> Iterator[str]:
    """What the file holds that it shouldn't, or the other way round."""
    with open_for_reading(path) as db:
        of_healthy = "from readings join sensors on id = sensor where node = 'healthy'"
        [stored] = db.execute(f"select count(*) {of_healthy}").fetchone()
        if stored != fuzz.healthy:
            yield f"{fuzz.healthy} healthy readings were acknowledged, {stored} are stored"
        [odd] = db.execute(
            f"select count(*) {of_healthy} and value <> measured_ms - ?", [fuzz._began_ms]
        ).fetchone()
        if odd:
            yield f"{odd} healthy readings have another value"
        [others] = db.execute("select count(*) from readings").fetchone()
        if others - stored != fuzz.accepted:
            yield f"{fuzz.accepted} other readings were acknowledged, {others - stored} are stored"
        if not hourly_equals_raw(db):
            yield "hourly isn't what the readings say"


def main(bodies: int, number: int) -> None:
    made = Made(bodies, number)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tmon.db"
        station = Settings.load({"TMON_DB": str(path)})
        open_database(path, create=True).close()
        names = [f"fuzz-{i}" for i in range(1 + bodies // BODIES_A_NODE)]
        healthy, *others = tokens.get_or_create(station, ["healthy", *names])
        began_s = time.monotonic()
        with closing(writer_process.start(path)) as line:
            app = create_app(station, line)
            assert isinstance(app, Starlette)  # as there is a writer
            fuzz = uvloop.run(ask_all(app, made, bodies, [healthy, *others]))
        problems = [*fuzz.problems, *differences(path, fuzz)]
    told = {
        "bodies": fuzz.statuses.total(),
        "seconds": round(time.monotonic() - began_s, 1),
        "statuses": dict(sorted(fuzz.statuses.items())),
        "codes": dict(fuzz.codes.most_common()),
        "accepted": fuzz.accepted,
        "healthy": fuzz.healthy,
        "problems": problems,
    }
    print(json.dumps(told))


async def ask_all(app: Starlette, made: Made, bodies: int, tokens: list[str]) -> Fuzz:
    """Ask with so many bodies, many at once; the first token is the healthy node's."""
    async with app.router.lifespan_context(app) as state:
        assert state is not None
        fuzz, numbers = Fuzz(app, state, made), iter(range(bodies))
        await asyncio.gather(*(fuzz.run(numbers, tokens) for _ in range(IN_FLIGHT)))
    return fuzz


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
