"""A database that is damaged while it is written to: no 201, now or after a start again."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from tests.maintenance.backup_files import station, token
from tests.station import Process, tmon, wait_for
from tests.watch.watched import NOW_MS, NOWHERE
from tmon.core.settings import Settings
from tmon.db.connect import RefusedDatabase, open_database, open_for_reading
from tmon.db.identity import damage_of, set_damage
from tmon.watch.check import CheckOptions, Report, run_checks

PAGE_BYTES = 4096


class Serving:
    """``tmon serve ingest``."""

    def __init__(self, folder: Path) -> None:
        self.process = Process(folder, "serve", "ingest", "--port", "0")
        self.url = self.process.addresses(1)["ingest"]
        self._headers = {"Authorization": f"Bearer {token(folder)}"}

    def post(self, sensor: str = "t") -> tuple[int, str | None]:
        """Status and code of the answer."""
        body = {"sensor": sensor, "value": 1}
        url = f"{self.url}/readings"
        try:
            answer = requests.post(url, json=body, headers=self._headers, timeout=60)
        except requests.ConnectionError as error:
            raise AssertionError(f"{error}; it said: {self.stop()}") from error
        return answer.status_code, answer.json().get("code")

    def wait_for_writer(self) -> None:
        """Wait until the writer has opened the file: only then is it damaged while in use."""
        url = f"{self.url}/readings"
        answer = requests.post(url, json=[], headers=self._headers, timeout=60)
        assert (answer.status_code, answer.json()["accepted"]) == (201, 0)

    def health(self) -> tuple[int, str | None]:
        answer = requests.get(f"{self.url}/healthz", timeout=60)
        return answer.status_code, answer.json().get("code")

    def stop(self) -> str:
        """What it said."""
        self.process.popen.terminate()
        return self.process.end()[1]


@contextmanager
def serving(folder: Path) -> Iterator[Serving]:
    running = Serving(folder)
    try:
        yield running
    finally:
        running.process.kill()


def spoil_all_but_the_first_page(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(PAGE_BYTES)
        file.write(b"\xa5" * (size - PAGE_BYTES))


def spoil_the_last_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-PAGE_BYTES, 2)
        file.write(b"\xa5" * PAGE_BYTES)


def become_garbage(path: Path) -> None:
    with path.open("r+b") as file:  # not by an empty file, which is another fault
        file.write(b"nothing that SQLite knows" * 1000)
        file.truncate()


def found(path: Path) -> dict[str, str]:
    """What `tmon check` finds, by number."""
    report, settings = Report(), Settings.load({"TMON_DB": str(path)})
    run_checks(CheckOptions(settings, NOWHERE, NOW_MS), report, print)
    assert report.status == 2
    return {one.number: one.reason for one in report.findings}


@pytest.mark.parametrize("spoil", [spoil_all_but_the_first_page, become_garbage])
def test_a_damaged_file_is_written_to_no_more_until_it_is_replaced(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    path = station(tmp_path, 5000)
    kept = tmon(tmp_path, "backup", "kept").stdout.strip()
    with serving(tmp_path) as running:
        running.wait_for_writer()
        spoil(path)
        assert [running.post() for _ in range(3)] == [(503, "damaged")] * 3
        assert running.health() == (503, "damaged")
        said = running.stop()
    assert 1 <= said.count("tmon.db is damaged") <= 2  # each process says it once
    assert "Traceback" not in said
    assert "T11" in found(path)
    assert tmon(tmp_path, "restore", kept, "--force").returncode == 0
    with serving(tmp_path) as running:
        assert running.post() == (201, None)


@pytest.mark.parametrize("cut", [1, PAGE_BYTES, 0.5], ids=["a byte", "a page", "half"])
def test_a_file_that_is_cut_short_is_written_to_no_more(tmp_path: Path, cut: float) -> None:
    path = station(tmp_path, 5000)
    log = path.with_name("tmon.db-wal")
    with serving(tmp_path) as running:
        assert running.post() == (201, None)
        size = path.stat().st_size
        os.truncate(path, int(size * cut) if cut < 1 else size - int(cut))
        wait_for(lambda: running.health() == (503, "damaged"))
        assert [running.post() for _ in range(3)] == [(503, "damaged")] * 3
        running.stop()
    before = log.read_bytes()
    assert before
    for _ in range(2):
        failed = tmon(tmp_path, "serve", "ingest", "--port", "0")
        assert failed.returncode == 1
        assert "pages are missing at its end" in failed.stderr
        assert "Traceback" not in failed.stderr
        assert log.read_bytes() == before
    assert not [*tmp_path.glob("*.damaged-*")]


def test_the_log_of_a_damaged_file_is_kept_once(tmp_path: Path) -> None:
    path = station(tmp_path, 5000)
    with serving(tmp_path) as running:
        assert running.post() == (201, None)
        spoil_the_last_page(path)
        set_damage(path, "database disk image is malformed")
        os.killpg(running.process.popen.pid, signal.SIGKILL)
        running.process.popen.wait(60)
        log = path.with_name("tmon.db-wal").read_bytes()
    for _ in range(3):
        with suppress(RefusedDatabase):
            open_database(path).close()
        [kept] = tmp_path.glob("tmon.db-wal.damaged-*")
        assert kept.read_bytes() == log


def test_what_gets_shorter_in_good_order_is_not_damaged(tmp_path: Path) -> None:
    path = station(tmp_path, 50_000)
    with serving(tmp_path) as running:
        assert running.post() == (201, None)
        size = path.stat().st_size
        with open_database(path) as db:
            db.execute("delete from readings where measured_ms < 2000000000")
            db.execute("pragma incremental_vacuum").fetchall()
            db.execute("pragma wal_checkpoint(truncate)").fetchone()
        assert path.stat().st_size < size
        assert running.post() == (201, None)
        running.stop()
    assert damage_of(path) is None


@pytest.mark.parametrize("stop", [False, True], ids=["there is room again", "it is stopped"])
def test_what_cannot_be_saved_is_held_until_there_is_room(tmp_path: Path, stop: bool) -> None:
    """Here the folder is gone, as a full disk would take room from the rest of the machine."""
    folder = tmp_path / "station"
    station(folder, 100)
    with serving(folder) as running:
        assert [running.post(name) for name in "abc"] == [(201, None)] * 3
        shutil.rmtree(folder)
        assert running.post("d") == (503, "damaged")
        assert running.health() == (503, "damaged")
        if stop:
            said = running.stop()
            assert "is lost" in said
        else:
            folder.mkdir()
            status, said = running.process.end()
            assert status == 1
            [kept] = folder.glob("tmon.db.replaced-*Z")
            assert str(kept) in said
            with open_for_reading(kept) as db:
                names = {row[0] for row in db.execute("select name from sensors").fetchall()}
            assert {"a", "b", "c"} < names
        assert said.count("can't be saved yet") == 1
        assert "Traceback" not in said


def test_a_clean_stop_leaves_one_whole_file(tmp_path: Path) -> None:
    path = station(tmp_path, 100)
    with serving(tmp_path) as running:
        assert running.post("new") == (201, None)
        running.stop()
    copied = tmp_path / "elsewhere" / "copy.db"
    copied.parent.mkdir()
    shutil.copyfile(path, copied)
    with open_for_reading(copied) as db:
        assert db.execute("select count(*) from readings").fetchone()[0] == 101
    assert path.with_name("tmon.db-wal").stat().st_size == 0


def test_damage_is_remembered_until_the_file_is_sound(tmp_path: Path) -> None:
    path = station(tmp_path, 5000)
    sound = path.read_bytes()
    with serving(tmp_path) as running:
        assert running.post("new") == (201, None)
        running.stop()
    open_database(path).close()  # the log's pages go to their places
    set_damage(path, "database disk image is malformed")
    spoil_the_last_page(path)
    assert "ingest met damage" in found(path)["T11"]
    with serving(tmp_path) as running:
        assert running.post("another") == (503, "damaged")
        running.stop()
    path.write_bytes(sound)
    with serving(tmp_path) as running:
        assert running.post("another") == (201, None)
    assert damage_of(path) is None
