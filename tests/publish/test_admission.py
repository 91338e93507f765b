"""What is asked at once waits for its turn, or is told to come again; each kind has its own."""

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

import pytest
from tmon_pages import admission
from tmon_pages.admission import Room
from tmon_pages.sending import Unread, send_in_pieces

from tests.publish.published import Site

ENDLESS = "with recursive t (n) as (select 1 union all select n + 1 from t) select count(*) from t"
OTHERS = ("/", "/node/basement", "/node/basement.json", "/tmon/nodes.json", "/incidents.atom")


def test_strangers_sql_leaves_all_other_pages_alone(site: Site) -> None:
    with ThreadPoolExecutor(8) as strangers:
        asked = [strangers.submit(site.ask, ENDLESS) for _ in range(8)]
        time.sleep(0.2)
        answers = [site.get(page) for page in OTHERS]
        still_asking = not all(one.done() for one in asked)
    assert [answer.status_code for answer in answers] == [200] * len(OTHERS)
    assert still_asking
    assert {one.result().status_code for one in asked} == {400}


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        ("/tmon/-/query", "text/html"),
        ("/tmon/-/query.json", "application/json"),
        ("/tmon/-/query.csv", "text/plain"),
    ],
)
def test_who_waits_too_long_is_told_to_come_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, page: str, kind: str
) -> None:
    monkeypatch.setattr(admission, "WAIT_S", 0.2)
    with ThreadPoolExecutor(6) as strangers:
        asked = [strangers.submit(site.get, page, sql=ENDLESS) for _ in range(6)]
    refused = [one.result() for one in asked if one.result().status_code == 429]
    assert {one.result().status_code for one in asked} == {400, 429}
    for answer in refused:
        assert answer.headers["content-type"].startswith(kind)
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "Too many ask at the moment" in answer.text
        if kind == "application/json":
            assert {"ok", "error", "errors", "status"} == set(answer.json())
    assert site.ask("select 1").status_code == 200


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
    monkeypatch.setattr(admission, "ROOM_S", 0.2)
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


def test_room_is_taken_and_given_back() -> None:
    async def run() -> None:
        room = Room(10)
        assert await room.take(6) == 6
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(room.take(5), 0.01)
        waiting = asyncio.create_task(room.take(1000))  # more than there is: all of it
        await asyncio.sleep(0)
        room.give_back(6)
        assert await waiting == 10

    asyncio.run(run())


def test_a_piece_that_nobody_reads_ends_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmon_pages.sending.STALLED_S", 0.01)
    sent = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)
        await asyncio.sleep(60 * (len(sent) - 1))

    with pytest.raises(Unread):
        asyncio.run(send_in_pieces(send, bytes(200_000), more_body=False))
    assert [message["more_body"] for message in sent] == [True, True]
