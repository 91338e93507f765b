"""Tokens that the running ingest would refuse are told of where they are made, and by T22."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import requests

from tests.station import Process, Station, station_in_thread, tmon, wait_for
from tmon.core.settings import Settings
from tmon.db import tokens
from tmon.db.connect import open_database
from tmon.maintenance.token_probe import PATIENCE_S, why_refused, why_refused_at

SECRET = "a secret that is long enough"
OTHER = {"TMON_SECRET": "another secret, also long enough"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    with station_in_thread(tmp_path_factory.mktemp("running")) as station:
        station.token()
        yield station


def port_of(station: Station) -> str:
    return station.url.rpartition(":")[2]


def at(station: Station, **environ: str) -> dict[str, str]:
    """The environment of a command that acts for this station, but for what is given."""
    return {"TMON_DB": str(station.path), "TMON_PORT": port_of(station), **environ}


def findings(folder: Path, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    ran = tmon(folder, "check", "--json", "--datasette-port", "0", environ=environ)
    found = json.loads(ran.stdout)
    assert found["unknown"] == []
    return [one for one in found["findings"] if one["number"] == "T22"]


def test_nothing_is_said_where_all_is_the_same(running: Station, tmp_path: Path) -> None:
    ran = tmon(tmp_path, "token", "get", "basement", "attic", environ=at(running))
    assert (len(ran.stdout.splitlines()), ran.stderr) == (2, "")
    assert findings(tmp_path, at(running)) == []


def said(folder: Path, command: list[str], environ: Mapping[str, str]) -> Any:
    """A command that says something, tried again where a loaded machine was too slow for it."""
    for _ in range(5):
        if (ran := tmon(folder, *command, environ=environ)).stderr:
            break
    return ran


def different(running: Station, folder: Path) -> dict[str, tuple[dict[str, str], str]]:
    """Ways to differ: what a command has otherwise, and what is said of it."""
    (folder / "other.secret").write_text(SECRET)
    open_database(folder / "other.db", create=True).close()
    own_secret = {"TMON_SECRET_FILE": str(running.settings.secret_file)}
    return {
        "TMON_SECRET of the command alone": (OTHER, "another secret"),
        "another TMON_SECRET_FILE": (
            {"TMON_SECRET_FILE": str(folder / "other.secret")},
            "another secret",
        ),
        "another TMON_DB": ({"TMON_DB": str(folder / "other.db"), **OTHER}, "another secret"),
        "another TMON_DB, the same secret": (
            {"TMON_DB": str(folder / "other.db"), **own_secret},
            "another database",
        ),
        "all addresses": ({"TMON_HOST": "0.0.0.0", **OTHER}, "another secret"),
    }


@pytest.mark.parametrize("how", range(5))
def test_what_differs_is_said_where_tokens_are_made_and_by_check(
    running: Station, tmp_path: Path, how: int
) -> None:
    environ, told = [*different(running, tmp_path).values()][how]
    environ = at(running, **environ)
    for command in (["token", "get", "attic"], ["token", "rotate", "attic"]):
        ran = said(tmp_path, command, environ)
        assert (ran.returncode, len(ran.stdout.splitlines())) == (0, 1)
        [line] = ran.stderr.splitlines()
        assert f"the ingest at http://127.0.0.1:{port_of(running)} refuses tokens made" in line
        assert told in line
        assert SECRET not in line
    [finding] = findings(tmp_path, environ)
    assert finding["severity"] == "critical"
    assert told in finding["reason"]


def test_a_secret_that_was_changed_under_a_running_ingest_is_told(tmp_path: Path) -> None:
    process = Process(tmp_path, "serve", "ingest", "--port", "0")
    try:
        url = process.addresses(1)["ingest"]
        environ = {"TMON_PORT": url.rpartition(":")[2]}
        wait_for(lambda: tmon(tmp_path, "token", "get", "attic", environ=environ).stderr == "")
        (tmp_path / "tmon.db.secret").write_text("x" * 64)
        # On a busy machine it may not answer in time; then nothing is said.
        wait_for(lambda: "start it again" in said(tmp_path, ["token", "get", "a"], environ).stderr)
    finally:
        process.kill()


def test_a_probe_is_never_a_valid_token_and_changes_nothing(running: Station) -> None:
    uid = running.query("select uid from nodes where name = 'basement'")[0][0]
    signer = tokens.Tokens(tokens.load_or_create_secret(running.settings))
    headers = {"Authorization": f"Bearer {signer.make_probe(uid)}"}
    answer = running.post({"value": 1}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert running.count() == 0


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("Bearer x", "other_secret"),
        ("Basic x", "other_secret"),
        ("", "other_secret"),
        ("Bearer tmon_a.b.1." + "A" * 43, "other_secret"),
        ("Bearer tmon_\xff.b.1.\xff", "other_secret"),
        (None, None),
    ],
)
def test_who_has_no_token_is_told_no_more(
    running: Station, header: str | None, told: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    answer = requests.get(f"{running.url}/healthz", headers=headers, timeout=60)
    assert answer.status_code == 200
    assert answer.json().get("token") == told


@contextmanager
def silent_listener() -> Iterator[int]:
    """A port where connections are taken, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@contextmanager
def dripping_listener() -> Iterator[int]:
    """A port that says a byte now and then, for ever."""
    over = threading.Event()

    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, suppress(ConnectionError):  # who asks may leave first
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not over.wait(0.1):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=[listening])
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            thread.join()


@contextmanager
def no_listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    yield port


@pytest.mark.parametrize("listener", [silent_listener, dripping_listener, no_listener])
def test_where_no_ingest_runs_nothing_is_said_and_soon(listener: Any) -> None:
    with listener() as port:
        began_s = monotonic()
        assert (
            why_refused_at(f"http://127.0.0.1:{port}", SECRET.encode(), "0123456789abcdef") is None
        )
        assert monotonic() - began_s < 20 * PATIENCE_S  # the listeners go on for ever


def test_port_0_is_nobodys() -> None:
    assert why_refused(Settings.load({"TMON_PORT": "0"}), "tmon_a.b.1.c") is None


def test_a_backup_with_another_secret_says_so(running: Station, tmp_path: Path) -> None:
    for extra, told in (({}, ""), (OTHER, "the secret beside it may be the wrong one: the ingest")):
        ran = tmon(tmp_path, "backup", f"kept{len(extra)}", environ=at(running, **extra))
        assert (ran.returncode, bool(ran.stdout)) == (0, True)
        assert told in ran.stderr
        assert bool(ran.stderr) is bool(told)


@pytest.mark.parametrize(
    ("secret", "told"), [(None, "is missing: ingest can't be started again"), ("a", "16 bytes")]
)
def test_a_secret_that_is_lost_under_a_running_ingest_is_a_finding(
    tmp_path: Path, secret: str | None, told: str
) -> None:
    with station_in_thread(tmp_path) as station:
        station.token()
        if secret is None:
            station.settings.secret_file.unlink()
        else:
            station.settings.secret_file.write_text(secret)
        [finding] = findings(tmp_path, at(station))
        assert finding["severity"] == "critical"
        assert told in finding["reason"]


def test_a_secret_that_others_read_is_made_anew_as_the_docs_say(tmp_path: Path) -> None:
    """Rotating doesn't shut out who has the secret; a new one does."""
    stolen = tmp_path / "stolen.secret"

    def forged(node: str) -> str:
        copy = tmp_path / "copy.db"
        copy.write_bytes((tmp_path / "tmon.db").read_bytes())
        environ = {"TMON_DB": str(copy), "TMON_SECRET_FILE": str(stolen)}
        return str(tmon(tmp_path, "token", "get", node, environ=environ).stdout.strip())

    before = tmon(tmp_path, "token", "get", "attic").stdout.strip()
    stolen.write_bytes((tmp_path / "tmon.db.secret").read_bytes())
    rotated = tmon(tmp_path, "token", "rotate", "attic").stdout.strip()
    assert forged("attic") == rotated != before

    (tmp_path / "tmon.db.secret").rename(tmp_path / "tmon.db.secret.exposed")
    environ = {"TMON_BEGIN_ANEW": "yes"}
    new = tmon(tmp_path, "token", "get", "attic", environ=environ).stdout.strip()
    assert new != rotated
    with station_in_thread(tmp_path) as station:
        for token, status in ((new, 201), (rotated, 401), (forged("attic"), 401)):
            headers = {"Authorization": f"Bearer {token}"}
            answer = station.http.post(
                f"{station.url}/readings", json={"value": 1}, headers=headers, timeout=60
            )
            assert answer.status_code == status
