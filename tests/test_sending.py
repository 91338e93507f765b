"""Who reads its answers slowly gets them all; who doesn't read them is cut off."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ingest.http import HttpConnection
from tests.station import Process, running, wait_for
from tests.test_http import Answers, connected, get, read_to_end

MB = 2**20


class ShortTimeouts(HttpConnection):
    """The server's protocol, with shorter timeouts and ten ticks a second."""

    send_s = 0.3
    send_bytes_per_s = 100_000
    tick_s = 0.1
    lost = 0

    def connection_lost(self, exc: Exception | None) -> None:
        ShortTimeouts.lost += 1
        super().connection_lost(exc)


class ASecondToRead(ShortTimeouts):
    """One whose readers have time to begin, on a machine with other work."""

    send_s = 1.0


async def large(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with as many KiB as its address says."""
    request = Request(scope, receive)
    await Response(bytes(1024 * int(request.url.path[1:])))(scope, receive, send)


def assert_cut_off(request: bytes, read: Callable[[socket.socket], object]) -> None:
    """The server ends a connection whose reader does so and no more."""
    ShortTimeouts.lost = 0
    with running(large, ShortTimeouts) as url, connected(url, receive_bytes=16_384) as sock:
        sock.sendall(request)
        read(sock)
        wait_for(lambda: ShortTimeouts.lost)


@pytest.mark.parametrize(
    "request_",
    [get("/1") * 9000, get("/9000"), get("/9000", "Connection: close")],
    ids=["pipelined", "large", "closing"],
)
def test_a_client_that_never_reads_is_cut_off(request_: bytes) -> None:
    assert_cut_off(request_, lambda _: None)


def test_the_next_request_is_not_begun_while_its_sender_does_not_read() -> None:
    asked = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await large(scope, receive, send)

    with running(app, HttpConnection) as url, connected(url, receive_bytes=16_384) as sock:
        sock.sendall(get("/9000") + get("/1", "Connection: close"))
        assert sock.recv(1_000)
        time.sleep(0.3)
        assert asked == ["/9000"]
        assert read_to_end(sock)
    assert asked == ["/9000", "/1"]


def test_a_client_that_stops_reading_is_cut_off() -> None:
    assert_cut_off(get("/9000"), lambda sock: sock.recv(50_000))


def test_a_client_that_reads_single_bytes_is_cut_off() -> None:
    def trickle(sock: socket.socket) -> None:
        with suppress(ConnectionResetError):
            wait_for(lambda: ShortTimeouts.lost or not sock.recv(1))

    assert_cut_off(get("/9000"), trickle)


@pytest.mark.parametrize("request_", [get("/2000"), get("/20") * 100], ids=["large", "pipelined"])
def test_a_slow_reader_gets_everything_however_long_it_takes(request_: bytes) -> None:
    with running(large, ASecondToRead) as url, connected(url, receive_bytes=16_384) as sock:
        sock.sendall(request_ + get("/0", "Connection: close"))
        began_s, parts = time.monotonic(), []
        while part := sock.recv(65_536):
            parts.append(part)
            time.sleep(len(part) / (0.8 * MB))
        found = Answers(b"".join(parts)).all()
    assert sum(len(body) for _, body in found) == 2000 * 1024
    assert time.monotonic() - began_s > 2 * ASecondToRead.send_s


def test_a_client_that_pauses_after_reading_much_is_not_cut_off() -> None:
    """As a proxy does whose own reader is slow."""
    with running(large, ASecondToRead) as url, connected(url) as sock:
        sock.sendall(get("/40000", "Connection: close"))
        taken = sum(len(sock.recv(65_536)) for _ in range(20))
        assert taken > 2 * ASecondToRead.send_s * ASecondToRead.send_bytes_per_s
        time.sleep(2 * ASecondToRead.send_s)
        [(status, body)] = Answers(b"HTTP/1.1 200 OK\r\n\r\n" + read_to_end(sock)).all()
    assert status == 200
    assert 0 <= taken + len(body) - 40_000 * 1024 < 1_000  # its headers


def test_the_kernel_buffers_little_of_an_unread_response(tmp_path: Path) -> None:
    served = Process(tmp_path, "serve", "ingest", "--port", "0")
    try:
        url = served.addresses(1)["ingest"]
        with connected(url, receive_bytes=16_384) as sock:
            sock.sendall(get("/metrics") * 1_500)
            wait_for(lambda: unsent_bytes(sock) > 100_000)
            time.sleep(0.5)
            assert unsent_bytes(sock) < MB
    finally:
        served.kill()


def unsent_bytes(sock: socket.socket) -> int:
    """What the system holds for the other end of a connection to this machine."""
    here, there = (f"0100007F:{name[1]:04X}" for name in (sock.getsockname(), sock.getpeername()))
    for line in Path("/proc/net/tcp").read_text().splitlines():
        fields = line.split()
        if fields[1:3] == [there, here]:
            return int(fields[4].partition(":")[0], 16)
    return 0
