"""What one sender may take of the server: bytes, and time."""

import gzip
import json
import socket
import threading
import time
import zlib
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ingest.app import Endpoint
from ingest.body import limited_body
from ingest.http import HttpConnection
from ingest.limits import BODY_S, HEADER_S
from ingest.rate import RateLimit
from ingest.state import State
from tests.station import Station, running, station_in_thread
from tmon.core.errors import TooFast
from tmon.db.connect import open_database


def raw(url: str, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """What the server answers to bytes sent in parts, until it closes."""
    with connected(url) as sock:
        for part in parts:
            try:
                sock.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                break
            time.sleep(pause_s)
        return _everything(sock)


def connected(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=60)


def _everything(sock: socket.socket) -> bytes:
    answer = b""
    with suppress(ConnectionResetError):
        while chunk := sock.recv(65536):
            answer += chunk
    return answer


def status(url: str, request: bytes) -> int:
    """What is answered, also where the server then waits for more."""
    with connected(url) as sock, sock.makefile("rb") as answer:
        sock.sendall(request)
        return int(answer.readline().split()[1])


def test_a_body_over_1_mib_as_sent_is_413(shared: Station) -> None:
    answer = shared.post(b'[{"value": 1}' + b" " * (1024 * 1024) + b"]")
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("size_mib", [2, 3])
def test_an_oversized_body_gets_its_error_response_and_a_close(
    shared: Station, size_mib: int
) -> None:
    """Else a sender reuses the connection just as it closes, or loses the answer to a reset."""
    size = size_mib * 1024 * 1024
    head = (
        f"POST /readings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {shared.token()}\r\n"
        f"Content-Length: {size}\r\n\r\n"
    )
    answer = raw(shared.url, head.encode(), b" " * size)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.split(b"\r\n\r\n")[0].lower().split(b"\r\n")


def test_a_chunked_body_is_counted_as_it_arrives(shared: Station) -> None:
    answer = shared.http.post(
        f"{shared.url}/readings",
        data=(b" " * 65536 for _ in range(20)),
        headers={"Authorization": f"Bearer {shared.token()}"},
        timeout=60,
    )
    assert answer.status_code == 413


def test_more_than_10_000_readings_are_413(shared: Station) -> None:
    body = json.dumps([{"sensor": "a", "value": 1}] * 10_001).encode()
    answer = shared.post(body)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert "10,000" in answer.json()["error"]


def test_a_gzip_bomb_ends_at_the_limit(shared: Station) -> None:
    packer = zlib.compressobj(wbits=31)
    first, again = (
        packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    bomb = first + again * 899
    assert len(bomb) < 2**20 < 900 * 2**20
    began_s = time.process_time()  # the server's thread is in this process
    answer = shared.post(bomb, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert time.process_time() - began_s < 0.3


def test_bombs_in_several_members_are_added_up(shared: Station) -> None:
    member = gzip.compress(bytes(5 * 2**20))
    answer = shared.post(member * 2, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(b'{"value": 1}', mtime=0)[:-9]])
def test_broken_gzip_is_400(shared: Station, body: bytes) -> None:
    answer = shared.post(body, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_body")
    assert "gzip" in answer.json()["error"]


def test_a_gzip_body_of_countless_members_is_400(shared: Station) -> None:
    answer = shared.post(gzip.compress(b"") * 20_000, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_body")


@pytest.mark.parametrize(
    ("body", "ndjson"),
    [(b"[" + b"1," * 4_000_000 + b"1]", False), (b"1\n" * 4_000_000, True)],
    ids=["json", "ndjson"],
)
def test_millions_of_bad_readings_never_hold_up_the_others(
    shared: Station, body: bytes, ndjson: bool
) -> None:
    headers = {"Content-Encoding": "gzip"} | (
        {"Content-Type": "application/x-ndjson"} if ndjson else {}
    )
    packed = gzip.compress(body)
    began_s = time.process_time()  # the server's thread is in this process
    answer = shared.post(packed, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert time.process_time() - began_s < 5


def test_another_encoding_is_415(shared: Station) -> None:
    answer = shared.post(b"x", headers={"Content-Encoding": "br"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unknown_encoding")


def test_a_body_isnt_read_before_the_token_is_checked(shared: Station) -> None:
    head = b"POST /readings HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    assert status(shared.url, head) == 401


@pytest.mark.parametrize(
    "header",
    [
        b"X-Long: " + b"a" * 20_000 + b"\r\n",
        b"".join(b"X-%d: %s\r\n" % (i, b"a" * 1000) for i in range(20)),
    ],
    ids=["one", "many"],
)
def test_headers_over_16_kib_are_431(shared: Station, header: bytes) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n"
    assert b" 431 " in raw(shared.url, request).splitlines()[0]


def test_headers_that_never_end_are_cut_off(shared: Station) -> None:
    endless = (b"X-Long: ", *[b"a" * 4096] * 100)
    answer = raw(shared.url, b"GET /healthz HTTP/1.1\r\n", *endless)
    assert answer == b"" or b" 431 " in answer.splitlines()[0]


def test_headers_within_16_kib_are_read(shared: Station) -> None:
    header = b"X-Long: " + b"a" * 15_000 + b"\r\n"
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n"
    assert status(shared.url, request) == 200


class ShortHeaderTimeout(HttpConnection):
    """The server's protocol with a short timeout for headers."""

    header_s = 1.0


@pytest.mark.parametrize("start", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_headers_must_arrive_in_time(start: bytes) -> None:
    with running(Starlette(), ShortHeaderTimeout) as url:
        begun = time.monotonic()
        answer = raw(url, start)
        assert time.monotonic() - begun < HEADER_S
        assert b" 408 " in answer.splitlines()[0]


def test_a_second_requests_headers_have_their_own_time() -> None:
    with running(Starlette(), ShortHeaderTimeout) as url:
        one = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = raw(url, one, one, one, one, one, one[:9], pause_s=0.25)
        assert answer.count(b" 404 ") == 5
        assert answer.count(b" 408 ") == 1


def test_a_body_must_arrive_in_time() -> None:
    async def read(request: Request[State]) -> JSONResponse:
        return JSONResponse(len(await limited_body({}, request.receive)))

    app = Starlette(routes=[Route("/", Endpoint(POST=read))])
    with running(app, ShortBodyTimeout) as url:
        answer = raw(
            url, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc", pause_s=0.6
        )
        assert b" 408 " in answer.splitlines()[0]
        assert b'"code": "too_slow"' in answer


class ShortBodyTimeout(HttpConnection):
    """The server's protocol with a short timeout for bodies."""

    body_s = 0.3


def test_a_body_that_nobody_reads_must_arrive_in_time_too() -> None:
    with running(Starlette(), ShortBodyTimeout) as url:
        begun = time.monotonic()
        answer = raw(url, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        assert b" 404 " in answer.splitlines()[0]
        assert time.monotonic() - begun < BODY_S


def test_little_is_read_after_an_early_answer(shared: Station) -> None:
    head = b"POST /readings HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
    with connected(shared.url) as sock:
        sock.sendall(head)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            sock.sendall(bytes(2**30))


def test_a_body_that_is_cut_off_stores_nothing(shared: Station) -> None:
    lines = b'{"sensor": "cut", "value": 1}\n{"sensor": "cut2", "value": 1}\n'
    head = (
        f"POST /readings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {shared.token()}\r\n"
        f"Content-Type: application/x-ndjson\r\nContent-Length: {len(lines) + 9}\r\n\r\n"
    )
    with connected(shared.url) as sock:
        sock.sendall(head.encode() + lines)
        time.sleep(0.2)
    time.sleep(0.3)
    assert shared.query("select count(*) from sensors where name like 'cut%'") == [(0,)]


def test_an_earlier_response_goes_before_an_error_response(station: Station) -> None:
    body = b'{"value": 1}'
    head = (
        f"POST /readings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {station.token()}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with open_database(station.path) as db:
        db.execute("begin immediate")
        unlock = threading.Timer(0.5, db.execute, ["rollback"])
        unlock.start()
        parts = (head.encode() + body, b"garbage\r\n\r\n")
        answer = raw(station.url, *parts, pause_s=0.2)
        unlock.join()
    assert answer.count(b"HTTP/1.1") == 2
    assert b" 201 " in answer.splitlines()[0]
    assert answer.index(b"HTTP/1.1 400 ") > answer.index(b'"accepted"')


def test_a_post_that_asks_for_another_protocol_is_answered_in_this(shared: Station) -> None:
    """So do curl --http2 and Java's client ask, with the body behind."""
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMA"}
    answer = shared.post(b'{"value": 1}', headers=upgrade)
    assert (answer.status_code, answer.json()["accepted"]) == (201, 1)


def test_bytes_that_arent_http_are_400(shared: Station) -> None:
    answer = raw(shared.url, b"\x16\x03\x01 hello\r\n\r\n")
    assert b" 400 " in answer.splitlines()[0]
    assert b'"code": "invalid_http"' in answer


def test_a_node_faster_than_its_rate_is_429(tmp_path: Path) -> None:
    with station_in_thread(tmp_path, {"TMON_RATE": "2"}) as station:
        assert station.post([{"sensor": f"s{i}", "value": 1} for i in range(30)]).status_code == 201
        before = station.count()
        answer = station.post({"value": 1})
        assert (answer.status_code, answer.json()["code"]) == (429, "too_fast")
        assert station.count() == before
        assert 1 <= int(answer.headers["Retry-After"]) <= 15
        assert station.post({"value": 1}, node="attic").status_code == 201


def test_a_batch_that_was_not_stored_doesnt_count() -> None:
    rate = RateLimit(1.0, clock=lambda: 1000.0)
    for _ in range(5):
        rate.charge("uid", 30)
        rate.refund("uid", 30)
    rate.charge("uid", 30)
    with pytest.raises(TooFast) as caught:
        rate.charge("uid", 1)
    assert caught.value.retry_after_s == 20
