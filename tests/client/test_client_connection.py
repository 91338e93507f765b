"""What is said where the server can't be reached: certificates, proxies, time-outs."""

from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest

from client import client
from tests.client.harness import CLIENT, FakeServer, Node, Reply
from tests.client.test_client_spool import MEASURE

# Keys of these tests alone, with certificates of 127.0.0.1 that sign themselves.
VALID_FROM_2100 = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgP7wIUOMzKvysRiOt
FNsSdhK0QSIr0ULhxDTXLR8vRTKhRANCAAQKjjBuz3nlCVBdMBmvtUaZpyiR9dlS
UqgfKxlIVu9IBFl2Y+RUi0ex+e53gQFsDA4tANTwaizQsWDCBlU2N2Kx
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBiDCCAS6gAwIBAgIUZDiJQjkrVlU811+q1EYDfwr3IwkwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAiGA8yMTAwMDEwMjAwMDAwMFoYDzIxMDAwMjAxMDAw
MDAwWjAPMQ0wCwYDVQQDDAR0ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
Co4wbs955QlQXTAZr7VGmacokfXZUlKoHysZSFbvSARZdmPkVItHsfnud4EBbAwO
LQDU8Gos0LFgwgZVNjdisaNkMGIwHQYDVR0OBBYEFEHHZtkU+Vy4f65J9jJOf4bx
+0uJMB8GA1UdIwQYMBaAFEHHZtkU+Vy4f65J9jJOf4bx+0uJMA8GA1UdEwEB/wQF
MAMBAf8wDwYDVR0RBAgwBocEfwAAATAKBggqhkjOPQQDAgNIADBFAiBnJvcUFcWn
oRVmaZO+aFp981tNAcif92ywV9oJULt/UAIhAPbE/68HSRZINmDzUirPW+xMZig4
fyeblRiXinB2YjgQ
-----END CERTIFICATE-----
"""
VALID_IN_2001 = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgLbBR88h9GjUedPH+
ROs9EOkfj2LClGD7RGM0KAAbV9WhRANCAAR5UGZIaw/8RaXePPsKJeuQ0KvWinnb
5y7B31vsioKiU3gUnJg8g4cOyMn0VLHO1jGiS3AmnJdTDxaben+g1Zy1
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBhDCCASqgAwIBAgIUbd5is9rAbpGZ8ZOECk+wsYek5ZowCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAeFw0wMTAxMDIwMDAwMDBaFw0wMTAyMDEwMDAwMDBa
MA8xDTALBgNVBAMMBHRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAR5UGZI
aw/8RaXePPsKJeuQ0KvWinnb5y7B31vsioKiU3gUnJg8g4cOyMn0VLHO1jGiS3Am
nJdTDxaben+g1Zy1o2QwYjAdBgNVHQ4EFgQURzj45grOHH2jVXQy4MxvDuKUvLEw
HwYDVR0jBBgwFoAURzj45grOHH2jVXQy4MxvDuKUvLEwDwYDVR0TAQH/BAUwAwEB
/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0gAMEUCIBKy3cYxI7SMI/9N
YyCwlxQG23ThTdJ8IQiEZzzSzm4YAiEAn/S9aDLsCGK5h++EOBi5G9tduPYBo4kv
XwzbXWjp8fQ=
-----END CERTIFICATE-----
"""


@contextmanager
def answering(handle: object) -> Iterator[int]:
    """A port at which each connection is handed to ``handle``, then closed."""
    assert callable(handle)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    peer, _ = listening.accept()
                    with peer, suppress(OSError):
                        handle(peer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextmanager
def https(folder: Path, pem: str) -> Iterator[tuple[int, Path]]:
    """A server that shakes hands with this certificate; also the certificate's file."""
    file = folder / "server.pem"
    file.write_text(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with answering(lambda peer: context.wrap_socket(peer, server_side=True).close()) as port:
        yield port, file


@pytest.mark.parametrize(
    ("pem", "host", "said"),
    [
        (VALID_FROM_2100, "127.0.0.1", "set TMON_CA_FILE to the certificate to trust"),
        (VALID_FROM_2100, "127.0.0.1", "is not yet valid"),
        (VALID_FROM_2100, "127.0.0.1", "; this machine's clock says 20"),
        (VALID_IN_2001, "127.0.0.1", "; this machine's clock says 20"),
        (VALID_IN_2001, "localhost", "TMON_URL must name the server as its certificate"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_said_and_what_to_do(
    node: Node, tmp_path: Path, pem: str, host: str, said: str
) -> None:
    with https(tmp_path, pem) as (port, file):
        ran = node.run(
            *("--verbose", "--command", "door=echo 1"),
            TMON_URL=f"https://{host}:{port}",
            TMON_CA_FILE="" if "TMON_CA_FILE" in said else str(file),
        )
    assert said in ran.err
    assert len(node.kept()) == 1


def test_http_in_the_place_of_https_is_said(node: Node) -> None:
    with answering(lambda peer: peer.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")) as port:
        ran = node.run(
            "--verbose", "--command", "door=echo 1", TMON_URL=f"https://127.0.0.1:{port}"
        )
    assert "is it http:// that is spoken there, not https://?" in ran.err


@pytest.mark.parametrize("url", ["http://far.test", "https://far.test"])
def test_a_proxy_that_is_away_is_named_and_its_password_isnt(node: Node, url: str) -> None:
    proxy = "http://me:secret@127.0.0.1:1"
    ran = node.run(
        *("--verbose", "--command", "door=echo 1"),
        TMON_URL=url,
        http_proxy=proxy,
        https_proxy=proxy,
    )
    through = "through the proxy http://127.0.0.1:1: ConnectionRefusedError"
    assert f"{url} can't be reached {through}" in ran.err
    assert "secret" not in ran.err


@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_proxy_that_refuses_is_named(node: Node, server: FakeServer, status: int) -> None:
    server.always = server.health = Reply(status, "<html>Access denied")
    ran = node.run(
        *("--verbose", "--command", "door=echo 1"),
        TMON_URL="http://far.test",
        http_proxy=server.url,
    )
    assert f"the server answered {status} through the proxy {server.url}" in ran.err
    assert ("that proxy wants a name and a password" in ran.err) == (status == 407)


def test_a_proxy_that_opens_no_tunnel_is_named(node: Node) -> None:
    with answering(lambda peer: peer.sendall(b"HTTP/1.0 403 Forbidden\r\n\r\n")) as port:
        proxy = f"http://127.0.0.1:{port}"
        ran = node.run(
            *("--verbose", "--command", "door=echo 1"),
            TMON_URL="https://far.test",
            https_proxy=proxy,
        )
    assert f"through the proxy {proxy}: OSError: Tunnel connection failed: 403" in ran.err


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"", "it redirects, without saying where"),
        (b"Location:\r\n", "it redirects, without saying where"),
        (b"Location: http://[\r\n", "it redirects to http://[, which isn't followed"),
        (b"Location: \xff//:x\r\n", "it redirects to ÿ//:x, which isn't followed"),
    ],
)
def test_a_redirection_is_told_wherever_it_leads(node: Node, head: bytes, said: str) -> None:
    answer = b"HTTP/1.0 302 Found\r\n" + head + b"Content-Length: 0\r\n\r\n"
    with answering(lambda peer: peer.recv(65536) and peer.sendall(answer)) as port:
        flags = ("--verbose", "--command", "door=echo 1")
        ran = node.run(*flags, TMON_URL=f"http://127.0.0.1:{port}")
    assert f"the server answered 302; {said}" in ran.err
    assert "can't be reached" not in ran.err


@cache
def bomb(depth: int) -> bytes:
    """A gigabyte, compressed once or more often."""
    if depth > 1:
        return gzip.compress(bomb(depth - 1))
    compressing = zlib.compressobj(wbits=31)
    body = b"".join(compressing.compress(bytes(1 << 20)) for _ in range(1024))
    return body + compressing.flush()


@pytest.mark.parametrize("depth", [1, 2])
def test_what_is_compressed_is_not_decoded(node: Node, depth: int) -> None:
    body = bomb(depth)
    encoding = ", ".join(["gzip"] * depth)
    head = f"HTTP/1.0 200 OK\r\nContent-Encoding: {encoding}\r\n\r\n".encode()

    with answering(lambda peer: peer.recv(65536) and peer.sendall(head + body)) as port:
        ran = subprocess.run(
            [sys.executable, "-c", MEASURE, sys.executable, str(CLIENT), "--verbose"],
            env={
                **node.environ,
                "TMON_URL": f"http://127.0.0.1:{port}",
                "TMON_COMMANDS": "door=echo 1",
            },
            capture_output=True,
            text=True,
            check=True,
        )
    _, cpu_s, memory_mb = map(float, ran.stdout.split())
    assert "it wasn't tmon that answered" in ran.stderr
    assert cpu_s < 1
    assert memory_mb < 42


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 40_000])
def test_an_answer_that_is_nested_deeply_is_none_of_tmons(node: Node, text: str) -> None:
    content = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text.encode())
    with answering(lambda peer: peer.recv(65536) and peer.sendall(content)) as port:
        flags = ("--verbose", "--command", "door=echo 1")
        ran = node.run(*flags, TMON_URL=f"http://127.0.0.1:{port}")
    assert (ran.status, "it wasn't tmon that answered" in ran.err) == (1, True)
    assert "Traceback" not in ran.err


def test_a_time_out_reads_like_one_with_the_urllib3_of_debian_11_and_12() -> None:
    """urllib3 1.26 tries getresponse(buffering=True) first, and raises the true error from None."""

    def getresponse(**options: bool) -> None:
        raise TypeError("unexpected 'buffering'") if options else TimeoutError("timed out")

    def urlopen() -> None:
        try:
            getresponse(buffering=True)
        except TypeError:
            try:
                getresponse()
            except TimeoutError as error:
                raise error from None

    with pytest.raises(TimeoutError) as timed_out:
        urlopen()
    assert isinstance(timed_out.value.__context__, TypeError)
    assert client.cause(timed_out.value) == "TimeoutError: timed out"
