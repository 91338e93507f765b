"""How tmon speaks to NATS servers, and what it says when it can't."""

import asyncio
import gc
import json
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.stream.links import Network
from tests.stream.streamed import Machine, Server, one_server
from tmon.core.settings import InvalidSettings, Settings
from tmon.core.tasks import end
from tmon.stream.connection import CannotConnect, ask, connect
from tmon.stream.streams import all_states

PASSWORD = 'authorization { user: tmon, password: "p4ss" }\n'


def settings(url: str, **more: object) -> Settings:
    return Settings.load(
        {"TMON_STREAM": url} | {f"TMON_STREAM_{k}": str(v) for k, v in more.items()}
    )


def refusal(found: Settings) -> str:
    """Why a command doesn't get a connection."""

    async def fail(_: Client) -> None:
        pytest.fail("it is connected")

    with pytest.raises(CannotConnect) as caught:
        ask(found, "test", fail)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def works(found: Settings) -> None:
    async def is_connected(client: Client) -> bool:
        return client.is_connected

    assert ask(found, "test", is_connected)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with one_server(tmp_path_factory.mktemp("guarded"), more=PASSWORD) as running:
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1, which signed itself, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2"),
            *("-subj", "/CN=nats", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[Server]:
    more = f"tls {{ cert_file: {certificate}/cert.pem, key_file: {certificate}/key.pem }}\n"
    with one_server(tmp_path_factory.mktemp("tls"), more=more, scheme="tls") as running:
        yield running


def test_credentials_are_read_from_a_file(guarded: Server, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("tmon:p4ss\n")
    works(settings(guarded.url, CREDENTIALS=file))
    file.write_text("tmon:wrong\n")
    assert "refuses the password" in (told := refusal(settings(guarded.url, CREDENTIALS=file)))
    assert "wrong" not in told
    assert "refuses the password" in refusal(settings(guarded.url))


def test_a_token_is_one_too(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("s3cr3t\n")
    with one_server(tmp_path / "nats", more="authorization { token: s3cr3t }\n") as server:
        works(settings(server.url, CREDENTIALS=file))


@pytest.mark.parametrize("text", ["", "a\nb\n", None])
def test_credentials_that_arent_one_line_are_told(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    if text is not None:
        file.write_text(text)
    told = refusal(settings("nats://127.0.0.1:1", CREDENTIALS=file))
    assert told.startswith("TMON_STREAM_CREDENTIALS: ")
    assert str(file) in told


def test_a_password_in_the_address_is_never_shown() -> None:
    told = refusal(settings("nats://tmon:p4ss@127.0.0.1:1"))
    assert "no NATS server answers at nats://127.0.0.1:1" in told
    assert "p4ss" not in told


@pytest.mark.parametrize(
    "address",
    [
        *("nats://a:abc", "nats://a:99999", "nats://a:0", "http://a", "a:4222", "nats://"),
        *("nats://a..b", f"nats://{'a' * 64}", "nats://[::1", "nats://[zz]"),
        *("nats://a/path", "nats://a?x=1", "nats://a#b"),
        *("nats://tmon:p4ss@", "tmon:p4ss@a:4222", "nats://tmon:p4ss#/@a", "nats://tmon:p4ss"),
    ],
)
def test_what_cant_be_a_server_is_told(address: str) -> None:
    """Without showing it, as it may have the password."""
    with pytest.raises(InvalidSettings, match="must be the NATS servers") as told:
        settings(address)
    assert "p4ss" not in str(told.value)
    with pytest.raises(InvalidSettings, match=r"number 2 isn't$") as told:
        settings(f"nats://tmon:p4ss@a,{address}")
    assert "p4ss" not in str(told.value)


def test_an_address_may_be_written_in_several_ways() -> None:
    found = settings(" NATS://a:4222/, tls://[::1]:4222,\nnats://tmon:p4ss@bücher.example ,")
    assert found.stream == ("nats://a:4222", "tls://[::1]:4222", "nats://tmon:p4ss@bücher.example")


def test_a_server_without_jetstream_is_told(tmp_path: Path) -> None:
    server = Server(tmp_path / "nats", jetstream=False)
    server.start()
    try:
        machine = Machine(tmp_path / "a", server.url)
        with pytest.raises(CannotConnect, match="no JetStream"):
            machine.ask(all_states)
    finally:
        server.stop()


def test_a_command_says_nothing_of_a_connection_that_works(
    encrypted: Server, certificate: Path, tmp_path: Path
) -> None:
    machine = Machine(tmp_path / "a", encrypted.url, {"TMON_STREAM_CA": f"{certificate}/cert.pem"})
    machine.make_node("basement")
    machine.create_streams()
    ran = machine.tmon("stream", "status")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_what_isnt_a_nats_server_is_told() -> None:
    lines = (b"HTTP/1.1 400 Bad Request\r\n", b"INFO nonsense\r\n", b"INFO []\r\n")
    for says in (*lines, bytes(200_000)):
        with fake_server(says) as url:
            assert "doesn't greet as a NATS server" in refusal(settings(url))


def test_a_process_waits_and_tells_each_reason(
    guarded: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each server may have its own; none ends the process, as all may be put right meanwhile."""
    file = tmp_path / "credentials"
    file.write_text("tmon:wrong\n")
    reasons = ["Connection refused", "doesn't greet as a NATS server", "refuses the password"]

    async def run(url: str) -> None:
        found = settings(f"nats://127.0.0.1:1,{url},{guarded.url}", CREDENTIALS=file)
        connecting = asyncio.create_task(connect(found, "sink"))
        while not all(reason in caplog.text for reason in reasons):
            await asyncio.sleep(0.01)
        await end([connecting])

    for says in (b"INFO []\r\n", bytes(200_000)):
        caplog.clear()
        with fake_server(says) as url:
            asyncio.run(run(url))
        messages = [record.getMessage() for record in caplog.records]
        assert len(messages) == len(set(messages))


def test_a_command_asks_the_next_server(tmp_path: Path) -> None:
    """The first one is silent, as a machine without power, or ends the connection."""
    with one_server(tmp_path / "nats") as running, socket.create_server(("127.0.0.1", 0)) as silent:
        works(settings(f"nats://127.0.0.1:{silent.getsockname()[1]},{running.url}"))
        with fake_server(b"") as url:
            works(settings(f"{url},{running.url}"))
        works(settings(f"nats://127.0.0.1:1,{running.url}"))


def test_an_old_server_is_told_which_version_is_needed() -> None:
    info = json.dumps({"version": "2.9.10", "headers": True, "max_payload": 1048576})
    with fake_server(f"INFO {info}\r\nPONG\r\n".encode()) as url:
        told = refusal(settings(url))
    assert "version 2.9.10" in told
    assert "needs 2.12 or newer" in told


def test_a_certificate_is_verified(encrypted: Server, certificate: Path) -> None:
    works(settings(encrypted.url, CA=certificate / "cert.pem"))
    assert "certificate isn't accepted" in refusal(settings(encrypted.url))


def test_nothing_is_sent_to_a_server_that_doesnt_encrypt(
    guarded: Server, certificate: Path, tmp_path: Path
) -> None:
    file = tmp_path / "credentials"
    file.write_text("tmon:p4ss\n")
    for found in (
        settings(guarded.url, CREDENTIALS=file, CA=certificate / "cert.pem"),
        settings(guarded.url.replace("nats:", "tls:"), CREDENTIALS=file),
    ):
        assert "doesn't encrypt" in refusal(found)


def test_a_file_that_is_no_certificate_is_told(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    told = refusal(settings("tls://127.0.0.1:1", CA=file))
    assert told.startswith("TMON_STREAM_CA: ")
    file.write_text("nothing")
    told = refusal(settings("tls://127.0.0.1:1", CA=file))
    assert told == f"TMON_STREAM_CA: {file}: no certificate is in it"


def test_a_process_waits_for_the_servers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It says once that it does, and once that it doesn't any more."""
    server = Server(tmp_path / "nats")
    server.start()
    server.stop()

    async def run() -> None:
        connecting = asyncio.create_task(connect(settings(server.url), "sink"))
        while "no connection" not in caplog.text:
            await asyncio.sleep(0.01)
        server.start()
        client = await connecting
        assert client.is_connected
        await client.close()

    try:
        asyncio.run(run())
    finally:
        server.stop()
    messages = [record.getMessage() for record in caplog.records]
    assert [text[:13] for text in messages] == ["no connection", "connected to "]


def test_a_server_that_is_left_for_another_is_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a majority that is every few seconds; a connection that breaks later is told."""

    async def run(server: Server) -> None:
        again = asyncio.Event()
        client = await connect(settings(server.url), "ingest", again.set)
        for _ in range(2):
            again.clear()
            await client.force_reconnect()
            await again.wait()
        assert not caplog.records
        server.stop(signal.SIGKILL)
        while "it broke" not in caplog.text:
            await asyncio.sleep(0.01)
        await client.close()

    with one_server(tmp_path / "nats") as server:
        asyncio.run(run(server))


def test_a_server_that_takes_no_more_data_is_left(tmp_path: Path) -> None:
    """What wasn't sent to it doesn't hold up the connection to another."""
    network = Network()
    links = [network.link() for _ in range(2)]
    urls = ",".join(f"nats://127.0.0.1:{link.port}" for link in links)

    async def run() -> None:
        again = asyncio.Event()
        client = await connect(settings(urls), "ingest", again.set)
        again.clear()
        links[0].cut()
        for _ in range(32):  # more than the system's buffers take
            await client.publish("nobody", bytes(1_000_000))
        await again.wait()
        await client.flush()
        await client.close()

    try:
        with one_server(tmp_path / "nats") as server:
            for link in links:
                link.target = server.port
            asyncio.run(run())
    finally:
        network.close()


def test_servers_without_streams_are_told(tmp_path: Path) -> None:
    with one_server(tmp_path / "nats") as server:
        machine = Machine(tmp_path / "a", server.url)
        with pytest.raises(CannotConnect, match="tmon stream create"):
            machine.ask(all_states)


@contextmanager
def fake_server(greeting: bytes) -> Iterator[str]:
    """What greets each connection so, and says nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            try:
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        connection.sendall(greeting)
                        while connection.recv(4096):
                            pass
            except OSError:
                pass

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"nats://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_tasks_end_though_a_cancellation_is_swallowed(caplog: pytest.LogCaptureFixture) -> None:
    """And what others than the first had to say isn't logged."""
    swallowed = []

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.append(True)
        await asyncio.Event().wait()

    async def failing() -> None:
        raise CannotConnect("one line")

    async def run() -> None:
        tasks = [asyncio.create_task(one()) for one in (stubborn, failing, failing)]
        await asyncio.sleep(0)
        await end(tasks)
        assert all(task.done() for task in tasks)

    asyncio.run(run())
    gc.collect()
    assert swallowed == [True]
    assert not caplog.records
