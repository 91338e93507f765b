"""T24 to T28: what `tmon check` finds out about the streams and the sink."""

import gc
import signal
import time
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.station import tmon
from tests.stream.streamed import Machine, Server, begun
from tests.stream.test_stream_sink import count, message, partition, publish
from tests.watch.watched import NOW_MS, NOWHERE
from tmon.stream.messages import stream_name
from tmon.watch.check import CheckOptions, Report, run_checks
from tmon.watch.checks import streams
from tmon.watch.findings import Severity

NUMBERS = ("T24", "T25", "T26", "T27", "T28")


@pytest.fixture
def machine(tmp_path: Path, own_server: Server, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(streams, "AGAIN_AFTER_S", 0.2)
    return begun(tmp_path / "a", own_server.url)


def found(machine: Machine, *, in_s: int = 0) -> list[str]:
    """What is found by a check that is made some seconds from now."""
    now_ms = int(time.time() + in_s) * 1000
    report = Report()
    run_checks(CheckOptions(machine.settings, NOWHERE, now_ms), report, lambda _: None)
    assert report.failures == report.unknown == []
    return [line for line in report.lines() if line.startswith(NUMBERS)]


def test_nothing_is_found_while_all_is_well(machine: Machine) -> None:
    publish(machine, message(machine))
    with machine.sink():
        machine.wait_until_current()
        assert found(machine, in_s=3600) == []


def test_a_sink_that_has_stopped_is_found_once_readings_wait(machine: Machine) -> None:
    assert found(machine, in_s=3600) == []
    publish(machine, message(machine))
    assert found(machine, in_s=30) == []
    [line] = found(machine, in_s=120)
    assert line.startswith("T26 critical: sink: this machine's file is behind by ")
    assert "and nothing is stored" in line


@pytest.mark.parametrize(
    ("behind_s", "moves", "told"),
    [
        (5, True, None),
        (30, True, ("T25", Severity.WARNING, False)),  # keeps an incident open
        (90, True, ("T25", Severity.WARNING, True)),
        (90, False, ("T26", Severity.CRITICAL, True)),
    ],
)
def test_a_sink_that_stores_what_came_before_is_only_behind(
    behind_s: int, moves: bool, told: tuple[str, Severity, bool] | None
) -> None:
    waiting = {3: NOW_MS - behind_s * 1000, 5: NOW_MS}
    findings = list(streams.check_sink(NOW_MS, waiting, moves=moves))
    expected = [told] if told else []
    assert [(one.number, one.severity, one.meets_threshold) for one in findings] == expected


def test_servers_that_dont_answer_are_found(machine: Machine, own_server: Server) -> None:
    own_server.stop(signal.SIGKILL)
    [line] = found(machine)
    assert line.startswith("T24 critical: streams: no NATS server answers at nats://127.0.0.1:")


def test_streams_that_are_gone_are_found(machine: Machine) -> None:
    async def delete(client: Client) -> None:
        await client.jetstream().delete_stream(stream_name(3))

    machine.ask(delete)
    [line] = found(machine)
    assert line.startswith("T24 critical: streams: tmon-readings-3 was deleted")


def test_a_stream_that_is_nearly_full_is_found(machine: Machine) -> None:
    async def shrink(client: Client) -> None:
        info = await client.jetstream().stream_info(stream_name(partition(machine)))
        info.config.max_bytes = int(info.state.bytes * 1.2)
        await client.jetstream().update_stream(info.config)

    publish(machine, *[message(machine, at_ms=at) for at in range(10)])
    machine.ask(shrink)
    assert [line[:21] for line in found(machine)] == ["T28 warning: streams:"]


def test_without_its_setting_a_machine_doesnt_say_that_all_is_well(machine: Machine) -> None:
    """The file is of several machines, and knows it."""
    ran = tmon(machine.folder, "check", environ={**machine.environ, "TMON_STREAM": ""})
    assert "OK" not in ran.stdout
    [line] = [line for line in ran.stdout.splitlines() if "can't check" in line]
    assert line.startswith("UNKNOWN: can't check (NATS can't be used, ")
    assert "TMON_STREAM isn't set: set it to their NATS servers" in line


def test_a_machine_without_a_file_is_told_what_makes_one(machine: Machine) -> None:
    machine.path.rename(machine.path.with_name("away.db"))
    ran = machine.tmon("check")
    assert "no such database; `tmon serve` makes one, on several machines `tmon sink`" in ran.stdout
    ran = machine.tmon("serve", "datasette", "--datasette-port", "0")
    assert "tmon.db: no such database; `tmon sink` makes it" in ran.stderr


def test_a_restored_file_gets_later_readings_from_the_streams(machine: Machine) -> None:
    alone = {**machine.environ, "TMON_STREAM": ""}
    backup = machine.tmon("backup", "kept").stdout.strip()
    publish(machine, message(machine))
    with machine.sink():
        machine.wait_until_current()
    gc.collect()  # this process still has what its sink had open
    ran = machine.tmon("restore", backup, "--force")
    assert "docs/backup.md" not in ran.stderr
    assert "  basement: 1\n`tmon sink` stores them again" in ran.stderr
    assert count(machine) == 0
    with machine.sink():
        machine.wait_until_current()
    assert count(machine) == 1
    gc.collect()
    assert tmon(machine.folder, "stream", "leave", environ=machine.environ).returncode == 0
    earlier = tmon(machine.folder, "backup", "earlier", environ=alone).stdout.strip()
    ran = machine.tmon("restore", earlier, "--force")
    assert "before the station was on several machines, so `tmon sink` refuses it" in ran.stderr
