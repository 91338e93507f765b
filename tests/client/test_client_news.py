"""What a person hears: one line when trouble has lasted, one a day, and one when it is over."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import pytest

from client import client
from tests.client.harness import (
    CLIENT,
    GOOD,
    HOUR_MS,
    FakeClock,
    FakeServer,
    Node,
    Once,
    Reply,
    SysfsTree,
    scratchpad,
    wait_until,
)

AWAY = "http://127.0.0.1:1"  # nobody listens on this port
DOOR = ("--command", "door=echo 1")


class Hourly:
    """Runs of the client, an hour apart; the lines that each would have cron mail."""

    def __init__(self, once: Once, clock: FakeClock) -> None:
        self._once = once
        self._clock = clock

    def __call__(self, runs: int, *flags: str, **environ: str) -> list[str]:
        mails = []
        for _ in range(runs):
            self._clock.pass_ms(HOUR_MS)
            mails.append(" ".join(self._once(*DOOR, *flags, **environ).said))
        return mails


@pytest.fixture
def hourly(once: Once, clock: FakeClock) -> Hourly:
    return Hourly(once, clock)


def told(mails: list[str]) -> list[int]:
    """Which of the runs said something, by their place."""
    return [place for place, mail in enumerate(mails) if mail]


def test_a_server_that_is_away_is_told_when_it_lasts_then_daily_then_its_end(
    hourly: Hourly, clock: FakeClock
) -> None:
    hourly(1)
    sent = client.iso(clock.wall_ms)
    mails = hourly(60, TMON_URL=AWAY)
    assert told(mails) == [2, 26, 50]
    assert "can't be reached: ConnectionRefusedError" in mails[2]
    assert all(mails[place].endswith(f"(since {sent})") for place in (2, 26, 50))
    assert hourly(3) == ["over: the server takes the readings again", "", ""]


def test_six_hours_without_a_send_are_long_enough(hourly: Hourly, clock: FakeClock) -> None:
    hourly(1)
    clock.pass_ms(5 * HOUR_MS)
    assert told(hourly(1, TMON_URL=AWAY)) == [0]


def test_what_never_was_sent_is_away_since_the_first_run(hourly: Hourly, clock: FakeClock) -> None:
    assert told(hourly(1, TMON_URL=AWAY)) == []
    clock.pass_ms(5 * HOUR_MS)
    assert told(hourly(1, TMON_URL=AWAY)) == [0]


def test_what_comes_and_goes_is_no_news(
    hourly: Hourly, sysfs: SysfsTree, server: FakeServer
) -> None:
    mails = []
    for _ in range(24):
        sysfs.thermometer(text=scratchpad("00 " * 8 + "00", 0))
        server.always = Reply(502)
        mails += hourly(1)
        sysfs.thermometer(text=scratchpad(GOOD, 23125))
        server.always = None
        mails += hourly(1)
    assert told(mails) == []


def test_what_lasts_again_and_again_is_told_once_a_day(hourly: Hourly) -> None:
    mails = []
    for _ in range(12):
        mails += hourly(4, TMON_URL=AWAY) + hourly(4)
    assert told(mails) == [2, 4, 26, 28, 50, 52, 74, 76]


def test_the_failure_of_a_sensor_is_about_the_sensor(hourly: Hourly, tmp_path: Path) -> None:
    text = tmp_path / "text"
    mails = []
    for number in range(30):
        text.write_text(f"temp={number}'C\n")
        mails += hourly(1, "--command", f"temp=cat {text}")
    assert told(mails) == [2, 26]
    text.write_text("21\n")
    (over,) = hourly(1, "--command", f"temp=cat {text}")
    assert over.startswith("over: temp: ")


def test_a_redirect_is_about_its_status(hourly: Hourly, server: FakeServer) -> None:
    mails = []
    for session in range(30):
        server.always = Reply(302, "", {"Location": f"http://login.test/?session={session}"})
        mails += hourly(1)
    assert told(mails) == [2, 26]


def test_whatever_stands_in_for_a_server_that_is_away_is_one_trouble(
    hourly: Hourly, server: FakeServer
) -> None:
    mails = []
    for status in (502, 504, 503, 500) * 5:
        server.always = Reply(status)
        mails += hourly(1)
    assert told(mails) == [2]
    server.always = Reply(401)
    assert told(hourly(4)) == [2]  # a person is needed: this is another
    server.always = None
    assert hourly(1) == [" ".join(["over: the server takes the readings again"] * 2)]


def test_each_refusal_is_told_at_once_and_once_a_day(hourly: Hourly, server: FakeServer) -> None:
    rejected = [{"index": 0, "code": "implausible", "error": "no such door"}]
    server.always = Reply(201, {"accepted": 0, "duplicates": 0, "rejected": rejected})
    assert told(hourly(50)) == [0, 24, 48]


def test_no_sensor_is_told_when_it_lasts(once: Once, clock: FakeClock, node: Node) -> None:
    def said() -> str:
        clock.pass_ms(HOUR_MS)
        return once().err

    assert [said(), said()] == ["", ""]
    assert f"no sensor found under {node.sysfs.root}: see --command" in said()
    assert said() == ""


@pytest.mark.parametrize(
    "wrong", [{"TMON_TOKEN": ""}, {"TMON_SPOOL": "/proc/none/spool.db"}, {"TMON_URL": "host"}]
)
def test_what_is_set_up_wrong_is_told_at_once_then_daily_then_its_end(
    hourly: Hourly, once: Once, wrong: dict[str, str]
) -> None:
    mails = hourly(30, **wrong)
    assert told(mails) == [0, 24]
    assert once(*DOOR, **wrong).status == 2
    if "TMON_SPOOL" not in wrong:  # with another spool, another memory
        (over,) = hourly(1)
        assert over.startswith("over: ")


def test_a_fault_of_ours_obeys_the_same_rule(hourly: Hourly, node: Node) -> None:
    hourly(1)
    node.query("ALTER TABLE boots RENAME TO away")
    mails = hourly(30)
    assert told(mails) == [2, 26]
    assert "failed: OperationalError: no such table: " in mails[2]
    node.query("ALTER TABLE away RENAME TO boots")
    assert "over: failed: " in hourly(1)[0]


@pytest.mark.parametrize("place", ["memory", "nowhere"])
def test_what_was_told_is_remembered_where_the_spool_cannot_be_written(
    hourly: Hourly, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    # Where it can't be there, it stands in /dev/shm.
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(memory) if place == "memory" else "/proc")
    spool = Path(f"/proc/none/{tmp_path}/spool.db")
    file = Path(f"tmon-{os.geteuid()}", f"{crc32(str(spool).encode()):08x}.db.news")
    try:
        mails = hourly(30, TMON_SPOOL=str(spool))
        assert (memory / file).exists() == (place == "memory")
    finally:
        Path("/dev/shm", file).unlink(missing_ok=True)
    assert told(mails) == [0, 24]


def test_once_the_spool_can_be_written_the_other_memory_goes(
    hourly: Hourly, node: Node, tmp_path: Path
) -> None:
    beside = Path(f"{node.spool}.news")
    beside.mkdir(parents=True)  # so that no file can be made there
    assert told(hourly(3, TMON_URL=AWAY)) == [2]
    (memory,) = tmp_path.glob("tmon-*/*.news")
    beside.rmdir()
    assert hourly(1) == ["over: the server takes the readings again"]
    assert not memory.exists()
    assert json.loads(beside.read_text())


@pytest.mark.parametrize("kind", ["link", "pipe", "hard link", "rubbish", "numbers", "empty"])
def test_a_memory_that_is_none_stops_nothing(
    hourly: Hourly, node: Node, tmp_path: Path, kind: str
) -> None:
    target = tmp_path / "precious"
    target.write_text("keep me")
    beside = Path(f"{node.spool}.news")
    beside.parent.mkdir()
    if kind == "link":
        beside.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(beside)
    elif kind == "hard link":
        beside.hardlink_to(target)
    else:
        beside.write_text(
            {"rubbish": "{[", "numbers": '{"server": 5, "x": [1]}', "empty": ""}[kind]
        )
    assert told(hourly(4, TMON_URL=AWAY)) == [2]
    assert target.read_text() == "keep me"


def test_another_users_memory_is_not_believed(hourly: Hourly, node: Node) -> None:
    hourly(3, TMON_URL=AWAY)
    news = Path(f"{node.spool}.news")
    os.chown(news, 54_321, 54_321)
    assert told(hourly(3, TMON_URL=AWAY)) == [2]


def test_what_does_not_change_is_not_written(hourly: Hourly, node: Node) -> None:
    hourly(4, TMON_URL=AWAY)
    news = Path(f"{node.spool}.news")
    before = news.stat().st_mtime_ns
    hourly(10, TMON_URL=AWAY)
    assert news.stat().st_mtime_ns == before
    assert [path.name for path in news.parent.glob("*.news*")] == ["spool.db.news"]


def test_a_node_that_is_well_has_no_memory_of_trouble(hourly: Hourly, node: Node) -> None:
    hourly(2)
    assert not Path(f"{node.spool}.news").exists()


def test_status_says_since_when_the_server_is_away(
    hourly: Hourly, once: Once, clock: FakeClock
) -> None:
    hourly(1)
    sent = client.iso(clock.wall_ms)
    hourly(1, TMON_URL=AWAY)
    assert f"\ntrouble   since {sent}: {AWAY} can't be reached" in once("--status").out
    hourly(1)
    assert "trouble" not in once("--status").out


def test_with_verbose_each_run_tells_all(hourly: Hourly) -> None:
    mails = hourly(3, "--verbose", TMON_URL=AWAY)
    assert told(mails) == [0, 1, 2]


def test_at_a_terminal_trouble_is_told_at_once(node: Node) -> None:
    terminal, side = pty.openpty()
    with subprocess.Popen(
        [sys.executable, str(CLIENT), *DOOR],
        env={**node.environ, "PATH": os.environ["PATH"], "TMON_URL": AWAY},
        stderr=side,
    ) as process:
        assert process.wait(60) == 0
    os.close(side)
    assert b"can't be reached: " in os.read(terminal, 10_000)
    os.close(terminal)


def test_a_loop_at_a_terminal_tells_once(node: Node, server: FakeServer) -> None:
    terminal, side = pty.openpty()
    with subprocess.Popen(
        [sys.executable, str(CLIENT), *DOOR, "--loop", "2"],
        env={**node.environ, "PATH": os.environ["PATH"]},
        stderr=side,
    ) as process:
        wait_until(lambda: len(server.posts) >= 2)
        server.always = Reply(401)
        wait_until(lambda: len(node.kept()) >= 3)
        process.terminate()
        assert process.wait(60) == 0
    os.close(side)
    lines = os.read(terminal, 10_000).decode().splitlines()
    os.close(terminal)
    assert [line.partition(" ")[2] for line in lines] == [
        f"sent 1 readings to {server.url}",
        f"the server answered 401; {client.NEW_TOKEN}; the readings are kept and sent later",
    ]


def test_cron_has_one_mail_of_a_server_that_is_away(node: Node, tmp_path: Path) -> None:
    """As Debian's crontab starts what is in cron.hourly; readings are safely kept."""
    folder = tmp_path / "cron.hourly"
    folder.mkdir()
    script = folder / "tmon-client"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} {CLIENT} --command 'door=echo 1'\n")
    script.chmod(0o755)
    mails = [
        subprocess.run(
            ["run-parts", "--report", str(folder)],
            env={**node.environ, "PATH": os.environ["PATH"], "TMON_URL": AWAY},
            capture_output=True,
            text=True,
            check=True,
        )
        for _ in range(4)
    ]
    assert [bool(mail.stdout + mail.stderr) for mail in mails] == [False, False, True, False]
    assert len(node.kept()) == 4


def test_an_old_flag_goes_on_working_and_says_so_once_a_day(
    hourly: Hourly, server: FakeServer
) -> None:
    mails = hourly(26, TMON_NODE="attic")
    assert told(mails) == [0, 24]
    assert "--node goes with the next release" in mails[0]
    assert server.posts[0].body["node"] == "attic"


def test_a_log_that_cannot_be_written_stops_nothing(node: Node, server: FakeServer) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, str(CLIENT), "--verbose", *DOOR],
            env={**node.environ, "PATH": os.environ["PATH"]},
            stdout=full,
            stderr=full,
            check=False,
        )
    assert len(server.stored) == 1
    assert ran.returncode == 0
