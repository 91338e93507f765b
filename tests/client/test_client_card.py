"""A card that is dying, gone, full or good again: what is sensed is sent all the same."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from client import client
from tests.client.harness import FakeClock, FakeServer, Node, Once, Reply

AWAY = "http://127.0.0.1:1"
DOOR = ("--command", "door=echo 1")


@pytest.fixture(scope="module")
def badread(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library that makes files fail when they are opened or read."""
    library = tmp_path_factory.mktemp("badread") / "badread.so"
    source = Path(__file__).with_name("badread.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return str(library)


@pytest.mark.parametrize("fault", ["BADREAD", "BADOPEN"])
@pytest.mark.parametrize("error", [errno.EIO, errno.EUCLEAN])
def test_what_is_sensed_is_sent_where_the_card_cannot_be_read(
    node: Node, server: FakeServer, badread: str, fault: str, error: int
) -> None:
    node.fill(3)
    dying: dict[str, Any] = {"LD_PRELOAD": badread, fault: f"spool.db={error}"}
    ran = node.run(*DOOR, **dying)
    [line] = [line for line in ran.said if "spool.db.names can't be read" not in line]
    assert ran.status == 0
    assert "can't be written: " in line
    assert ("disk I/O error" if fault == "BADREAD" else os.strerror(error)) in line
    assert "TMON_SPOOL" not in line
    assert list(server.stored.values()) == [1.0]
    assert node.run("--status", **dying).status == 0
    assert any(line.startswith("over: ") for line in node.run(*DOOR).said)
    assert len(server.stored) == 3 + 2


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_sensed_is_sent_where_the_spool_is_on_a_stick_that_was_pulled_out(
    node: Node, server: FakeServer, tmp_path: Path, what: str
) -> None:
    stick = tmp_path / "stick" / "tmon"
    node.spool.parent.parent.mkdir(exist_ok=True)
    if what == "folder":
        node.spool.parent.symlink_to(stick)
    else:
        node.spool.parent.mkdir()
        node.spool.symlink_to(stick / "spool.db")
    ran = node.run(*DOOR)
    assert (ran.status, len(ran.said)) == (0, 1)
    assert f"{node.spool} can't be written: {stick}" in ran.said[0]
    assert "TMON_SPOOL" not in ran.said[0]
    assert len(server.stored) == 1
    assert node.run("--status").status == 0
    stick.mkdir(parents=True)
    assert node.run(*DOOR).said[0].startswith("over: ")
    assert len(server.stored) == 2


@pytest.fixture
def nothing_in_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """No folder in memory can be written, as far as its own settings say where they are."""

    def fill() -> None:
        monkeypatch.setenv("RUNTIME_DIRECTORY", "/proc/none")
        monkeypatch.setattr(client, "MEMORY", ("/proc/none",))

    return fill


def test_with_a_bad_card_and_no_room_in_memory_what_is_sensed_is_sent_at_once(
    node: Node, once: Once, server: FakeServer, nothing_in_memory: Callable[[], None]
) -> None:
    nothing_in_memory()
    node.spool.parent.mkdir()
    node.spool.symlink_to("/proc/none/spool.db")
    ran = once(*DOOR)
    assert (ran.status, len(ran.said)) == (0, 1)
    assert "can't be written" in ran.said[0]
    assert len(server.stored) == 1
    server.always = Reply(503)
    ran = once(*DOOR)
    assert ran.status == 1
    assert "1 readings can't be kept in memory either" in ran.err


def test_with_a_read_only_card_and_memory_full_what_is_sensed_is_sent_at_once(
    node: Node, once: Once, server: FakeServer
) -> None:
    node.spool.parent.mkdir()
    node.spool.symlink_to("/proc/none/spool.db")
    client.memory_path(node.spool).symlink_to("/dev/full")
    assert once(*DOOR).status == 0
    assert len(server.stored) == 1


@contextmanager
def another_kind_of_lock(node: Node, kind: str) -> Iterator[Path]:
    node.spool.parent.mkdir()
    lock = Path(f"{node.spool}.lock")
    (os.mkfifo if kind == "pipe" else os.mkdir)(lock)
    yield lock


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_a_lock_that_is_no_file_locks_as_well(node: Node, server: FakeServer, kind: str) -> None:
    with another_kind_of_lock(node, kind) as lock:
        assert node.run(*DOOR).status == 0
        assert len(server.stored) == 1
        descriptor = os.open(lock, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert node.run(*DOOR).status == 1
        assert "another run is at it" in node.run("--status").out
        os.close(descriptor)


@pytest.fixture
def bad_card(node: Node) -> Callable[[bool], None]:
    """Take the card away, as a stick is pulled out, or put it back."""
    away = node.spool.parent.with_name("away")

    def set_bad(bad: bool) -> None:
        if bad:
            node.spool.parent.rename(away)
            node.spool.parent.symlink_to("/proc/none")
        else:
            node.spool.parent.unlink()
            away.rename(node.spool.parent)

    return set_bad


def test_what_waits_in_memory_moves_to_the_card_when_that_is_good_again(
    node: Node,
    once: Once,
    clock: FakeClock,
    server: FakeServer,
    bad_card: Callable[[bool], None],
) -> None:
    """A power cut then costs nothing; and only then is it over."""
    once("--command", "door=echo 0", TMON_URL=AWAY)
    bad_card(True)
    for n in (1, 2):
        clock.pass_ms(60_000)
        once("--command", f"door=echo {n}", TMON_URL=AWAY)
    assert "in memory 2, from 20" in once("--status").out
    bad_card(False)
    out = once("--status").out
    assert "kept      1, from 20" in out
    assert "in memory 2, from 20" in out
    clock.pass_ms(60_000)
    ran = once("--command", "door=echo 3", TMON_URL=AWAY)
    assert ran.status == 1
    assert "over: " in ran.err
    assert [value for _, value, _ in node.kept()] == [0, 3, 1, 2]
    assert "in memory 0\n" in once("--status").out
    for file in client.memory_path(node.spool).parent.glob("*.db*"):
        file.unlink()  # the power is cut
    assert once().status == 0
    assert sorted(server.stored.values()) == [0, 1, 2, 3]
    assert len({reading["value"] for post in server.posts for reading in post.readings}) == 4


def test_what_was_borrowed_from_the_card_is_there_once_when_it_is_good_again(
    node: Node, once: Once, clock: FakeClock, server: FakeServer
) -> None:
    """With the time it had in memory, under which it may have been stored already."""
    once("--command", "door=echo 1", TMON_URL=AWAY)
    path = client.memory_path(node.spool)
    with client.Spool(path) as memory:
        assert memory.borrow(node.spool) == 1
        memory.learn_time(clock.now(), clock.wall_ms)
        memory.settle(clock.now())
        settled = [row.measured_ms for row in memory.batch()]
    clock.pass_ms(7_200_000)
    assert once(TMON_URL=AWAY).status == 1
    assert [(value, ms) for _, value, ms in node.kept()] == [(1, settled[0])]
    assert once().status == 0
    assert [ms for _, ms in server.stored] == settled
    assert node.kept() == []


def test_while_another_run_sends_what_is_in_memory_it_stays_there(
    node: Node, once: Once, clock: FakeClock, bad_card: Callable[[bool], None]
) -> None:
    once(*DOOR, TMON_URL=AWAY)
    bad_card(True)
    once(*DOOR, TMON_URL=AWAY)
    bad_card(False)
    with client.sole_sender(node.spool):
        assert not [line for line in once(*DOOR).said if line.startswith("over: ")]
        assert "in memory 1" in once("--status").out
    clock.pass_ms(60_000)
    assert [line for line in once(*DOOR).said if line.startswith("over: ")]
    assert node.kept() == []


@pytest.mark.parametrize("kills", [6, pytest.param(60, marks=pytest.mark.soak)])
@pytest.mark.timeout(300)
def test_kill_9_while_readings_move_loses_nothing_and_repeats_nothing(
    node: Node, server: FakeServer, bad_card: Callable[[bool], None], kills: int
) -> None:
    dice = random.Random(kills)
    server.always = Reply(503)
    node.run("--command", "door=echo -1")
    for n in range(kills):
        bad_card(True)
        for m in range(2):
            node.run("--command", f"door=echo {n * 10 + m}")
        bad_card(False)
        with node.start("--command", f"window=echo {n}") as process:
            time.sleep(dice.uniform(0.1, 0.5))  # it is killed at any moment
            process.kill()
    server.always = None
    assert node.run().status == 0
    doors = [value for (sensor, _), value in server.stored.items() if sensor == "door"]
    assert sorted(doors) == [-1, *(n * 10 + m for n in range(kills) for m in range(2))]
    assert server.conflicts == []
    assert node.kept() == []
