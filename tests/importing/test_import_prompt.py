"""When `tmon import` asks, when it stores, and what it returns; files that are odd as files."""

import csv
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.importing.importing import readings
from tests.station import tmon

FILES = Path(__file__).parents[1] / "import_files"
HOBO = str(FILES / "hobo.csv")
FLAGS = ("--node", "n", "--time", "time", "--value", "value=temperature:°C")
TIMEOUT_S = 120


class Terminal:
    """`tmon` on a terminal of its own: what it shows, and somebody who types."""

    def __init__(self, folder: Path, *arguments: str, **environ: str) -> None:
        ours, theirs = pty.openpty()
        self._fd = ours
        self._deadline_s = time.monotonic() + TIMEOUT_S
        self.shown = ""
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tmon", *arguments],
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, **environ},
        )
        os.close(theirs)

    def type(self, after: str, text: str) -> None:
        """Wait until ``after`` is shown, then type."""
        while after not in self.shown:
            assert self._read(), self.shown
        os.write(self._fd, text.encode())

    def end(self) -> int:
        """Its exit status, once all is shown."""
        while self._read():
            pass
        os.close(self._fd)
        return self.popen.wait(TIMEOUT_S)

    def _read(self) -> bool:
        arrivals = select.poll()
        arrivals.register(self._fd, select.POLLIN)
        assert arrivals.poll(1000 * max(0, self._deadline_s - time.monotonic())), self.shown
        try:
            text = os.read(self._fd, 65536)
        except OSError:  # what Linux says at a terminal's end
            return False
        self.shown += text.decode().replace("\r\n", "\n")
        return bool(text)


def test_a_terminal_shows_the_plan_and_asks(tmp_path: Path) -> None:
    no = Terminal(tmp_path, "import", HOBO, "--node", "cellar")
    no.type("Store these 4 readings? [y/N]: ", "n\n")
    assert no.end() == 1
    assert not (tmp_path / "tmon.db").exists()
    yes = Terminal(tmp_path, "import", HOBO, "--node", "cellar")
    yes.type("Store these 4 readings? [y/N]: ", "y\n")
    assert yes.end() == 0
    assert len(readings(tmp_path / "tmon.db")) == 4
    plan = yes.shown.partition("  again")[0]
    assert max(map(len, plan.splitlines())) <= 80
    for label in ("read as", "time", "sensors", "left out", "look at"):
        assert re.search(rf"^  {label} +\S", plan, re.MULTILINE), plan


def test_the_command_that_is_shown_does_the_same_again(tmp_path: Path) -> None:
    asked = Terminal(tmp_path, "import", HOBO, "--node", "cellar")
    asked.type("Store these 4 readings? [y/N]: ", "y\n")
    assert asked.end() == 0
    [command] = re.findall(r"^  again +tmon (.*)$", asked.shown, re.MULTILINE)
    assert "--time 'Date Time, GMT-07:00'" in command
    again = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m tmon {command}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "already there            4" in again.stdout


def test_a_terminal_is_asked_for_the_zone_of_local_times(tmp_path: Path) -> None:
    path = str(FILES / "govee.csv")
    asked = Terminal(tmp_path, "import", path, "--node", "bed", TZ="America/New_York")
    asked.type("which zone are they of [America/New_York]: ", "Mars/Phobos\n")
    asked.type("'Mars/Phobos' isn't a zone", "\n")
    asked.type("Store these 4 readings? [y/N]: ", "y\n")
    assert asked.end() == 0
    assert "--tz America/New_York" in " ".join(asked.shown.split())
    assert {at for _, _, at, _ in readings(tmp_path / "tmon.db")} == {
        "2026-08-06T13:22:00.000Z",
        "2026-08-06T13:37:00.000Z",
    }


def test_elsewhere_local_times_are_taken_as_utc_and_that_is_told(tmp_path: Path) -> None:
    done = tmon(tmp_path, "import", str(FILES / "pipe.csv"), "--node", "n", "--yes")
    assert "times have no offset and are taken as UTC; --tz ZONE says otherwise" in done.stdout
    listed = tmon(tmp_path, "imports")
    assert "times taken as UTC" in listed.stdout


def test_elsewhere_nothing_is_stored_without_yes(tmp_path: Path) -> None:
    failed = tmon(tmp_path, "import", HOBO, "--node", "cellar")
    assert failed.returncode == 1
    assert failed.stderr == "Error: nothing is stored without --yes\n"
    assert "cellar/temperature  °C  2  21.485 … 21.51" in failed.stdout
    assert "\x1b" not in failed.stdout
    assert not (tmp_path / "tmon.db").exists()


def test_a_dry_run_shows_and_stores_nothing(tmp_path: Path) -> None:
    done = tmon(tmp_path, "import", HOBO, "--node", "cellar", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "read as   comma, UTF-8, header in line 2, 3 rows" in done.stdout
    assert not (tmp_path / "tmon.db").exists()
    (tmp_path / "a.csv").write_text("time,value\nyesterday,1\n")
    assert tmon(tmp_path, "import", "a.csv", *FLAGS, "--dry-run").returncode == 1


def test_it_returns_0_if_something_was_stored_or_all_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,value\n2020-01-01,1\nnever,1\n")
    (tmp_path / "b.csv").write_text("time,value\n2020-01-01,2\n")
    assert tmon(tmp_path, "import", "a.csv", *FLAGS).returncode == 0
    again = tmon(tmp_path, "import", "a.csv", *FLAGS)
    assert (again.returncode, "already there            1" in again.stdout) == (0, True)
    conflict = tmon(tmp_path, "import", "b.csv", *FLAGS)
    assert (conflict.returncode, "conflict temperature: 1" in conflict.stdout) == (1, True)


def test_several_files_are_planned_before_any_is_stored(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,value\n2020-01-01,1\n")
    (tmp_path / "b.csv").write_text("time,value\n2020-01-02,2\n")
    (tmp_path / "c.csv").write_text("when,value\n2020-01-03,3\n")
    failed = tmon(tmp_path, "import", "a.csv", "c.csv", *FLAGS)
    assert failed.returncode == 1
    assert not (tmp_path / "tmon.db").exists()
    assert tmon(tmp_path, "import", "a.csv", "b.csv", *FLAGS).returncode == 0
    assert [value for *_, value in readings(tmp_path / "tmon.db")] == [1, 2]


def test_refused_rows_are_written_with_their_lines_and_reasons(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "time,value\n2020-01-01,1\n2020-01-01,2\nnever,3\n2020-01-02,x\n"
    )
    tmon(tmp_path, "import", "a.csv", *FLAGS, "--rejects", "rejects.csv")
    with (tmp_path / "rejects.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "line", "code", "sensor", "reason", "cells"]
    assert {(row[1], row[2], *row[5:]) for row in rows} == {
        ("3", "conflict"),
        ("4", "invalid_time", "never", "3"),
        ("5", "invalid_value", "2020-01-02", "x"),
    }


@pytest.mark.parametrize("name", ["a.csv", "tmon.db", "notes.txt"])
def test_refused_rows_overwrite_no_other_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text("time,value\n2020-01-01,1\n")
    (tmp_path / "notes.txt").write_text("years of notes\n")
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    done = tmon(tmp_path, "import", "a.csv", *FLAGS, "--rejects", name)
    assert (done.returncode, done.stderr) == (
        1,
        f"Error: --rejects '{name}' is another file: name a new one\n",
    )
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_refused_rows_replace_those_of_an_earlier_import(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,value\n2020-01-01,1\nnever,2\n")
    for _ in range(2):
        done = tmon(tmp_path, "import", "a.csv", *FLAGS, "--rejects", "rejects.csv")
        assert done.returncode == 0
    assert (tmp_path / "rejects.csv").read_text().count("never") == 2  # the reason and the cell


def test_what_another_value_is_there_for_is_told_before_it_is_stored(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,value\n2020-01-01,1\n2020-01-02,2\n")
    (tmp_path / "b.csv").write_text("time,value\n2020-01-01,1\n2020-01-02,3\n2020-01-03,4\n")
    tmon(tmp_path, "import", "a.csv", *FLAGS)
    told = tmon(tmp_path, "import", "b.csv", *FLAGS, "--dry-run").stdout
    assert "1 of 3 readings have another value than one before them, or in the" in told


def test_conflicts_are_counted_in_all_of_a_large_file_before_it_is_stored(tmp_path: Path) -> None:
    rows = [f"{1_700_000_000 + 60 * row},{row % 7}.5\n" for row in range(30_000)]
    for name, middle in (("a.csv", "8.5"), ("b.csv", "9.5")):
        cells = [*rows]
        cells[15_000:15_040] = [
            row.partition(",")[0] + f",{middle}\n" for row in rows[15_000:15_040]
        ]
        (tmp_path / name).write_text("time,value\n" + "".join(cells))
    tmon(tmp_path, "import", "a.csv", *FLAGS)
    told = tmon(tmp_path, "import", "b.csv", *FLAGS, "--yes").stdout
    so_far, _, whole = told.partition("30,000 rows")
    assert "another value" not in so_far
    assert "40 of 30,000 readings have another value than one before them" in whole
    assert whole.index("another value") < whole.index("stored")
    assert "conflict temperature: 40," in whole


def test_two_nodes_one_after_the_other_in_a_file_conflict(tmp_path: Path) -> None:
    """Neither the head nor the tail of the file shows it."""
    times = [1_700_000_000 + 60 * row for row in range(20_000)]
    lines = [f"{node},{at},{node}1.5\n" for node in (1, 2) for at in times]
    (tmp_path / "a.csv").write_text("station,time,value\n" + "".join(lines))
    told = tmon(tmp_path, "import", "a.csv", *FLAGS, "--dry-run").stdout
    assert "20,000 of 40,000 readings have another value than one before them" in told
    assert "do 'station' say of which node or sensor a row is?" in " ".join(told.split())


def test_a_dry_run_of_what_would_all_be_refused_ends_as_the_import_would(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,value\n2020-01-01,1\n")
    (tmp_path / "b.csv").write_text("time,value\n2020-01-01,2\n")
    tmon(tmp_path, "import", "a.csv", *FLAGS)
    for flag in ("--dry-run", "--yes"):
        assert tmon(tmp_path, "import", "b.csv", *FLAGS, flag).returncode == 1


def test_what_the_database_will_refuse_is_told_before(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,value\n2020-01-01,1\n")
    (tmp_path / "b.csv").write_text("time,value\n2020-01-02,3 hPa\n")
    flags = ["--node", "n", "--time", "time"]
    tmon(tmp_path, "import", "a.csv", *flags, "--value", "value=temperature:°C")
    command = ["import", "b.csv", *flags, "--value", "value=temperature:hPa"]
    for way in ("--dry-run", "--yes"):
        done = tmon(tmp_path, *command, way)
        assert (done.returncode, "unit_mismatch temperature: 1" in done.stdout) == (1, True), way


def test_pruned_times_are_told_before(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,value\n2020-01-01,1\n2020-01-02,1\n")
    tmon(tmp_path, "import", "a.csv", *FLAGS)
    tmon(tmp_path, "prune", "--raw-older-than", "30d")
    (tmp_path / "b.csv").write_text("time,value\n2020-01-01 00:30,3\n")
    for way in ("--dry-run", "--yes"):
        done = tmon(tmp_path, "import", "b.csv", *FLAGS, way)
        assert (done.returncode, "pruned temperature: 1" in done.stdout) == (1, True), way


def test_three_examples_of_each_kind_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,value\n2020-01-01,1\n" + "never,1\n" * 5)
    told = tmon(tmp_path, "import", "a.csv", *FLAGS).stdout
    assert "invalid_time: 5, such as line 3: time 'never'" in told
    assert ("line 4: " in told, "line 5: " in told, "line 6: " in told) == (True, True, False)


def test_a_pipe_is_read_as_often_as_needed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = subprocess.Popen(["cp", HOBO, "pipe"], cwd=tmp_path)
    done = tmon(tmp_path, "import", "pipe", "--node", "cellar", "--yes")
    assert (writer.wait(TIMEOUT_S), done.returncode) == (0, 0), done.stderr
    assert len(readings(tmp_path / "tmon.db")) == 4


@pytest.mark.parametrize("name", ["folder", "line.csv/a.csv", "line.csv"])
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with (tmp_path / "line.csv").open("wb") as file:
        file.write(b"time,value\n2020-01-01,1\n" + b"x" * 1000)
        file.seek(1_000_000_000)  # a gigabyte that takes no room
        file.write(b"x")
    failed = tmon(tmp_path, "import", name, "--node", "n", "--yes")
    assert failed.returncode == 1
    assert len(failed.stderr.splitlines()) == 1, failed.stderr
    assert name in failed.stderr


def test_what_is_added_while_a_file_is_read_is_left_out(tmp_path: Path) -> None:
    """A line that is half there would be another value: 2 of 21.5."""
    path = tmp_path / "a.csv"
    path.write_text("time,value\n2020-01-01,1\n2020-01-02,2")
    asked = Terminal(tmp_path, "import", "a.csv", *FLAGS, "--tz", "UTC")
    asked.type("Store these 2 readings? [y/N]: ", "")
    with path.open("a") as file:
        file.write("1.5\n2020-01-03,3\n")
    os.write(asked._fd, b"y\n")
    assert asked.end() == 0
    assert [value for *_, value in readings(tmp_path / "tmon.db")] == [1]
    tmon(tmp_path, "import", "a.csv", *FLAGS)
    assert [value for *_, value in readings(tmp_path / "tmon.db")] == [1, 21.5, 3]
