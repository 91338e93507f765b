"""``tmon serve``: ingest and Datasette start together and stop together."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from ingest.limits import BODY_S
from tests.station import Process, answers, free, tmon, wait_for
from tests.test_writer import Ingest, eight_waiting
from tmon.db.connect import open_database, open_for_reading
from tmon.serve.processes import Companion


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path, "serve", "--port", "0", "--datasette-port", "0")
    yield process
    process.kill()


def datasette_pid(process: Process) -> int | None:
    """The process beside ingest's own, once there is one."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.popen.pid)],
        capture_output=True,
        text=True,
        check=False,  # it fails while there are none
    )
    lines = [line.split() for line in listed.stdout.splitlines()]
    return next((int(line[0]) for line in lines if "datasette" in line), None)


def test_a_reading_posted_to_ingest_is_published_by_datasette(
    served: Process, tmp_path: Path
) -> None:
    urls = served.addresses(2)
    token = tmon(tmp_path, "token", "get", "basement").stdout.strip()
    headers = {"Authorization": f"Bearer {token}"}
    posted = requests.post(
        f"{urls['ingest']}/readings", json={"value": 21.5}, headers=headers, timeout=60
    )
    assert posted.status_code == 201
    shown = requests.get(f"{urls['datasette']}/tmon/readings.json?_shape=objects", timeout=60)
    [row] = shown.json()["rows"]
    assert row["value"] == 21.5
    assert row["measured_at"].endswith("Z")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_both_cleanly(served: Process, number: signal.Signals) -> None:
    urls = served.addresses(2)
    wait_for(lambda: answers(f"{urls['ingest']}/healthz"))
    wait_for(lambda: answers(f"{urls['datasette']}/tmon.json"))
    os.killpg(served.popen.pid, number)  # as a terminal does with Ctrl-C
    assert served.end() == (0, served_secret_line())
    assert all(map(free, urls.values()))


def served_secret_line() -> str:
    """All that a clean run says on stderr: the ingest process made the secret."""
    return (
        "tmon.tokens: made tmon.db.secret, which signs the tokens: "
        "keep a copy where the backups are\n"
    )


def test_if_datasette_dies_ingest_stops_and_says_why(served: Process) -> None:
    urls = served.addresses(2)
    wait_for(lambda: datasette_pid(served))
    wait_for(lambda: answers(f"{urls['ingest']}/healthz"))
    os.kill(datasette_pid(served) or 0, signal.SIGKILL)
    status, stderr = served.end()
    assert status == 1
    assert "datasette was killed by SIGKILL" in stderr
    assert all(map(free, urls.values()))


def test_a_datasette_that_was_waited_for_already_is_no_error() -> None:
    """At a Ctrl-C two threads wait for it, and only one of them finds it."""
    datasette = Companion.__new__(Companion)
    datasette._process = subprocess.Popen(["true"])
    datasette._process.wait()
    datasette._stop_with_child()


def test_kill_9_of_ingest_leaves_no_orphan(served: Process) -> None:
    urls = served.addresses(2)
    wait_for(lambda: datasette_pid(served))
    assert os.getpgid(datasette_pid(served) or 0) == served.popen.pid
    served.popen.kill()
    wait_for(lambda: all(map(free, urls.values())))


def test_a_signal_to_ingest_alone_stops_datasette_too(served: Process) -> None:
    urls = served.addresses(2)
    wait_for(lambda: answers(f"{urls['datasette']}/tmon.json"))
    served.popen.terminate()
    assert served.end() == (0, served_secret_line())
    assert all(map(free, urls.values()))


@pytest.mark.parametrize("wait_s", [0, 0.1, 0.2, 0.3, 0.5])
def test_a_signal_while_it_starts_stops_it_cleanly(served: Process, wait_s: float) -> None:
    urls = served.addresses(2)
    time.sleep(wait_s)
    os.killpg(served.popen.pid, signal.SIGINT)
    assert served.end() == (0, served_secret_line())
    assert all(map(free, urls.values()))


def test_a_taken_port_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        failed = tmon(tmp_path, "serve", "--port", "0", "--datasette-port", port)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == (
        f"Error: datasette: 127.0.0.1 port {port}: "
        "the port is taken; set TMON_DATASETTE_PORT to another"
    )


def test_a_broken_metadata_file_is_one_line_on_stderr(tmp_path: Path) -> None:
    (tmp_path / "metadata.yml").write_text("title: [unclosed")
    failed = tmon(tmp_path, "serve", "--port", "0", "--datasette-port", "0")
    assert failed.returncode == 1
    assert "metadata.yml" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_sigterm_answers_what_was_taken(tmp_path: Path) -> None:
    ingest = Ingest(tmp_path)
    with eight_waiting(ingest) as statuses:
        ingest.process.popen.terminate()
        wait_for(lambda: free(ingest.url))  # it is ending
    assert ingest.process.end() == (0, served_secret_line())
    assert statuses == [201] * 8
    with open_for_reading(tmp_path / "tmon.db") as db:
        assert db.table("readings").count == 8


def test_the_public_url_is_the_one_that_is_printed(tmp_path: Path) -> None:
    environ = {"TMON_PUBLIC_URL": "https://tmon.example.org/"}
    ports = ("--port", "0", "--datasette-port", "0")
    process = Process(tmp_path, "serve", *ports, environ=environ)
    try:
        assert process.addresses(2)["datasette"] == "https://tmon.example.org"
    finally:
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_one_process_alone_stops_cleanly_too(tmp_path: Path, number: signal.Signals) -> None:
    process = Process(tmp_path, "serve", "ingest", "--port", "0")
    url = process.addresses(1)["ingest"]
    wait_for(lambda: answers(f"{url}/healthz"))
    process.popen.send_signal(number)
    assert process.end() == (0, served_secret_line())


def test_sigterm_waits_neither_for_a_slow_body_nor_for_a_lock(tmp_path: Path) -> None:
    process = Process(tmp_path, "serve", "ingest", "--port", "0")
    url = process.addresses(1)["ingest"]
    token = tmon(tmp_path, "token", "get", "basement").stdout.strip()
    wait_for(lambda: answers(f"{url}/healthz"))
    port = int(url.rpartition(":")[2])
    head = f"POST /readings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    with (
        open_database(tmp_path / "tmon.db") as db,
        socket.create_connection(("127.0.0.1", port)) as slow,
    ):
        slow.sendall(f"{head}Content-Length: 9\r\n\r\n".encode())
        time.sleep(0.2)
        db.execute("begin immediate")
        process.popen.terminate()
        started = time.monotonic()
        status, stderr = process.end()
        assert time.monotonic() - started < BODY_S
        assert b" 503 " in slow.recv(1000).splitlines()[0]
    assert status == 0
    assert "Traceback" not in stderr


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_file_that_is_gone_ends_ingest_before_it_acknowledges(tmp_path: Path, how: str) -> None:
    process = Process(tmp_path, "serve", "ingest", "--port", "0")
    url = process.addresses(1)["ingest"]
    token = tmon(tmp_path, "token", "get", "basement").stdout.strip()
    headers = {"Authorization": f"Bearer {token}"}
    wait_for(lambda: answers(f"{url}/healthz"))
    assert requests.post(f"{url}/readings", json={"value": 1}, headers=headers, timeout=60).ok
    for file in tmp_path.glob("tmon.db*"):
        if not file.name.endswith(".secret"):
            file.unlink()
    if how == "replaced":
        open_database(tmp_path / "tmon.db", create=True).close()
    with pytest.raises(requests.ConnectionError):
        requests.post(f"{url}/readings", json={"value": 1}, headers=headers, timeout=60)
    status, stderr = process.end()
    assert status == 1
    assert "tmon.db was removed or replaced" in stderr


def test_a_file_of_any_name_is_published_as_tmon(tmp_path: Path) -> None:
    process = Process(
        tmp_path, "serve", "--db", "my lab.sqlite", "--port", "0", "--datasette-port", "0"
    )
    try:
        url = process.addresses(2)["datasette"]
        wait_for(lambda: answers(f"{url}/tmon/readings.json"))
        databases = requests.get(f"{url}/.json", timeout=60).json()
        assert "tmon" in json.dumps(databases)
        assert "my lab" not in json.dumps(databases)
    finally:
        process.kill()
