"""Two users, one file: tmon writes, tmon-datasette reads whatever became of ingest."""

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.deploy.accounts import IDS, ROOT, Station, as_reader, made, token_of
from tests.deploy.front import free_port
from tests.station import answers, wait_for

TMON = IDS["tmon"]


@pytest.fixture
def station() -> Iterator[Station]:
    with made() as station:
        yield station


class Ingest:
    """``tmon serve ingest`` by its user, which takes a reading now and then."""

    def __init__(self, station: Station) -> None:
        self._token = token_of(station)
        self.process = station.start("tmon-ingest", "serve", "ingest", "--port", "0")
        assert self.process.stdout is not None
        self._url = self.process.stdout.readline().split()[1]

    def post(self, *values: float) -> None:
        body = [{"value": value, "measured_ms": 1_700_000_000_000 + int(value)} for value in values]
        headers = {"Authorization": f"Bearer {self._token}"}
        posted = requests.post(self._url, json=body, headers=headers, timeout=60)
        assert posted.json()["accepted"] == len(values)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """As systemd stops it; or as the power fails, for the writer beside it too."""
        pid = self.process.pid
        writer = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            os.kill(int(writer[0]), number)
        self.process.communicate(timeout=60)


class Pages:
    """``tmon serve datasette`` by its user."""

    def __init__(self, station: Station) -> None:
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        arguments = ["serve", "datasette", "--datasette-port", str(port)]
        self.process = station.start("tmon-datasette", *arguments)
        wait_for(lambda: self.process.poll() is not None or answers(f"{self._url}/"))

    def readings(self) -> int:
        answer = requests.get(f"{self._url}/tmon/readings.json?_size=max&_shape=array", timeout=60)
        assert answer.status_code == 200, answer.text
        return len(answer.json())

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=60)


def test_each_file_has_the_mode_its_readers_need(station: Station) -> None:
    ingest = Ingest(station)
    ingest.post(1)
    readable = ("640", TMON, TMON)
    assert station.modes() == {
        ".": ("2750", TMON, TMON),
        "download": ("2750", TMON, TMON),
        "tmon.db": readable,
        "tmon.db-wal": readable,
        "tmon.db-shm": readable,
        "tmon.db.secret": ("600", TMON, TMON),
    }
    ingest.stop()


def test_the_reader_reads_the_database_and_not_the_secret_and_writes_nothing(
    station: Station,
) -> None:
    token_of(station)
    assert as_reader(station, "cat tmon.db >/dev/null").returncode == 0
    for script in (
        "cat tmon.db.secret",
        ": >>tmon.db",
        "rm -f tmon.db",
        ": >new",
        "ls download/..",
    ):
        ran = as_reader(station, script)
        assert (ran.returncode == 0) == script.startswith("ls"), script
    assert as_reader(station, f"ls {station.root}/var/backups/tmon").returncode != 0


def test_pages_go_on_while_ingest_is_stopped_killed_and_started_again(station: Station) -> None:
    ingest = Ingest(station)
    ingest.post(1)
    pages = Pages(station)
    assert pages.readings() == 1
    ingest.stop()
    assert pages.readings() == 1
    ingest = Ingest(station)
    ingest.post(2)
    assert pages.readings() == 2
    ingest.stop(signal.SIGKILL)
    assert pages.readings() == 2
    ingest = Ingest(station)
    ingest.post(3)
    assert pages.readings() == 3
    ingest.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_pages_start_without_ingest_and_see_it_come_back(
    station: Station, number: signal.Signals
) -> None:
    ingest = Ingest(station)
    ingest.post(1, 2)
    ingest.stop(number)
    pages = Pages(station)
    assert pages.readings() == 2
    ingest = Ingest(station)
    ingest.post(3)
    assert pages.readings() == 3
    pages.stop()
    ingest.stop()


def test_pages_before_there_is_a_database_say_so_and_start_after(station: Station) -> None:
    status, _, stderr = station.run("tmon-datasette", "serve", "datasette", "--datasette-port", "0")
    assert status == 1
    assert stderr == f"Error: {station.db}: no such database; ingest makes it\n"
    ingest = Ingest(station)
    ingest.post(1)
    assert Pages(station).readings() == 1


def test_pages_that_miss_ingests_files_say_so_and_start_after(station: Station) -> None:
    token_of(station)  # a command alone: it leaves neither -wal nor -shm
    assert not station.db.with_name("tmon.db-shm").exists()
    status, _, stderr = station.run("tmon-datasette", "serve", "datasette", "--datasette-port", "0")
    assert status == 1
    assert stderr.count("\n") == 1
    assert "start ingest" in stderr
    ingest = Ingest(station)
    ingest.post(1)
    assert Pages(station).readings() == 1


@pytest.mark.parametrize("abstract", [False, True])
@pytest.mark.parametrize("part", ["ingest", "datasette"])
def test_systemd_is_told_when_a_service_is_ready(
    station: Station, part: str, abstract: bool
) -> None:
    ingest = Ingest(station)
    name = os.urandom(8).hex()
    path = Path(tempfile.gettempdir()) / f"tmon-{name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(f"\0{name}" if abstract else str(path))
        if not abstract:
            path.chmod(0o666)
        line.settimeout(60)
        port = free_port()
        flag = "--port" if part == "ingest" else "--datasette-port"
        told = {"NOTIFY_SOCKET": f"@{name}" if abstract else str(path)}
        started = station.start(f"tmon-{part}", "serve", part, flag, str(port), **told)
        assert line.recv(100) == b"READY=1"
        page = "healthz" if part == "ingest" else ""
        assert answers(f"http://127.0.0.1:{port}/{page}")
    path.unlink(missing_ok=True)
    started.terminate()
    ingest.stop()


def test_systemd_is_told_that_a_sink_is_ready_before_it_reaches_nats(station: Station) -> None:
    """Datasette is started after it, and shows the file while no server answers."""
    path = Path(tempfile.gettempdir()) / f"tmon-{os.urandom(8).hex()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(path))
        path.chmod(0o666)
        line.settimeout(60)
        told = {"NOTIFY_SOCKET": str(path), "TMON_STREAM": f"nats://127.0.0.1:{free_port()}"}
        started = station.start("tmon-sink", "sink", **told)
        assert line.recv(100) == b"READY=1"
        assert station.db.exists()
    path.unlink()
    started.terminate()
    started.wait()


def test_only_root_may_act_for_the_station() -> None:
    ran = subprocess.run(
        ["sh", "-s", "token", "list"],
        input=(ROOT / "deploy" / "tmon").read_text(),
        user=IDS["tmon"],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "tmon: run it as root: sudo tmon token list\n"
