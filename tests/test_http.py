"""Our HTTP, as raw sockets and real clients meet it."""

import http.client
import io
import json
import socket
import struct
import threading
import time
from asyncio import sleep
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config

from ingest.exchange import Exchange
from ingest.http import HttpConnection
from ingest.limits import HEADER_BYTES, PIPELINED
from tests.station import running, wait_for

CLOSE = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAMED = 40  # MB


def get(path: str, *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: x", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


class App:
    """Answers as its address says, and remembers what became of it."""

    def __init__(self, slow_s: float = 0.4) -> None:
        self.slow_s = slow_s
        self.streamed_mb = 0
        self.ended = threading.Event()
        self.begun = threading.Event()
        self.disconnected = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        answer = getattr(self, scope["path"].strip("/").replace("/", "_"), self.echo)
        await answer(scope, receive, send)

    async def echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What was asked, as JSON; with its length."""
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        seen: dict[str, Any] = {
            name: str(scope[name]) for name in ("method", "path", "raw_path", "query_string")
        }
        seen |= {"body": len(body), "headers": [name.decode() for name, _ in scope["headers"]]}
        await say(send, json.dumps(seen).encode())

    async def early(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Doesn't look at the body, and takes its time."""
        await sleep(0.2)
        await say(send, b"early")

    async def early_listening(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first ", "more_body": True})
        await receive()
        await send({"type": "http.response.body", "body": b"last"})

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = scope["query_string"] == b"length"
        headers = {"Content-Length": str(STREAMED << 20)} if length else {}
        await StreamingResponse(self._megabytes(), headers=headers)(scope, receive, send)

    async def endless(self, scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(self._endless())(scope, receive, send)

    async def waiting(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        assert (await receive())["type"] == "http.request"
        self.begun.set()
        assert (await receive())["type"] == "http.disconnect"
        self.disconnected.set()

    async def slow(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        self.begun.set()
        await sleep(self.slow_s)
        await say(send, b"slow")

    async def raises(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        raise LookupError("secret of the house")

    async def raises_late(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        raise LookupError("secret of the house")

    async def silent(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Returns without an answer."""

    async def injects(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await say(send, b"", (b"location", b"/\r\nset-cookie: a=b"))

    async def odd_name(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await say(send, b"", (b"x y", b"z"))

    async def nul(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await say(send, b"", (b"location", b"/a\0b"))

    async def corrects(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Tries a header that can't be, and answers without, as Datasette does with errors."""
        with pytest.raises(RuntimeError, match="line's end"):
            await say(send, b"12345", (b"x", b"a\nb"))
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"corrected"})

    async def too_long(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await send(start((b"content-length", b"3")))
        await send({"type": "http.response.body", "body": b"12345"})

    async def too_short(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await send(start((b"content-length", b"30")))
        await send({"type": "http.response.body", "body": b"12345"})

    async def twice(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await send(start())
        await send({"type": "http.response.body", "body": b"once"})
        await send({"type": "http.response.body", "body": b"twice"})

    async def no_content(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def not_modified(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Sends a body where there can't be one."""
        await send({"type": "http.response.start", "status": 304, "headers": []})
        await send({"type": "http.response.body", "body": b"unseen"})

    async def _megabytes(self) -> AsyncIterator[bytes]:
        for _ in range(STREAMED):
            yield bytes(1 << 20)
            self.streamed_mb += 1

    async def _endless(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"more"
                await sleep(0.01)
        finally:
            self.ended.set()


def start(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def say(send: Send, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    await send(start((b"content-length", b"%d" % len(body)), *headers))
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(App(), HttpConnection) as url:
        yield url


@contextmanager
def connected(url: str, receive_bytes: int = 0) -> Iterator[socket.socket]:
    address = urlsplit(url)
    with socket.socket() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.settimeout(60)
        sock.connect((str(address.hostname), int(address.port or 0)))
        yield sock


def read_to_end(sock: socket.socket) -> bytes:
    """Everything the server sends until it closes."""
    return b"".join(iter(lambda: sock.recv(1 << 20), b""))


def raw_response(url: str, *parts: bytes, pause_s: float = 0.001) -> bytes:
    """Everything the server sends until it closes, after bytes sent in parts."""
    with connected(url) as sock:
        for part in parts:
            sock.sendall(part)
            time.sleep(pause_s)
        return read_to_end(sock)


class Answers(io.BytesIO):
    """Answers one after the other, cut by the standard library's client."""

    def makefile(self, _: str) -> "Answers":
        return self

    def close(self) -> None:
        """The next answer follows."""

    def all(self, methods: Sequence[str] = ()) -> list[tuple[int, bytes]]:
        found = []
        end, methods = len(self.getvalue()), [*methods]
        while self.tell() < end:
            one = http.client.HTTPResponse(self, method=methods.pop(0) if methods else "GET")  # type: ignore[arg-type]
            one.begin()
            found.append((one.status, one.read()))
        return found


def answers(url: str, *parts: bytes, pause_s: float = 0.001) -> list[tuple[int, bytes]]:
    return Answers(raw_response(url, *parts, pause_s=pause_s)).all()


def answers_in_turn(url: str, first: bytes, second: bytes) -> list[tuple[int, bytes]]:
    """The answers to two requests; the second is sent when the first is answered."""
    with connected(url) as sock:
        sock.sendall(first)
        sock.recv(1, socket.MSG_PEEK)
        sock.sendall(second)
        return Answers(read_to_end(sock)).all()


def paths(found: list[tuple[int, bytes]]) -> list[str]:
    assert {status for status, _ in found} == {200}
    return [json.loads(body)["path"] for _, body in found]


def test_head_has_the_headers_and_no_body(url: str) -> None:
    head = get("/a", "Connection: close").replace(b"GET", b"HEAD")
    answer = raw_response(url, head)
    [(status, body)] = Answers(answer).all(["HEAD"])
    assert (status, body) == (200, b"")
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length: 1" in answer


def test_a_streamed_head_has_no_body_either(url: str) -> None:
    answer = raw_response(url, get("/stream", "Connection: close").replace(b"GET", b"HEAD"))
    assert answer.endswith(b"\r\n\r\n")
    assert b"chunked" not in answer


def test_no_content_has_no_body_and_no_length(url: str) -> None:
    answer = raw_response(url, get("/no/content") + CLOSE)
    assert [status for status, _ in Answers(answer).all()] == [204, 200]
    assert b"chunked" not in answer


def test_not_modified_has_no_body_whatever_the_app_sends(url: str) -> None:
    answer = raw_response(url, get("/not/modified") + CLOSE)
    assert [status for status, _ in Answers(answer).all()] == [304, 200]
    assert b"unseen" not in answer


@pytest.mark.parametrize("keep", ["", "Connection: keep-alive\r\n"])
def test_http_1_0_gets_an_answer_without_chunks_and_a_close(url: str, keep: str) -> None:
    request = f"GET /early/listening HTTP/1.0\r\n{keep}\r\n".encode()
    # It listens for a disconnect, and the request has arrived whole.
    answer = raw_response(url, request)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"transfer-encoding" not in answer
    assert answer.endswith(b"connection: close\r\n\r\nfirst last")


def test_http_1_0_never_gets_100_continue(url: str) -> None:
    head = b"POST /a HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    [(status, body)] = answers(url, head, b"abc", pause_s=0.1)
    assert (status, json.loads(body)["body"]) == (200, 3)


def test_several_requests_use_one_connection(url: str) -> None:
    address = urlsplit(url)
    client = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
    client.connect()
    name = client.sock.getsockname()
    for i in range(5):
        client.request("POST", f"/{i}", body=b"x" * i)
        answer = json.loads(client.getresponse().read())
        assert (answer["path"], answer["body"]) == (f"/{i}", i)
    assert client.sock.getsockname() == name
    client.close()


def test_a_session_of_requests_works_with_gzip_json_and_chunks(url: str) -> None:
    with requests.Session() as session:
        for _ in range(3):
            pieces = (b"x" * 1000 for _ in range(50))
            answer = session.post(f"{url}/a", data=pieces, timeout=60)
            assert answer.json()["body"] == 50_000
            assert session.get(f"{url}/b?c=d", timeout=60).json()["query_string"] == "b'c=d'"


@pytest.mark.parametrize("count", [3, 2000])
def test_pipelined_requests_are_answered_in_order(url: str, count: int) -> None:
    requests = b"".join(get(f"/{i}") if i % 2 else post(f"/{i}", b"x" * i) for i in range(count))
    with connected(url) as sock:
        sender = threading.Thread(target=sock.sendall, args=[requests + CLOSE])
        sender.start()
        found = Answers(read_to_end(sock)).all()
        sender.join()
    assert paths(found) == [*(f"/{i}" for i in range(count)), "/last"]


def test_a_slow_answer_goes_before_the_quick_one_behind_it(url: str) -> None:
    found = answers(url, get("/slow") + CLOSE)
    assert found[0] == (200, b"slow")
    assert paths(found[1:]) == ["/last"]


def test_chunks_are_put_together(url: str) -> None:
    body = b"".join(b"%x;note=1\r\n%s\r\n" % (size, b"x" * size) for size in (1, 10, 70_000))
    found = answers(url, CHUNKED + body + b"0\r\n\r\n" + CLOSE)
    assert paths(found) == ["/c", "/last"]
    assert json.loads(found[0][1])["body"] == 70_011


def test_a_trailer_is_never_a_header(url: str) -> None:
    trailers = b"0\r\nAuthorization: Bearer x\r\nX-Evil: 1\r\n\r\n"
    found = answers(url, CHUNKED + b"1\r\na\r\n" + trailers, CLOSE, pause_s=0.05)
    assert paths(found) == ["/c", "/last"]
    assert json.loads(found[0][1])["headers"] == ["host", "transfer-encoding"]
    assert json.loads(found[1][1])["headers"] == ["host", "connection"]


def response_after_a_chunk(*parts: bytes) -> bytes:
    """Everything the server sends after bytes that follow a chunk which the app has read.

    What comes in one read with a body isn't counted as headers: how it is cut
    into reads must not decide whether the limit is reached.
    """
    app = App()
    with running(app, HttpConnection) as url, connected(url) as sock:
        sock.sendall(CHUNKED.replace(b"/c", b"/waiting") + b"1\r\na\r\n")
        assert app.begun.wait(60)
        for part in parts:
            sock.sendall(part)
        return read_to_end(sock)


TOO_MUCH = [b"a" * 4096] * (HEADER_BYTES // 4096)


@pytest.mark.parametrize("endless", [b"X-Long: ", b"X: y\r\nX-Long: "])
def test_trailers_are_bounded_as_headers_are(endless: bytes) -> None:
    answer = response_after_a_chunk(b"0\r\n", endless, *TOO_MUCH)
    assert b" 431 " in answer.splitlines()[0]


def test_a_chunks_extension_is_bounded_as_headers_are() -> None:
    answer = response_after_a_chunk(b"1;", *TOO_MUCH)
    assert b" 431 " in answer.splitlines()[0]


def test_expect_continue_gets_100_before_the_body(url: str) -> None:
    request = post("/a", b"", "Expect: 100-continue", "Connection: close")
    with connected(url) as sock:
        sock.sendall(request.replace(b"Content-Length: 0", b"Content-Length: 3"))
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"abc")
        [(status, body)] = Answers(read_to_end(sock)).all()
    assert (status, json.loads(body)["body"]) == (200, 3)


def test_a_request_that_is_answered_early_gets_no_100_continue(url: str) -> None:
    """Its body may or may not follow; so what follows isn't looked at."""
    head = post("/early", b"", "Expect: 100-continue")
    with connected(url) as sock:
        sock.sendall(head.replace(b"Content-Length: 0", b"Content-Length: 300"))
        answer = sock.recv(1000)
        sock.shutdown(socket.SHUT_WR)
        answer += read_to_end(sock)
    assert Answers(answer).all() == [(200, b"early")]
    assert b"connection: close" in answer


def test_100_continue_is_never_sent_within_a_response(url: str) -> None:
    head = post("/early/listening", b"", "Expect: 100-continue")
    with connected(url) as sock:
        sock.sendall(head.replace(b"Content-Length: 0", b"Content-Length: 3"))
        time.sleep(0.1)
        sock.sendall(b"abc")
        assert Answers(read_to_end(sock)).all() == [(200, b"first last")]


def stops_growing(number: Callable[[], int]) -> bool:
    before = number()
    time.sleep(0.2)
    return number() == before


@pytest.mark.parametrize("address", ["/stream", "/stream?length"])
def test_a_slow_reader_pauses_the_app_and_gets_everything(address: str) -> None:
    app = App()
    with running(app, HttpConnection) as url, connected(url, receive_bytes=65536) as sock:
        sock.sendall(get(address) + CLOSE)
        wait_for(lambda: app.streamed_mb > 0)
        wait_for(lambda: stops_growing(lambda: app.streamed_mb))
        # What is sent and not yet read is the system's, and little.
        assert app.streamed_mb < STREAMED / 2
        [(status, body), (_, last)] = Answers(read_to_end(sock)).all()
    assert (status, body) == (200, bytes(STREAMED << 20))
    assert json.loads(last)["path"] == "/last"


def test_a_disconnect_ends_a_streamed_response() -> None:
    app = App()
    with running(app, HttpConnection) as url:
        with connected(url) as sock:
            sock.sendall(get("/endless"))
            assert sock.recv(10)
        assert app.ended.wait(60)


def test_a_disconnect_ends_a_streamed_response_that_is_paused() -> None:
    app = App()
    with running(app, HttpConnection) as url:
        with connected(url, receive_bytes=65536) as sock:
            sock.sendall(get("/stream"))
            wait_for(lambda: app.streamed_mb > 0)
            time.sleep(0.3)
        time.sleep(0.3)
        assert app.streamed_mb < STREAMED


def test_the_app_receives_http_disconnect() -> None:
    app = App()
    with running(app, HttpConnection) as url:
        with connected(url) as sock:
            sock.sendall(get("/waiting"))
            assert app.begun.wait(60)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert app.disconnected.wait(60)


@pytest.mark.parametrize(
    "path", ["/raises", "/silent", "/injects", "/odd/name", "/nul", "/too/long", "/too/short"]
)
def test_an_app_that_fails_before_its_first_byte_is_500(url: str, path: str) -> None:
    answer = raw_response(url, get(path) + CLOSE)
    [(status, body)] = Answers(answer).all()
    assert (status, json.loads(body)["code"]) == (500, "internal")
    assert b"connection: close" in answer
    assert b"secret" not in answer
    assert b"set-cookie" not in answer


def test_an_app_that_fails_later_truncates_its_response_visibly(url: str) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(f"{url}/raises/late", timeout=60)


def test_a_response_with_an_invalid_header_can_be_started_again(url: str) -> None:
    assert answers(url, get("/corrects") + CLOSE)[0] == (500, b"corrected")


def test_nothing_follows_an_answers_end(url: str) -> None:
    found = answers(url, get("/twice"), CLOSE, pause_s=0.1)
    assert found[0] == (200, b"once")
    assert paths(found[1:]) == ["/last"]


def test_a_client_that_half_closes_gets_its_responses(url: str) -> None:
    with connected(url) as sock:
        sock.sendall(get("/slow") + post("/a", b"abc") + get("/b"))
        sock.shutdown(socket.SHUT_WR)
        found = Answers(read_to_end(sock)).all()
    assert found[0] == (200, b"slow")
    assert paths(found[1:]) == ["/a", "/b"]


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_a_get_that_asks_for_another_protocol_is_answered_in_this(url: str, protocol: str) -> None:
    upgrade = get("/a", "Connection: Upgrade", f"Upgrade: {protocol}")
    answer = raw_response(url, upgrade + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert paths(Answers(answer).all()) == ["/a"]
    assert b"connection: close" in answer


def test_a_post_that_asks_for_another_protocol_keeps_its_body(url: str) -> None:
    """As a server of HTTP/1.1 may, we go on in this one: with what follows, too."""
    wishes = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA")
    chunked = CHUNKED.replace(b"\r\n\r\n", "\r\n".join(["", *wishes, "", ""]).encode())
    sent = post("/a", b"abc", *wishes) + get("/b") + chunked + b"3\r\ndef\r\n0\r\n\r\n" + CLOSE
    for parts in ((sent,), [bytes((byte,)) for byte in sent]):
        found = answers(url, *parts)
        assert paths(found) == ["/a", "/b", "/c", "/last"]
        assert [json.loads(body)["body"] for _, body in found] == [3, 0, 3, 0]


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        ("http://elsewhere/a%20b?c=d", "/a b", "/a%20b", "c=d"),
        ("http://elsewhere", "/", "/", ""),
        ("//a//b?c?d", "//a//b", "//a//b", "c?d"),
        ("/a%20%2F%00%ff?%20", "/a /\0\N{REPLACEMENT CHARACTER}", "/a%20%2F%00%ff", "%20"),
        ("/a?b#c", "/a", "/a", "b"),
        ("/a#b?c", "/a", "/a", ""),
        ("/../..", "/../..", "/../..", ""),
        ("*", "*", "*", ""),
    ],
)
def test_a_target_is_split_as_it_was_sent(
    url: str, target: str, path: str, raw_path: str, query: str
) -> None:
    method = b"OPTIONS" if target == "*" else b"GET"
    [(status, body)] = answers(url, get(target, "Connection: close").replace(b"GET", method))
    found = json.loads(body)
    assert (status, found["path"]) == (200, path)
    assert found["raw_path"] == repr(raw_path.encode())
    assert found["query_string"] == repr(query.encode())


BAD = {
    "non-ascii path": "GET /\xe4 HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "latin-1 query": b"GET /?\xe4 HTTP/1.1\r\nHost: x\r\n\r\n",
    "nul in the path": b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "half an address": b"GET http://[h/p HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tunnel": b"CONNECT h:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no method": b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
    "length and chunks": post("/", b"0\r\n\r\n", "Transfer-Encoding: chunked") + CLOSE,
    "chunks and length": CHUNKED[:-2] + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + CLOSE,
    "two lengths": post("/", b"abcd", "Content-Length: 3") + CLOSE,
    "the same length twice": post("/", b"abc", "Content-Length: 3") + CLOSE,
    "two lengths in one": post("/", b"abc").replace(b": 3", b": 3, 3") + CLOSE,
    "a signed length": post("/", b"abc").replace(b": 3", b": +3") + CLOSE,
    "a negative length": post("/", b"abc").replace(b": 3", b": -3") + CLOSE,
    "a length past 64 bits": post("/", b"abc").replace(b": 3", b": 3" + b"0" * 30) + CLOSE,
    "chunks past 64 bits": CHUNKED + b"f" * 17 + b"\r\nabc" + CLOSE,
    "a chunk that isn't hex": CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n" + CLOSE,
    "a chunk longer than its size": CHUNKED + b"2\r\nabc\r\n0\r\n\r\n" + CLOSE,
    "chunks with bare newlines": CHUNKED + b"3\nabc\n0\n\n" + CLOSE,
    "an unknown encoding": CHUNKED.replace(b"chunked", b"gzip") + CLOSE,
    "xchunked": CHUNKED.replace(b"chunked", b"xchunked") + b"0\r\n\r\n" + CLOSE,
    "chunked not last": CHUNKED.replace(b"chunked", b"chunked, gzip") + b"0\r\n\r\n" + CLOSE,
    "gzip, then chunked": CHUNKED.replace(b"chunked", b"gzip, chunked") + b"0\r\n\r\n" + CLOSE,
    "gzip and chunked in two headers": (
        CHUNKED[:-2].replace(b"chunked", b"gzip")
        + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        + CLOSE
    ),
    "chunked twice": CHUNKED.replace(b"chunked", b"chunked, chunked") + b"0\r\n\r\n" + CLOSE,
    "chunked twice in two headers": (
        CHUNKED[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + CLOSE
    ),
    "chunked with a parameter": CHUNKED.replace(b"ed\r", b"ed;q=1\r") + b"0\r\n\r\n" + CLOSE,
    "an empty encoding": CHUNKED.replace(b"chunked", b"") + CLOSE,
    "chunks in HTTP/1.0": CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n",
    "no length": post("/", b"abc").replace(b": 3", b": ") + CLOSE,
    "a hexadecimal length": post("/", b"abc").replace(b": 3", b": 0x3") + CLOSE,
    "a length and no chunks": CHUNKED[:-2] + b"Content-Length: 0\r\n\r\n0\r\n\r\n" + CLOSE,
    "a signed chunk": CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n" + CLOSE,
    "a blank after a chunk's size": CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n" + CLOSE,
    "a return in a chunk's extension": CHUNKED + b"3;a\rb\r\nabc\r\n0\r\n\r\n" + CLOSE,
    "no Host": get("/").replace(b"Host: x\r\n", b""),
    "two Hosts": get("/", "Host: x"),
    "two tokens": get("/", "Authorization: Bearer a", "authorization: Bearer b"),
    "two encodings": get("/", "Content-Encoding: gzip", "Content-Encoding: identity"),
    "two types": get("/", "Content-Type: a/b", "Content-Type: a/b"),
    "two Dates": get("/", "Date: Mon, 01 Jan 2026 00:00:00 GMT", "Date: x"),
    "two Hosts in HTTP/1.0": get("/", "Host: y").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/1.2": get("/").replace(b"HTTP/1.1", b"HTTP/1.2"),
    "GET in HTTP/2.0": get("/").replace(b"HTTP/1.1", b"HTTP/2.0"),
    "HTTP/0.9": b"GET /\r\n\r\n",
    "chunked, then identity": CHUNKED[:-2] + b"Transfer-Encoding: identity\r\n\r\n" + CLOSE,
    "a folded header": get("/", "X: a\r\n b"),
    "a header that is folded first": b"GET / HTTP/1.1\r\n X: a\r\nHost: x\r\n\r\n",
    "bare newlines": get("/").replace(b"\r\n", b"\n"),
    "one bare newline": get("/", "X: y\nTransfer-Encoding: chunked"),
    "a bare return": get("/", "X: y\rTransfer-Encoding: chunked"),
    "a space before the colon": post("/", b"abc").replace(b"th:", b"th :") + CLOSE,
    "a header without a name": get("/", ": x"),
    "a nul in a header": get("/", "X: a\0b"),
}


@pytest.mark.parametrize("name", BAD)
def test_ambiguous_requests_are_400_and_close_the_connection(url: str, name: str) -> None:
    answer = raw_response(url, BAD[name])
    [(status, body)] = Answers(answer).all()
    assert (status, set(json.loads(body))) == (400, {"error", "code"})
    assert b"connection: close" in answer


CUT = {
    "a method": b"PO",
    "an address": b"POST /a HTTP/1.1\r\n",
    "headers": b"POST /a HTTP/1.1\r\nHost: x\r\n",
    "no body": post("/a", b"abc")[:-3],
    "half a body": post("/a", b"abc")[:-1],
    "half a body in HTTP/1.0": post("/a", b"abc")[:-1].replace(b"HTTP/1.1", b"HTTP/1.0"),
    "half a body that nobody reads": post("/early", b"abc")[:-1],
    "a chunk's size": CHUNKED + b"3",
    "half a chunk": CHUNKED + b"3\r\nab",
    "no last chunk": CHUNKED + b"3\r\nabc\r\n",
    "half a last chunk": CHUNKED + b"0\r\n",
    "half a trailer": CHUNKED + b"0\r\nX: y\r\n",
}


@pytest.mark.parametrize("before", [b"", get("/a"), get("/slow")], ids=["", "quick", "slow"])
@pytest.mark.parametrize("name", CUT)
def test_a_truncated_request_is_400_after_the_earlier_responses(
    url: str, name: str, before: bytes
) -> None:
    with connected(url) as sock:
        sock.sendall(before + CUT[name])
        sock.shutdown(socket.SHUT_WR)
        *first, (status, body) = Answers(read_to_end(sock)).all()
    assert [status for status, _ in first] == [200] * bool(before)
    assert (status, json.loads(body)["code"]) == (400, "incomplete")


@pytest.mark.parametrize("sent", [b"", b"\r\n", get("/a"), get("/a") + b"\r\n"])
def test_a_connection_that_ends_between_requests_gets_no_error(url: str, sent: bytes) -> None:
    with connected(url) as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        assert len(Answers(read_to_end(sock)).all()) == sent.count(b"GET")


class Counting(HttpConnection):
    """Counts the most requests that waited, and lost connections."""

    most = lost = 0

    def response_complete(self, exchange: Exchange) -> None:
        Counting.most = max(Counting.most, len(self._exchanges))
        super().response_complete(exchange)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        Counting.lost += 1


@pytest.mark.parametrize("name", CUT)
def test_a_reset_connection_leaves_nothing_behind(name: str) -> None:
    with running(App(), Counting) as url:
        Counting.lost = 0
        with connected(url) as sock:
            sock.sendall(CUT[name])
            time.sleep(0.02)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_for(lambda: Counting.lost == 1)
        assert paths(answers(url, CLOSE)) == ["/last"]


def test_a_connection_gets_one_error_response_at_most(url: str) -> None:
    assert [status for status, _ in answers(url, b"x" * 100_000)] == [400]


@pytest.mark.parametrize("bad", [b"no HTTP at all\r\n\r\n", get("/", "X: " + "a" * 20_000)])
def test_a_client_that_keeps_sending_still_gets_the_error_response(url: str, bad: bytes) -> None:
    with connected(url) as sock:
        for _ in range(100):
            sock.sendall(bad + bytes(20_000))
            time.sleep(0.001)
        assert len(Answers(read_to_end(sock)).all()) == 1


class Broken(HttpConnection):
    """A connection whose own code fails."""

    def _begin_exchange(self, *_: Any, **__: Any) -> None:
        raise LookupError("secret of the house")


def test_an_internal_error_is_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with running(App(), Broken) as url:
        [(status, body)] = answers(url, get("/a"))
    assert (status, json.loads(body)["code"]) == (500, "internal")
    assert b"secret" not in body
    assert "secret of the house" in caplog.text


@pytest.mark.parametrize(
    "last", ["HTTP/1.0\r\nConnection: keep-alive", "HTTP/1.1\r\nConnection: close"]
)
def test_requests_after_the_last_one_are_ignored(url: str, last: str) -> None:
    first = get("/a").replace(b"HTTP/1.1", last.encode())
    assert paths(answers(url, first + get("/b") + get("/c"))) == ["/a"]


class ShortBodyTimeout(HttpConnection):
    """The server's protocol with a short timeout for bodies."""

    body_s = 1.0


def test_a_request_that_waits_behind_a_slow_one_is_not_late() -> None:
    with running(App(slow_s=1.5), ShortBodyTimeout) as url:
        found = answers(url, get("/slow") + post("/a", bytes(900_000), "Connection: close"))
    assert found[0] == (200, b"slow")
    assert paths(found[1:]) == ["/a"]


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"RTSP/1.0\r\nConnection: keep-alive"])
def test_of_pipelined_requests_only_a_few_are_parsed_ahead(version: bytes) -> None:
    Counting.most = 0
    one = get("/a").replace(b"HTTP/1.1", version)
    with running(App(), Counting) as url, connected(url) as sock:
        sock.sendall(get("/slow") + one * 4_000)
        assert sock.recv(10)
    assert 1 <= Counting.most <= PIPELINED + 1


@pytest.mark.parametrize("name", BAD)
def test_an_invalid_request_leaves_the_response_before_it_intact(url: str, name: str) -> None:
    first, *rest = answers_in_turn(url, get("/a"), BAD[name])
    assert paths([first]) == ["/a"]
    assert [status for status, _ in rest] == [400]


def test_headers_may_come_byte_by_byte(url: str) -> None:
    request = post("/a", b"abc", "X: y", "Connection: close")
    assert paths(answers(url, *(request[i : i + 1] for i in range(len(request))))) == ["/a"]


def test_a_second_requests_oversized_headers_are_431(url: str) -> None:
    large = get("/b", f"X: {'a' * (HEADER_BYTES + 1)}")
    first, *rest = answers_in_turn(url, get("/a"), large)
    assert paths([first]) == ["/a"]
    assert [status for status, _ in rest] == [431]


def test_a_second_request_in_the_same_bytes_is_never_over_the_limit(url: str) -> None:
    """Its headers are within theirs, as is the body before them: the answer is cut off."""
    large = get("/b", f"X: {'a' * (HEADER_BYTES + 1)}")
    assert paths(answers(url, get("/a") + large)[:1]) == ["/a"]


def test_a_large_body_doesnt_count_as_the_next_requests_headers(url: str) -> None:
    found = answers(url, post("/a", bytes(900_000)) + get("/b") + CLOSE)
    assert paths(found) == ["/a", "/b", "/last"]
    assert json.loads(found[0][1])["body"] == 900_000


def test_keep_alive_survives_a_body_that_the_app_did_not_read(url: str) -> None:
    found = answers(url, post("/early", bytes(100)) + CLOSE)
    assert found[0] == (200, b"early")
    assert paths(found[1:]) == ["/last"]


@pytest.mark.parametrize("size", [100, 70_000, 900_000, 4_000_000])
def test_after_an_early_response_the_body_is_drained_and_the_connection_closed(
    url: str, size: int
) -> None:
    """Else the next request could go out just as the connection is closed."""
    head, body = post("/early", bytes(size)).split(b"\r\n\r\n")
    with connected(url) as sock:
        sock.sendall(head + b"\r\n\r\n" + body[:50])
        sock.recv(1, socket.MSG_PEEK)
        sock.sendall(body[50:])
        answer = read_to_end(sock)
    assert Answers(answer).all() == [(200, b"early")]
    assert b"\r\nconnection: close\r\n" in answer


def test_an_early_response_is_readable_by_a_client_that_will_close(url: str) -> None:
    assert answers(url, post("/early", bytes(900_000), "Connection: close")) == [(200, b"early")]


class ShortKeepAlive(HttpConnection):
    """The server's protocol with a short timeout for idle connections."""

    def __init__(self, config: Config, *rest: Any, **more: Any) -> None:
        config.timeout_keep_alive = 2
        super().__init__(config, *rest, **more)


def test_idle_connections_are_closed_after_a_while() -> None:
    with running(App(), ShortKeepAlive) as url, connected(url) as sock:
        begun = time.monotonic()
        sock.sendall(get("/a"))
        time.sleep(0.5)
        sock.sendall(get("/b"))
        assert paths(Answers(read_to_end(sock)).all()) == ["/a", "/b"]
        assert 2.4 < time.monotonic() - begun < 5  # uvicorn's own patience


def test_a_request_under_way_is_answered_at_the_end() -> None:
    app = App()
    with ThreadPoolExecutor() as pool:
        with running(app, HttpConnection) as url:
            idle = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
            under_way = pool.submit(requests.get, f"{url}/slow", timeout=60)
            assert app.begun.wait(60)
        assert under_way.result().content == b"slow"
        with idle:
            assert idle.recv(1) == b""


def test_garbage_after_a_good_request_doesnt_take_its_answer(url: str) -> None:
    found = answers(url, post("/a", b"abc") + b"\x16\x03\x01garbage\r\n\r\n")
    assert paths(found[:1]) == ["/a"]
    assert [status for status, _ in found[1:]] in ([], [400])


STREAM = (
    b"\r\n"
    + get("/0", "X-Long: " + "a" * 300)
    + post("/1", b"x" * 200)
    + (CHUNKED + b"5\r\nabcde\r\n1;a=b\r\nf\r\n0\r\nX-Trailer: 1\r\n\r\n")
    + get("/twice")
    + get("/no/content")
    + post("/2", b"")
    + CLOSE
)


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=8, unique=True))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_where_the_bytes_are_split_changes_nothing(url: str, cuts: list[int]) -> None:
    ends = [*sorted(cuts), len(STREAM)]
    pieces = [STREAM[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    found = answers(url, *pieces)
    assert [status for status, _ in found] == [200, 200, 200, 200, 204, 200, 200]
    said = [json.loads(body) for _, body in found if body.startswith(b"{")]
    assert [(one["path"], one["body"]) for one in said] == [
        ("/0", 0),
        ("/1", 200),
        ("/c", 6),
        ("/2", 0),
        ("/last", 0),
    ]
