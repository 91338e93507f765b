"""A run ends, whatever the server does, and nothing is lost or stored twice by it."""

from __future__ import annotations

import ctypes
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from client import client
from tests.client.harness import FakeClock, FakeServer, Node, Once, Reply, wait_until

Behaviour = Callable[[socket.socket], None]


@contextmanager
def misbehaving_server(behave: Behaviour) -> Iterator[tuple[str, threading.Event]]:
    """A server that does this to each connection; its address, and whether somebody has come."""
    came = threading.Event()
    peers: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(peer: socket.socket) -> None:
        with suppress(OSError):
            behave(peer)

    def listen() -> None:
        while True:
            with suppress(OSError):
                peer = listening.accept()[0]
                peers.append(peer)
                came.set()
                threads.append(threading.Thread(target=serve, args=(peer,)))
                threads[-1].start()
                continue
            return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}", came
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            listener.join()
            for peer in peers:
                with suppress(OSError):
                    peer.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for peer in peers:
                peer.close()


def silence(peer: socket.socket) -> None:
    while peer.recv(4096):
        pass


def drips(start: bytes, drop: bytes) -> Behaviour:
    """Say ``start``, then ``drop`` without end, faster than any read's own time limit."""

    def behave(peer: socket.socket) -> None:
        peer.sendall(start)
        while True:
            peer.sendall(drop)
            time.sleep(0.05)

    return behave


BEHAVIOURS: dict[str, tuple[str, Behaviour]] = {
    "never answers": ("http", silence),
    "drips its first line": ("http", drips(b"HTTP/1.1 201 ", b"C")),
    "drips its head": ("http", drips(b"HTTP/1.1 201 Created\r\nX-Long: ", b"a")),
    "sends interim answers": ("http", drips(b"", b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n")),
    "asks to go on for ever": ("http", drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
    "drips its body": ("http", drips(b"HTTP/1.1 201 Created\r\nContent-Length: 999\r\n\r\n", b" ")),
    "drips its chunks": (
        "http",
        drips(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ),
    "never shakes hands": ("https", silence),
    "drips a TLS record": ("https", drips(b"\x16\x03\x03\x40\x00", b"\x02")),
}


def settings(node: Node, url: str) -> client.Settings:
    return replace(client.Settings.parse(client.parser(node.environ).parse_args([])), url=url)


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_no_answer_is_waited_for_beyond_one_limit(node: Node, name: str) -> None:
    scheme, behave = BEHAVIOURS[name]
    with misbehaving_server(behave) as (address, _):
        asked_s = time.monotonic()
        server = client.Server(settings(node, f"{scheme}://{address}"), answer_max_s=0.5)
        with closing(server), pytest.raises(client.Undelivered, match=r"took longer than 0\.5 s"):
            server.time_ms()
        assert time.monotonic() - asked_s < client.READ_TIMEOUT_S


def test_a_proxy_that_never_connects_is_not_waited_for(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    with misbehaving_server(drips(b"HTTP/1.1 200 ", b"C")) as (address, _):
        monkeypatch.setenv("https_proxy", f"http://{address}")
        server = client.Server(settings(node, "https://far.test"), answer_max_s=0.5)
        with closing(server), pytest.raises(client.Undelivered, match=r"took longer than 0\.5 s"):
            server.time_ms()


@pytest.mark.parametrize(
    "name", ["never answers", "asks to go on for ever", "drips its body", "never shakes hands"]
)
def test_sigterm_ends_a_run_while_it_waits(node: Node, name: str) -> None:
    scheme, behave = BEHAVIOURS[name]
    with misbehaving_server(behave) as (address, came):
        flags = ("--command", "door=echo 1", "--url", f"{scheme}://{address}")
        with node.start(*flags) as process:
            assert came.wait(60)
            asked_s = time.monotonic()
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
    assert time.monotonic() - asked_s < client.READ_TIMEOUT_S / 2
    assert (process.returncode, out, err) == (1, "", "")
    assert len(node.kept()) == 1


def test_a_signal_that_interrupts_no_wait_is_noticed_soon(node: Node) -> None:
    """As one that comes just before a wait, while Python switches threads: here another's thread.

    A signal that another thread takes interrupts the main thread's wait no more than that one.
    """
    with misbehaving_server(silence) as (address, came):
        flags = ("--command", "door=echo 1", "--url", f"http://{address}")
        with node.start(*flags) as process:
            assert came.wait(60)
            tasks = {int(task.name) for task in Path(f"/proc/{process.pid}/task").iterdir()}
            (other,) = tasks - {process.pid}
            asked_s = time.monotonic()
            ctypes.CDLL(None).tgkill(process.pid, other, signal.SIGTERM)
            process.communicate(timeout=client.ANSWER_MAX_S)
    assert time.monotonic() - asked_s < client.READ_TIMEOUT_S / 2
    assert process.returncode == 1


def test_a_run_that_was_ended_sends_the_same_later(node: Node, server: FakeServer) -> None:
    node.fill(3)
    got: list[bytes] = []

    def read_and_wait(peer: socket.socket) -> None:
        while data := peer.recv(65536):
            got.append(data)

    with (
        misbehaving_server(read_and_wait) as (address, _),
        node.start("--url", f"http://{address}") as process,
    ):
        wait_until(lambda: b"}" in b"".join(got))
        process.terminate()
        process.communicate(timeout=60)
    assert node.run().status == 0
    assert json.loads(b"".join(got).split(b"\r\n\r\n")[1]) == server.posts[0].body


def test_a_connection_closed_between_two_batches_is_made_anew(
    node: Node, once: Once, server: FakeServer
) -> None:
    node.fill(2600)
    server.closes_late = True
    assert once().status == 0
    assert server.requests_lost == 5
    assert len(server.stored) == 2600
    assert server.conflicts == []
    assert node.kept() == []
    bodies = [json.dumps(post.body) for post in server.posts]
    assert len(bodies) == len(set(bodies)) == 6


def test_a_server_that_goes_away_between_two_batches_is_not_asked_for_ever(
    node: Node, once: Once, server: FakeServer
) -> None:
    node.fill(700)

    def last(request: object) -> Reply:
        server.always = lambda _: Reply(500)
        return server.store(request)  # type: ignore[arg-type]

    server.always = last
    assert once().status == 1
    assert len(server.posts) == 2
    assert len(node.kept()) == 200


def test_an_interim_answer_is_passed_over(node: Node) -> None:
    def behave(peer: socket.socket) -> None:
        body = b'{"status": "ok", "time_ms": 1800000000000}'
        peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
        peer.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        silence(peer)

    with (
        misbehaving_server(behave) as (address, _),
        closing(client.Server(settings(node, f"http://{address}"))) as server,
    ):
        assert server.time_ms() == 1_800_000_000_000


def test_a_second_run_keeps_and_leaves_the_sending_to_the_first(
    node: Node, once: Once, clock: FakeClock, server: FakeServer
) -> None:
    node.fill(1)
    with client.sole_sender(node.spool) as sole:
        assert sole
        ran = once("--command", "door=echo 1")
        assert (ran.status, ran.err) == (1, "")
        assert "another run is sending, for 0 min" in once("--verbose").err
        assert "sending   another run is at it, since 20" in once("--status").out
        clock.pass_ms(3_700_000)
        assert "another run is sending, for 6" in once().err
        clock.pass_ms(3_700_000)
        assert once().err == ""
        assert server.posts == []
        assert len(node.kept()) == 2
    assert "over: another run is sending" in once().err
    assert "another run" not in once("--status").out
    assert node.kept() == []


def test_without_strict_what_is_safely_kept_is_no_failure(
    node: Node, clock: FakeClock, server: FakeServer
) -> None:
    node.fill(1)
    server.always = Reply(503)
    assert client.main([], node.environ, clock) == 0
    assert client.main(["--strict"], node.environ, clock) == 1
    with client.sole_sender(node.spool):
        assert client.main([], node.environ, clock) == 0
        assert client.main(["--strict"], node.environ, clock) == 1
    server.always = None
    assert client.main(["--strict"], node.environ, clock) == 0
