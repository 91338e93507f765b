"""Measure how long requests take: HTTP on one open connection, or SQL on the file."""

import time
from collections.abc import Callable, Iterable, Sequence
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from statistics import median

from bench.process import Failed
from tmon.db.connect import open_for_reading

Ask = Callable[[str], int]  # sends one request; returns the size of the result (bytes, or rows)


def http(port: int) -> Ask:
    """A function that reads a path's whole response, and returns its length in bytes."""
    connection = HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(path: str) -> int:
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
        except RemoteDisconnected:  # it was idle for too long, while other peers were measured
            connection.request("GET", path)
            answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise Failed(f"{path}: {answer.status} {body[:300].decode(errors='replace')}")
        return len(body)

    return ask


def sql(path: Path) -> Ask:
    """A function that runs SQL, fetches all rows, and returns their number."""
    db = open_for_reading(path)

    def ask(query: str) -> int:
        return len(db.execute(query).fetchall())

    return ask


def median_ms(ask: Ask, questions: Iterable[str]) -> float:
    """The median time of the requests in milliseconds, after the first one as a warm-up."""
    questions = list(questions)
    ask(questions[0])
    return median(_took_ms(ask, question) for question in questions)


def _took_ms(ask: Ask, question: str) -> float:
    began_s = time.perf_counter()
    if not ask(question):
        raise Failed(f"the result of {question} is empty")
    return (time.perf_counter() - began_s) * 1000


def cycle(texts: Sequence[str], number: int) -> list[str]:
    """``number`` texts: these, repeated as often as needed."""
    return [texts[place % len(texts)] for place in range(number)]
