"""What one sender may take of the server: bytes, and time."""

import gzip
import json
import socket
import time
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ingest.app import ERRORS
from ingest.limits import LimitedProtocol, limited_body
from tests.station import Station, running, station_in_thread


def raw(url: str, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """What the server answers to bytes sent in parts, until it closes or a second passes."""
    address = urlsplit(url)
    with socket.create_connection((str(address.hostname), int(address.port or 0))) as sock:
        for part in parts:
            try:
                sock.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                break
            time.sleep(pause_s)
        sock.settimeout(1)
        return _everything(sock)


def _everything(sock: socket.socket) -> bytes:
    answer = b""
    try:
        while chunk := sock.recv(65536):
            answer += chunk
    except (TimeoutError, ConnectionResetError):
        pass
    return answer


def test_a_body_over_1_mib_as_sent_is_413(shared: Station) -> None:
    answer = shared.post(b'[{"value": 1}' + b" " * (1024 * 1024) + b"]")
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_chunked_body_is_counted_as_it_arrives(shared: Station) -> None:
    answer = shared.http.post(
        f"{shared.url}/readings",
        data=(b" " * 65536 for _ in range(20)),
        headers={"Authorization": f"Bearer {shared.token()}"},
        timeout=10,
    )
    assert answer.status_code == 413


def test_more_than_10_000_readings_are_413(shared: Station) -> None:
    body = json.dumps([{"sensor": "a", "value": 1}] * 10_001).encode()
    answer = shared.post(body)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert "10,000" in answer.json()["error"]


def test_a_gzip_bomb_ends_at_the_limit(shared: Station) -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(900)) + packer.flush()
    assert len(bomb) < 2**20 < 900 * 2**20
    started = time.monotonic()
    answer = shared.post(bomb, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert time.monotonic() - started < 1


def test_bombs_in_several_members_are_added_up(shared: Station) -> None:
    member = gzip.compress(bytes(5 * 2**20))
    answer = shared.post(member * 2, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(b'{"value": 1}')[:-9]])
def test_broken_gzip_is_400(shared: Station, body: bytes) -> None:
    answer = shared.post(body, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_body")
    assert "gzip" in answer.json()["error"]


def test_another_encoding_is_415(shared: Station) -> None:
    answer = shared.post(b"x", headers={"Content-Encoding": "br"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unknown_encoding")


def test_a_body_isnt_read_before_the_token_is_checked(shared: Station) -> None:
    head = b"POST /readings HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    assert b" 401 " in raw(shared.url, head).splitlines()[0]


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
    assert b" 200 " in raw(shared.url, request).splitlines()[0]


class Impatient(LimitedProtocol):
    """The server's protocol with a shorter patience."""

    header_s = 0.3


@pytest.mark.parametrize("start", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_headers_must_arrive_in_time(start: bytes) -> None:
    with running(Starlette(), Impatient) as url:
        begun = time.monotonic()
        answer = raw(url, start)
        assert time.monotonic() - begun < 0.9
        assert b" 408 " in answer.splitlines()[0]


def test_a_second_requests_headers_have_their_own_time() -> None:
    with running(Starlette(), Impatient) as url:
        one = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = raw(url, one, one, one, one[:9], pause_s=0.2)
        assert answer.count(b" 404 ") == 3
        assert answer.count(b" 408 ") == 1


def test_a_body_must_arrive_in_time() -> None:
    async def read(request: Request) -> JSONResponse:
        return JSONResponse(len(await limited_body(request, within_s=0.3)))

    app = Starlette(routes=[Route("/", read, methods=["POST"])], exception_handlers=ERRORS)
    with running(app, LimitedProtocol) as url:
        answer = raw(
            url, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc", pause_s=0.6
        )
        assert b" 408 " in answer.splitlines()[0]
        assert b'"code":"too_slow"' in answer


def test_what_isnt_http_is_told_so(shared: Station) -> None:
    answer = raw(shared.url, b"\x16\x03\x01 hello\r\n\r\n")
    assert b" 400 " in answer.splitlines()[0]
    assert b'"code": "invalid_http"' in answer


def test_a_node_faster_than_its_rate_is_429(tmp_path: Path) -> None:
    with station_in_thread(tmp_path, {"TMON_RATE": "2"}) as station:
        assert station.post([{"sensor": f"s{i}", "value": 1} for i in range(30)]).status_code == 201
        answer = station.post({"value": 1})
        assert (answer.status_code, answer.json()["code"]) == (429, "too_fast")
        assert 1 <= int(answer.headers["Retry-After"]) <= 15
        assert station.post({"value": 1}, node="attic").status_code == 201
