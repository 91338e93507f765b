"""What is asked at once waits for its turn, or is told to come again; each kind has its own."""

import asyncio
import random
import socket
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from datasette.app import Datasette
from starlette.types import ASGIApp, Message, Send

from tests.publish.published import ENDLESS, Site
from tmon.pages import concurrency
from tmon.pages.asgi import CHUNK_BYTES, SlowClient, send_in_chunks
from tmon.pages.concurrency import PAGES, ByteBudget, ConcurrencyLimit

OTHERS = ("/", "/node/basement", "/node/basement.json", "/tmon/nodes.json", "/incidents.atom")


def test_strangers_sql_leaves_all_other_pages_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrency, "QUEUE_TIMEOUT_S", 200)
    monkeypatch.setattr(concurrency, "HANDLER_TIMEOUT_S", 200)
    answers = site.answer_while_sql_runs(*OTHERS)
    assert [answer.status_code for answer in answers] == [200] * len(OTHERS)


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        ("/tmon/-/query", "text/html"),
        ("/tmon/-/query.json", "application/json"),
        ("/tmon/-/query.csv", "text/plain"),
    ],
)
def test_who_waits_too_long_is_told_to_come_again(
    limited: Site, monkeypatch: pytest.MonkeyPatch, page: str, kind: str
) -> None:
    monkeypatch.setattr(concurrency, "QUEUE_TIMEOUT_S", 0.2)
    with ThreadPoolExecutor(6) as strangers:
        asked = [strangers.submit(limited.get, page, sql=ENDLESS) for _ in range(6)]
    refused = [one.result() for one in asked if one.result().status_code == 429]
    assert {one.result().status_code for one in asked} == {400, 429}
    for answer in refused:
        assert answer.headers["content-type"].startswith(kind)
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "Too many requests at the moment" in answer.text
        if kind == "application/json":
            assert {"ok", "error", "errors", "status"} == set(answer.json())
    assert limited.ask("select 1").status_code == 200


def test_who_leaves_while_waiting_takes_no_place(site: Site) -> None:
    address = urlsplit(site.url)
    for _ in range(10):
        with socket.create_connection((str(address.hostname), int(address.port or 0))) as gone:
            gone.sendall(b"GET /tmon/-/query.json?sql=select+1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert site.ask("select 1").status_code == 200


def test_long_answers_that_nobody_reads_leave_room_for_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They keep no place, and what is kept of them has an end."""
    monkeypatch.setattr(concurrency, "UNREAD_TIMEOUT_S", 0.2)
    long = "/tmon/-/query.json?sql=" + quote(
        "with recursive t (n) as (select 1 union all select n + 1 from t limit 9000)"
        " select n || ' and so on, over and over, until it is as long as nobody reads' from t"
    )
    address = urlsplit(site.url)
    unread = []
    for _ in range(6):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect((str(address.hostname), int(address.port or 0)))
        connection.sendall(f"GET {long} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        unread.append(connection)
    assert site.ask("select 1").status_code == 200
    for connection in unread:
        connection.close()


@pytest.mark.parametrize(
    ("page", "kind"), [("/tmon/-/query", "text/html"), ("/tmon/-/query.json", "application/json")]
)
def test_a_request_has_so_much_time_for_all_of_its_statements(
    limited: Site, monkeypatch: pytest.MonkeyPatch, page: str, kind: str
) -> None:
    monkeypatch.setattr(concurrency, "HANDLER_TIMEOUT_S", 0.2)
    limited.limit_queries(3000)
    answer = limited.get(page, sql=ENDLESS)
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith(kind)
    assert "longer than a request may" in answer.text
    monkeypatch.undo()
    assert limited.ask("select 1").status_code == 200


def test_who_leaves_gives_the_place_back_when_the_statement_ends(limited: Site) -> None:
    """Until then the thread is taken: another would only wait for it elsewhere."""
    address = urlsplit(limited.url)
    many = "&".join(f"_where=({quote(ENDLESS)})+<+{n}" for n in range(2))
    for _ in range(concurrency.POOL_SIZE):
        with socket.create_connection((str(address.hostname), int(address.port or 0))) as gone:
            gone.sendall(f"GET /tmon/readings.json?{many} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            time.sleep(0.1)
    assert limited.ask("select 1").status_code == 200  # after ten seconds it would be refused


def asked(
    limit: ConcurrencyLimit, send: Send, *, leaves: bool = False
) -> Coroutine[Any, Any, None]:
    """A request for a page, whose asker stays or leaves at once."""

    async def receive() -> Message:
        if not leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    scope = {"type": "http", "path": "/", "headers": [], "query_string": b""}
    return limit(scope, receive, send)


def answering(body: bytes) -> ASGIApp:
    async def app(_scope: Any, _receive: Any, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return app


async def nowhere(_message: Message) -> None:
    pass


def test_who_left_while_waiting_is_not_worked_on() -> None:
    async def run() -> None:
        go_on, worked_on = asyncio.Event(), 0

        async def app(_scope: Any, _receive: Any, _send: Any) -> None:
            nonlocal worked_on
            worked_on += 1
            await go_on.wait()

        limit = ConcurrencyLimit(app, Datasette())
        async with asyncio.TaskGroup() as requests:
            for leaves in (False, False, True, True):
                requests.create_task(asked(limit, nowhere, leaves=leaves))
            while worked_on < concurrency.POOL_SIZE:
                await asyncio.sleep(0.01)
            go_on.set()
        assert worked_on == concurrency.POOL_SIZE

    asyncio.run(asyncio.wait_for(run(), 30))


def test_a_long_answer_goes_out_in_pieces_as_long_as_somebody_reads_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And gives its room back when nobody does."""
    long = random.randbytes(300_000)
    monkeypatch.setattr("tmon.pages.asgi.CHUNK_TIMEOUT_S", 0.05)
    monkeypatch.setattr(concurrency, "UNREAD_BYTES", len(long))
    sent: list[Message] = []

    async def unread(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def read(message: Message) -> None:
        sent.append(message)

    async def run() -> None:
        limit = ConcurrencyLimit(answering(long), Datasette())
        await asked(limit, unread)
        await asked(limit, read)

    asyncio.run(asyncio.wait_for(run(), 30))
    pieces = [message["body"] for message in sent[1:]]
    assert b"".join(pieces) == long
    assert max(map(len, pieces)) <= CHUNK_BYTES


def test_what_nobody_waits_for_is_cancelled() -> None:
    async def run(limit_s: float, leaves: bool) -> bool:
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ended = False

        async def work() -> None:
            nonlocal ended
            if leaves:
                gone.set_result(None)
            try:
                await asyncio.sleep(600)
            finally:
                ended = True

        with pytest.raises(TimeoutError):
            await concurrency._run_until_gone(limit_s, gone, work())
        return ended

    for limit_s, leaves in ((600, True), (0.05, False)):
        assert asyncio.run(run(limit_s, leaves))


def test_an_answer_has_an_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes it, and in however many pieces."""
    monkeypatch.setattr(concurrency, "MAX_ANSWER_BYTES", 10_000)
    for page in ("/tmon/-/query", "/tmon/-/query.json", "/tmon/-/query.csv"):
        answer = site.get(page, sql="select measured_at, measured_at from readings limit 2000")
        assert answer.status_code == 400
        assert "longer than one may be" in answer.text


def test_room_is_taken_and_given_back() -> None:
    async def run() -> None:
        budget = ByteBudget(10)
        assert await budget.acquire(6) == 6
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(budget.acquire(5), 0.01)
        waiting = asyncio.create_task(budget.acquire(1000))  # more than there is: all of it
        await asyncio.sleep(0)
        budget.release(6)
        assert await waiting == 10

    asyncio.run(run())


def test_a_piece_that_nobody_reads_ends_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmon.pages.asgi.CHUNK_TIMEOUT_S", 0.01)
    sent = []

    async def send(message: Message) -> None:
        sent.append(message)
        await asyncio.sleep(60 * (len(sent) - 1))

    with pytest.raises(SlowClient):
        asyncio.run(send_in_chunks(send, bytes(200_000), more_body=False))
    assert [message["more_body"] for message in sent] == [True, True]


@pytest.mark.parametrize("path", ["/map", "/refused", "/compare.png", "/year/a/b", "/node/a/b.png"])
def test_our_own_pages_wait_for_each_other_not_for_tables(path: str) -> None:
    assert PAGES.match(path)
