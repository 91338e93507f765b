"""What the spool outlives: kills, corruption, a full disk, and too many readings."""

from __future__ import annotations

import os
import random
import resource
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
    FakeClock,
    MoodyServer,
    Node,
    Once,
    Reply,
    Request,
    wait_until,
)


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.soak)])
@pytest.mark.timeout(300)
def test_kill_9_loses_nothing_and_repeats_nothing(
    node: Node, server: MoodyServer, tmp_path: Path, kills: int
) -> None:
    dice = random.Random(kills)

    def mood(request: Request) -> Reply:
        reply = server.store(request)
        time.sleep(dice.choice([0, 0, 0.05, 0.2]))
        return dice.choice([reply, reply, Reply(503), replace(reply, cut=10)])

    server.always = mood
    counter = tmp_path / "count"
    command = f"n=$(( $(cat {counter} 2>/dev/null || echo 0) + 1 )); echo $n >{counter}; echo $n"
    seen: set[tuple[str, float]] = set()
    for _ in range(kills):
        assert node.run("--command", f"count={command}").err == ""
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


def test_a_reading_is_on_disk_before_the_first_byte_is_sent(
    node: Node, server: MoodyServer
) -> None:
    on_disk: list[int] = []

    def mood(request: Request) -> Reply:
        on_disk.append(len(node.kept()))
        return server.store(request)

    server.always = mood
    assert node.run("--command", "door=echo 1").status == 0
    assert on_disk == [1]


@pytest.mark.parametrize("rubbish", [b"this is no database" * 100, b"\xff" * 5000])
def test_a_file_that_is_no_database_is_set_aside(
    node: Node, once: Once, server: MoodyServer, rubbish: bytes
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
    node: Node, once: Once, server: MoodyServer
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
    node: Node, server: MoodyServer
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
        _, err = process.communicate(timeout=10)
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
    node: Node, once: Once, clock: FakeClock, server: MoodyServer
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
    node: Node, once: Once, clock: FakeClock, server: MoodyServer, small_disk: Path
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


def test_a_disk_too_full_to_keep_anything_is_told_and_heals(
    node: Node, once: Once, server: MoodyServer, small_disk: Path
) -> None:
    node.spool = small_disk / "spool.db"
    node.environ["TMON_SPOOL"] = str(node.spool)
    fill_up(small_disk)
    ran = once("--command", "door=echo 1")
    assert (ran.status, len(ran.said)) == (1, 1)
    assert ran.said == [f"1 readings can't be kept in {node.spool}: database or disk is full"]
    (small_disk / "ballast").unlink()
    assert once("--command", "door=echo 1").status == 0
    assert len(server.stored) == 1


def test_a_disk_that_fills_up_while_running_still_sends_what_is_kept(
    node: Node, server: MoodyServer
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
