"""What the spool outlives: kills, corruption, a full disk, and too many readings."""

from __future__ import annotations

import ctypes
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from client import client
from tests.client.harness import (
    CLIENT,
    MINUTE_MS,
    FakeClock,
    FakeServer,
    Node,
    Once,
    Reply,
    Request,
    wait_until,
)


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.soak)])
@pytest.mark.timeout(300)
def test_kill_9_loses_nothing_and_repeats_nothing(
    node: Node, server: FakeServer, tmp_path: Path, kills: int
) -> None:
    dice = random.Random(kills)

    def respond(request: Request) -> Reply:
        reply = server.store(request)
        time.sleep(dice.choice([0, 0, 0.05, 0.2]))
        return dice.choice([reply, reply, Reply(503), replace(reply, cut=10)])

    server.always = respond
    counter = tmp_path / "count"
    command = f"n=$(( $(cat {counter} 2>/dev/null || echo 0) + 1 )); echo $n >{counter}; echo $n"
    seen: set[tuple[str, float]] = set()
    for _ in range(kills):
        assert "failed" not in node.run("--command", f"count={command}").err
        with node.start("--command", f"count={command}") as process:
            time.sleep(dice.uniform(0, 0.8))  # it is killed at any moment
            process.kill()
        seen |= {(sensor, value) for sensor, value, _ in node.kept()}
    server.always = None
    assert node.run().status == 0
    values = list(server.stored.values())
    assert len(values) == len(set(values))
    assert seen <= {(sensor, value) for (sensor, _), value in server.stored.items()}
    assert len(values) >= int(counter.read_text()) - kills  # each kill may end one sensing
    assert server.conflicts == []
    assert node.kept() == node.refused() == []


def test_a_reading_is_on_disk_before_the_first_byte_is_sent(node: Node, server: FakeServer) -> None:
    on_disk: list[int] = []

    def respond(request: Request) -> Reply:
        on_disk.append(len(node.kept()))
        return server.store(request)

    server.always = respond
    assert node.run("--command", "door=echo 1").status == 0
    assert on_disk == [1]


@pytest.mark.parametrize("rubbish", [b"this is no database" * 100, b"\xff" * 5000])
def test_a_file_that_is_no_database_is_set_aside(
    node: Node, once: Once, server: FakeServer, rubbish: bytes
) -> None:
    node.spool.parent.mkdir()
    node.spool.write_bytes(rubbish)
    ran = once("--command", "door=echo 1")
    assert ran.status == 0
    assert len(server.stored) == 1
    assert len(ran.said) == 1
    assert "the spool is corrupt" in ran.said[0]
    (aside,) = node.spool.parent.glob("spool.db.corrupt-*Z")
    assert aside.read_bytes() == rubbish
    assert str(aside) in ran.said[0]


def test_a_page_gone_bad_is_found_and_the_new_readings_are_kept(
    node: Node, once: Once, server: FakeServer
) -> None:
    node.fill(3000)
    with node.spool.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(node.spool.stat().st_size - 4096))
    ran = once("--command", "door=echo 1")
    assert ran.status == 0
    assert "the spool is corrupt" in ran.err
    assert [key[0] for key in server.stored] == ["door"]
    assert once().status == 0


def test_trouble_after_a_corrupt_spool_is_told_by_its_own_cause(node: Node, once: Once) -> None:
    node.spool.parent.mkdir()
    node.spool.write_bytes(b"this is no database" * 100)
    ran = once("--verbose", "--command", "door=echo 1", TMON_URL="http://127.0.0.1:1")
    corrupt, unreachable = ran.said
    assert "the spool is corrupt" in corrupt
    assert "can't be reached: ConnectionRefusedError" in unreachable


def test_a_loop_goes_on_with_a_new_spool_when_the_old_one_goes_bad(
    node: Node, server: FakeServer
) -> None:
    def stored_more(than: int) -> bool:
        return len(server.stored) > than

    with node.start("--loop", "0.5", "--command", "door=echo 1") as process:
        wait_until(lambda: stored_more(3))
        with node.spool.open("r+b") as file:
            file.write(os.urandom(node.spool.stat().st_size))
        before = len(server.stored)
        wait_until(lambda: stored_more(before + 3))
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err.count("the spool is corrupt") == err.count("\n") == 1
    assert len(list(node.spool.parent.glob("spool.db.corrupt-*Z"))) == 1


@pytest.mark.parametrize("flags", [(), ("--status",), ("--loop", "1")])
def test_a_folder_in_the_spools_place_is_a_set_up_problem(
    node: Node, once: Once, flags: tuple[str, ...]
) -> None:
    node.spool.mkdir(parents=True)
    ran = once("--command", "door=echo 1", *flags)
    why = "unable to open database file: set TMON_SPOOL"
    assert (ran.status, ran.said) == (2, [f"{node.spool} can't be opened as a spool: {why}"])


def test_an_empty_file_is_a_new_spool(node: Node, once: Once) -> None:
    node.spool.parent.mkdir()
    node.spool.touch()
    assert once("--command", "door=echo 1").status == 0


def test_another_programs_database_is_left_alone(node: Node, once: Once) -> None:
    node.spool.parent.mkdir()
    with closing(sqlite3.connect(node.spool)) as db:
        db.execute("CREATE TABLE mine (a)")
    before = node.spool.read_bytes()
    ran = once("--command", "door=echo 1")
    assert ran.status == 2
    assert "another program's database: set TMON_SPOOL" in ran.err
    assert node.spool.read_bytes() == before


def test_too_many_readings_are_thinned_the_oldest_first(
    node: Node, once: Once, clock: FakeClock, server: FakeServer
) -> None:
    server.always = Reply(503)
    for _ in range(21):
        clock.pass_ms(60_000)
        ran = once("--command", "a=echo 1", "--command", "b=echo 2", TMON_SPOOL_MAX="40")
    assert "the spool is full: 10 old readings were thinned out" in ran.said
    kept = node.kept()
    assert len(kept) == 32
    for sensor in ("a", "b"):
        times_ms = [measured_ms for name, _, measured_ms in kept if name == sensor]
        gaps = [(b - a) // 60_000 for a, b in pairwise(times_ms)]
        assert gaps == [2, 2, 2, 2, 2] + [1] * 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk takes root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill_up(folder: Path) -> None:
    with (folder / "ballast").open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                return


def test_on_a_full_disk_readings_are_still_kept_and_sent(
    node: Node, once: Once, clock: FakeClock, server: FakeServer, small_disk: Path
) -> None:
    node.spool = small_disk / "spool.db"
    node.environ["TMON_SPOOL"] = str(node.spool)
    assert once("--command", "door=echo 1").status == 0
    fill_up(small_disk)
    server.always = Reply(503)
    for n in range(100):
        clock.pass_ms(60_000)
        once("--command", f"door=echo {n}")
    assert len(node.kept()) == 100
    server.always = None
    assert once().status == 0
    assert len(server.stored) == 101


def test_a_disk_too_full_to_keep_anything_is_told_and_readings_wait_in_memory(
    node: Node, once: Once, clock: FakeClock, server: FakeServer, small_disk: Path
) -> None:
    node.spool = small_disk / "spool.db"
    node.environ["TMON_SPOOL"] = str(node.spool)
    fill_up(small_disk)
    why = "database or disk is full; readings wait in memory until they are sent"
    ran = once("--command", "door=echo 1")
    assert (ran.status, ran.said) == (0, [f"{node.spool} can't be written: {why}"])
    server.always = Reply(503)
    for n in (2, 3):
        clock.pass_ms(MINUTE_MS)
        assert once("--command", f"door=echo {n}").status == 1
    assert len(server.stored) == 1
    server.always = None
    (small_disk / "ballast").unlink()
    clock.pass_ms(MINUTE_MS)
    assert once("--command", "door=echo 4").status == 0
    assert sorted(server.stored.values()) == [1, 2, 3, 4]
    assert len([reading for post in server.posts for reading in post.readings]) == 4 + 2 + 1


def fill_spool(path: Path, most: int = 1_000_000) -> int:
    """Keep readings, none of which knows its time, until there is no room for another."""
    count, size = 0, 64
    first_ms = time.time_ns() // 1_000_000 - 100_000_000
    with client.Spool(path) as spool:
        while size and count < most:
            instants = [
                client.Instant(first_ms + 1000 * n, 1000 * n, "boot-1", synchronised=False)
                for n in range(count, count + size)
            ]
            try:
                spool.add([client.Reading("load", now.wall_ms, None, now) for now in instants])
                count += size
            except sqlite3.OperationalError:
                size //= 2
    return count


def test_on_a_full_disk_a_full_spool_is_sent(
    node: Node, once: Once, clock: FakeClock, server: FakeServer, small_disk: Path
) -> None:
    node.spool = small_disk / "spool.db"
    node.environ["TMON_SPOOL"] = str(node.spool)
    with client.Spool(node.spool):
        fill_up(small_disk)
    count = fill_spool(node.spool)
    assert count > 2000
    clock.monotonic_ms = 100_000_000
    clock.synchronised = False
    assert once().status == 0
    assert len(server.stored) == count
    assert node.kept() == []
    assert once("--command", "door=echo 1").said[0].startswith("over: ")  # there is room now
    assert len(server.stored) == count + 1
    assert len([reading for post in server.posts for reading in post.readings]) == count + 1


def test_where_the_spools_file_may_not_grow_a_full_one_is_sent(
    node: Node, server: FakeServer
) -> None:
    """As on a full disk, wherever the tests run; the journal may grow as far as the spool."""
    with client.Spool(node.spool):
        limit = node.spool.stat().st_size

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    filling = [sys.executable, "-c", FILL_SPOOL, str(node.spool)]
    ran = subprocess.run(filling, check=True, preexec_fn=limited, stdout=subprocess.PIPE)
    count = int(ran.stdout)
    assert count > 1000
    assert node.run("--command", "door=echo 1", before=limited).status == 0
    assert len(server.stored) == count + 1
    assert node.kept() == []


FILL_SPOOL = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(client.__file__).parent.parent)!r})
from tests.client.test_client_spool import fill_spool
print(fill_spool(Path(sys.argv[1])))
"""


def make_read_only(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        path.chmod(path.stat().st_mode & ~0o222)


def as_no_root() -> None:
    """If root runs the tests: the client is to write only what its owner may write."""
    drop_from_bounding_set, may_write_anything = 24, 1  # prctl(2), capabilities(7)
    ctypes.CDLL(None).prctl(drop_from_bounding_set, may_write_anything, 0, 0, 0)


def test_what_a_read_only_disk_holds_is_sent_once_and_so_is_what_is_sensed(
    node: Node, server: FakeServer
) -> None:
    server.always = Reply(503)
    for n in range(2):
        node.run("--command", f"door=echo {n}")
    server.always = None
    make_read_only(node.spool.parent)
    for n in range(2, 4):
        assert node.run("--command", f"door=echo {n}", before=as_no_root).status == 0
    assert sorted(server.stored.values()) == [0, 1, 2, 3]
    again = [reading["value"] for post in server.posts[2:] for reading in post.readings]
    assert sorted(again) == [0, 1, 2, 3]


def test_a_read_only_disk_is_told_once_and_what_is_sensed_waits_in_memory(
    node: Node, server: FakeServer
) -> None:
    node.run("--command", "door=echo 0")
    make_read_only(node.spool.parent)
    server.always = Reply(503)
    said = [
        line
        for n in range(1, 3)
        for line in node.run("--command", f"door=echo {n}", before=as_no_root).said
    ]
    assert sum("can't be written" in line for line in said) == 1
    assert "kept      0" in node.run("--status", before=as_no_root).out
    server.always = None
    assert node.run(before=as_no_root).status == 0
    assert sorted(server.stored.values()) == [0, 1, 2]


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.soak)])
@pytest.mark.timeout(300)
def test_kill_9_while_a_read_only_disk_is_read_loses_nothing_and_repeats_nothing(
    node: Node, server: FakeServer, kills: int
) -> None:
    dice = random.Random(kills)
    count = fill_spool(node.spool, most=2500)
    make_read_only(node.spool.parent)

    def respond(request: Request) -> Reply:
        reply = server.store(request)
        time.sleep(dice.choice([0, 0.05]))
        return dice.choice([reply, reply, reply, replace(reply, cut=10)])

    server.always = respond
    for _ in range(kills):
        with node.start(before=as_no_root) as process:
            time.sleep(dice.uniform(0.3, 1.5))  # it is killed at any moment
            process.kill()
    server.always = None
    assert node.run(before=as_no_root).status == 0
    values = list(server.stored.values())
    assert len(values) == len(set(values)) == count
    assert server.conflicts == []


def test_what_was_sent_from_memory_is_not_sent_again_when_the_disk_can_be_written(
    node: Node, server: FakeServer
) -> None:
    """Nor do later readings, which get the same ids again, count as sent."""
    server.always = Reply(503)
    for n in range(2):
        node.run("--command", f"door=echo {n}")
    server.always = None
    make_read_only(node.spool.parent)
    assert node.run(before=as_no_root).status == 0
    for path in (node.spool.parent, *node.spool.parent.iterdir()):
        path.chmod(0o755)
    server.always = Reply(503)
    for n in range(2, 4):
        node.run("--command", f"door=echo {n}")
    server.always = None
    make_read_only(node.spool.parent)
    assert node.run("--command", "door=echo 4", before=as_no_root).status == 0
    assert sorted(server.stored.values()) == [0, 1, 2, 3, 4]
    assert server.conflicts == []


@pytest.mark.parametrize("away", [True, False])
def test_when_the_disk_can_be_written_again_what_was_sent_from_memory_is_deleted_there(
    node: Node, server: FakeServer, away: bool
) -> None:
    """Sent from there once more it could get another time."""
    count = fill_spool(node.spool, most=100)
    make_read_only(node.spool.parent)
    server.always = Reply(503) if away else None
    node.run(before=as_no_root)
    for path in (node.spool.parent, *node.spool.parent.iterdir()):
        path.chmod(0o755)
    posts = len(server.posts)
    server.always = None
    assert node.run().status == 0
    assert node.kept() == []
    assert sum(len(post.readings) for post in server.posts[posts:]) == (count if away else 0)
    assert len(server.stored) == count


def test_before_its_first_run_a_read_only_disk_needs_no_spool(
    node: Node, server: FakeServer
) -> None:
    node.spool.parent.mkdir()
    make_read_only(node.spool.parent)
    assert node.run("--command", "door=echo 1", before=as_no_root).status == 0
    assert len(server.stored) == 1


def test_what_a_kill_left_half_written_on_a_read_only_disk_stops_nothing(
    node: Node, server: FakeServer, tmp_path: Path
) -> None:
    node.fill(100)
    with closing(sqlite3.connect(node.spool, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = PERSIST")
        db.execute("PRAGMA cache_size = 1")  # pages are written before the end
        db.execute("BEGIN")
        db.execute("UPDATE readings SET unit = 'V' WHERE id > 50")
        shutil.copytree(node.spool.parent, tmp_path / "killed")
    node.environ["TMON_SPOOL"] = str(tmp_path / "killed" / "spool.db")
    make_read_only(tmp_path / "killed")
    assert node.run("--command", "door=echo 1", before=as_no_root).status == 0
    assert len(server.stored) == 101


def test_the_end_of_a_link_is_made(node: Node, server: FakeServer, tmp_path: Path) -> None:
    node.spool.parent.mkdir()
    node.spool.symlink_to(tmp_path / "elsewhere.db")
    assert node.run("--command", "door=echo 1").status == 0
    assert len(server.stored) == 1
    assert (tmp_path / "elsewhere.db").exists()


def test_a_lock_that_is_another_users_is_done_without(node: Node, server: FakeServer) -> None:
    node.run("--command", "door=echo 1")
    lock = Path(f"{node.spool}.lock")
    lock.chmod(0)
    ran = node.run("--command", "door=echo 2", before=as_no_root)
    assert (ran.status, ran.err) == (0, "")
    assert len(server.stored) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_what_root_makes_in_the_folder_of_another_user_is_that_users(node: Node) -> None:
    node.spool.parent.mkdir()
    os.chown(node.spool.parent, 54_321, 54_321)
    node.spool = node.spool.parent / "deeper" / "spool.db"
    node.run("--command", "door=echo 1", TMON_SPOOL=str(node.spool))
    made = [node.spool.parent, *node.spool.parent.iterdir()]
    assert [path for path in made if path.stat().st_uid != 54_321] == []
    assert len(made) >= 4


def damage(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * (page - 1))
        file.write(b"\x99" * 4096)


@pytest.mark.parametrize("index", ["one_at_a_time", "unsettled"])
def test_with_a_damaged_index_no_reading_is_lost(
    node: Node, once: Once, server: FakeServer, index: str
) -> None:
    node.fill(48)
    [(page,)] = node.query(f"SELECT rootpage FROM sqlite_master WHERE name = '{index}'")
    damage(node.spool, page)
    ran = once("--command", "door=echo 1")
    assert ran.status == 0
    assert len(server.stored) == 49
    (aside,) = node.spool.parent.glob("spool.db.corrupt-*Z")
    assert f"48 readings of it could be read and are kept; the rest is in {aside}" in ran.said[0]
    assert node.kept() == []


@pytest.mark.parametrize("page", range(2, 14))
def test_a_damaged_page_costs_its_own_readings_only(
    node: Node, once: Once, server: FakeServer, page: int
) -> None:
    node.fill(400)
    damage(node.spool, page)
    once("--command", "door=echo 1")
    assert once("--command", "door=echo 1").status == 0
    loads = [value for (sensor, _), value in server.stored.items() if sensor == "load"]
    [(root,)] = node.query("SELECT rootpage FROM sqlite_master WHERE name = 'readings'")
    assert len(loads) == len(set(loads))
    assert len(loads) >= (300 if page != root else 0)


def test_a_damaged_spool_that_there_is_no_room_to_copy_is_sent(
    node: Node, server: FakeServer
) -> None:
    node.fill(8000)
    [(page,)] = node.query("SELECT rootpage FROM sqlite_master WHERE name = 'one_at_a_time'")
    damage(node.spool, page)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    for n in range(2):
        ran = node.run("--verbose", "--command", f"door=echo {n}", before=limited)
        assert "failed" not in ran.err
        assert "spool is corrupt" not in ran.err  # it was not copied
        assert ran.status == 0
    assert sum(sensor == "load" for sensor, _ in server.stored) == 8000
    assert sum(sensor == "door" for sensor, _ in server.stored) == 2
    assert server.conflicts == []


def test_what_is_left_of_a_damaged_spool_keeps_its_time_and_what_was_refused(
    node: Node, once: Once, server: FakeServer
) -> None:
    rejected = [{"index": 0, "code": "conflict", "error": "another value"}]
    server.next.append(Reply(201, {"accepted": 0, "duplicates": 0, "rejected": rejected}))
    once("--command", "door=echo 1")
    node.fill(10)
    kept = node.kept()
    [(page,)] = node.query("SELECT rootpage FROM sqlite_master WHERE name = 'one_at_a_time'")
    damage(node.spool, page)
    server.always = Reply(503)
    once()
    assert node.kept() == kept
    assert node.refused() == [("door", "conflict", "another value")]


def test_a_spool_of_the_first_version_is_taken_over(
    node: Node, once: Once, clock: FakeClock, server: FakeServer
) -> None:
    with node.first_version() as db:
        now = (clock.wall_ms - 2000, clock.monotonic_ms - 2000, clock.boot, 0)
        db.execute("INSERT INTO readings VALUES (1, 'a', 1.0, NULL, ?, ?, ?, ?, NULL)", now)
        db.execute("INSERT INTO readings VALUES (2, 'b', 2.0, '°C', ?, ?, ?, ?, ?)", (*now, now[0]))
        db.execute("INSERT INTO refused VALUES (1, 'c', 3.0, NULL, ?, 'conflict', 'no')", now[:1])
        db.execute("INSERT INTO refused VALUES (2, 'd', 4.0, NULL, 0, 'unknown_time', 'no')")
    assert once("--retry-refused", "--command", "door=echo 1").status == 0
    assert set(server.stored) == {
        *((sensor, clock.wall_ms - 2000) for sensor in "abc"),
        ("door", clock.wall_ms),
    }
    assert node.refused() == [("d", "unknown_time", "the clock was wrong then")]


def test_a_disk_that_fills_up_while_running_still_sends_what_is_kept(
    node: Node, server: FakeServer
) -> None:
    node.fill(2000)
    size = node.spool.stat().st_size
    commands = [f"--command=door{n:03}=echo {n}" for n in range(300)]
    with subprocess.Popen(
        [sys.executable, str(CLIENT), *commands],
        env=node.environ | {"PATH": os.environ["PATH"], "TMON_COMMANDS": ""},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),  # noqa: PLW1509
    ) as process:
        _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert process.returncode in {0, 1}
    assert sum(sensor == "load" for sensor, _ in server.stored) == 2000
    assert node.run().status == 0
    assert node.kept() == []


@pytest.mark.parametrize("place", ["file/spool.db", "/proc/spool/spool.db"])
def test_a_folder_that_cannot_be_made_is_a_set_up_problem(
    tmp_path: Path, once: Once, place: str
) -> None:
    (tmp_path / "file").touch()
    ran = once("--command", "door=echo 1", TMON_SPOOL=str(tmp_path / place))
    assert ran.status == 2
    assert "the spool's folder can't be made" in ran.err


def test_the_spool_survives_a_kill_between_its_making_and_its_first_reading(
    node: Node, once: Once
) -> None:
    with client.Spool(node.spool):
        pass
    assert once("--command", "door=echo 1").status == 0


# In a process between, as a fork begins with the memory of the tests.
MEASURE = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(status, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""


def test_a_run_costs_little(node: Node) -> None:
    node.fill(1000)
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, sys.executable, str(CLIENT), "--command", "door=echo 1"],
        env=node.environ | {"PATH": os.environ["PATH"]},
        capture_output=True,
        check=True,
    )
    status, cpu_s, memory_mb = map(float, ran.stdout.split())
    assert status == 0
    assert cpu_s < 0.5
    assert memory_mb < 40


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("suffix", ["", "-journal", ".lock"])
@pytest.mark.parametrize("kind", ["link", "link to nothing", "pipe"])
def test_what_another_user_has_put_in_the_spools_place_is_not_followed(
    node: Node, once: Once, suffix: str, kind: str
) -> None:
    node.spool.parent.mkdir()
    target = node.spool.parent.parent / "roots"
    planted = Path(f"{node.spool}{suffix}")
    if kind == "pipe":
        os.mkfifo(planted)
    else:
        planted.symlink_to(target)
    if kind == "link":
        target.touch()
    os.chown(planted, 54_321, 54_321, follow_symlinks=False)
    ran = once()
    assert (ran.status, f"{planted} is no file, and another user's" in ran.err) == (2, True)
    assert target.exists() == (kind == "link")
    assert not target.exists() or target.stat().st_size == 0
