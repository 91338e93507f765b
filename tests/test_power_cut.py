"""The power fails under load: what was acknowledged is on the disk.

A file system in a file stands for the card. What is in that file is what had reached the card;
what the system still had in memory is not in it. So a copy of it is what a power cut leaves.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.station import Process, hourly_equals_raw, tmon
from tests.test_kill import SERVER, WRITERS, Sender, free_port
from tmon.db.connect import open_database


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


def lost_at_power_cuts(folder: Path, cuts: int, how: str) -> list[int]:
    """How many acknowledged readings each cut loses."""
    image, copy, lost = folder / "card.img", folder / "cut.img", []
    with image.open("wb") as file:
        file.truncate(256 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    with mounted(image, folder / "card") as card:
        token = tmon(card, "token", "get", "basement").stdout.strip()
        os.sync()
        port, stop = free_port(), threading.Event()
        senders = [Sender(number, token, port, stop) for number in range(WRITERS)]
        command = (sys.executable, "-c", SERVER, how)
        server = Process(card, "serve", "ingest", "--port", str(port), command=command)
        try:
            server.addresses(1)
            for sender in senders:
                sender.start()
            for _ in range(cuts):
                time.sleep(random.uniform(0.2, 1.0))
                acknowledged = set().union(*(set(sender.acknowledged) for sender in senders))
                os.killpg(server.popen.pid, signal.SIGSTOP)
                shutil.copy(image, copy)
                os.killpg(server.popen.pid, signal.SIGCONT)
                lost.append(len(acknowledged - stored(copy, folder / "after")))
                assert acknowledged
        finally:
            stop.set()
            os.killpg(server.popen.pid, signal.SIGCONT)
            for sender in senders:
                sender.join()
            server.kill()
    return lost


def stored(image: Path, at: Path) -> set[tuple[str, int]]:
    """What a station finds that starts on this card."""
    with mounted(image, at) as card, open_database(card / "tmon.db") as db:
        assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
        assert hourly_equals_raw(db)
        rows = db.execute("select name, measured_ms from readings join sensors on id = sensor")
        return {(name, measured_ms) for name, measured_ms in rows.fetchall()}


@pytest.mark.soak  # it makes a loop device, as root
@pytest.mark.timeout(300)
def test_a_power_cut_loses_nothing_acknowledged(tmp_path: Path) -> None:
    assert lost_at_power_cuts(tmp_path, 20, "careful") == [0] * 20


@pytest.mark.soak
@pytest.mark.timeout(120)
def test_without_the_wait_for_the_disk_a_power_cut_would_lose_readings(tmp_path: Path) -> None:
    """So the test above would see it."""
    assert any(lost_at_power_cuts(tmp_path, 5, "hurried"))
