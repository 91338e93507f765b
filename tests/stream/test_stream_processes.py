"""The processes of a machine, as `tmon serve` and `tmon sink` run them."""

import os
import signal
import subprocess
import sys
from contextlib import closing

import pytest

from tests.station import Process, Station, answers, wait_for
from tests.stream.streamed import Machine
from tmon.db.connect import sqlite3


def start(machine: Machine, *arguments: str) -> Process:
    return Process(machine.folder, *arguments, environ=machine.environ)


def test_serve_runs_ingest_the_sink_and_datasette(machine: Machine) -> None:
    serve = start(machine, "serve")
    try:
        urls = serve.addresses(2)
        wait_for(lambda: answers(f"{urls['ingest']}/healthz"))
        station = Station(machine.folder, urls["ingest"])
        assert station.post([{"value": 21.5}]).status_code == 201
        page = f"{urls['datasette']}/tmon/readings.json?_shape=array"
        wait_for(lambda: answers(page) and "21.5" in station.http.get(page, timeout=60).text)
        serve.popen.terminate()
        status, stderr = serve.end()
        assert status == 0, stderr
    finally:
        serve.kill()
    assert machine.tmon("stream", "status").returncode == 0


def test_what_a_sink_refuses_is_one_line(machine: Machine) -> None:
    """Ingest and Datasette stop with it."""
    with closing(sqlite3.connect(machine.path)) as db, db:
        db.execute("update stream_positions set snapshot = 'another'")
    sink = start(machine, "sink")
    status, stderr = sink.end()
    assert status == 1
    assert "of another station than this file" in stderr
    assert "Traceback" not in stderr
    serve = start(machine, "serve")
    status, stderr = serve.end()
    assert status == 1
    assert "of another station than this file" in stderr
    assert "sink failed; so the others were stopped too" in stderr


def test_a_sink_that_is_killed_goes_on_where_it_was(machine: Machine) -> None:
    """Its writer ends with it."""
    with machine.ingest() as station:
        sink = start(machine, "sink")
        try:
            assert station.post([{"value": 1}]).status_code == 201
            wait_for(lambda: station.count() == 1)
            os.killpg(sink.popen.pid, signal.SIGKILL)
        finally:
            sink.kill()
        assert station.post([{"value": 2}]).status_code == 201
        with machine.sink():
            machine.wait_until_current()
        assert station.count() == 2


def test_a_single_machine_imports_nothing_of_this() -> None:
    modules = "tmon.cli.main, tmon.serve.processes, tmon.serve.server, ingest.app"
    script = f"import sys, {modules}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name for name in ran.stdout.split() if name.startswith(("nats", "tmon.stream"))}
    assert loaded == set()


def test_ingest_makes_no_secret_of_its_own(machine: Machine) -> None:
    """With another secret than the other machines it would refuse all nodes."""
    machine.path.with_name("tmon.db.secret").unlink()
    ran = machine.tmon("serve", "ingest", "--port", "0")
    assert ran.returncode == 1
    assert "tmon.db.secret: no such file" in ran.stderr
    assert "another machine" in ran.stderr


@pytest.mark.parametrize("command", ["serve ingest --port 0", "serve --port 0", "sink"])
def test_what_waits_for_nats_ends_by_a_signal(machine: Machine, command: str) -> None:
    process = Process(
        machine.folder,
        *command.split(),
        environ={**machine.environ, "TMON_STREAM": "nats://127.0.0.1:1"},
    )
    assert process.popen.stderr is not None
    assert "no connection to the NATS servers" in process.popen.stderr.readline()
    process.popen.terminate()
    status, stderr = process.end()
    assert status == 0, stderr
