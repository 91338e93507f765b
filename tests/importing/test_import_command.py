"""`tmon import` as people run it: real files, a real database, a process of its own."""

import csv
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from tests.importing.importing import import_file, readings
from tests.station import hourly_equals_raw, tmon, wait_for
from tmon.core.errors import CannotImport
from tmon.db import nodes, tokens
from tmon.db.connect import open_database, open_for_reading

AMBIENT = Path(__file__).parents[2] / "data" / "ambient_temperature.csv"
AMBIENT_FLAGS = ("--node", "demo", "--time", "timestamp", "--value", "value=temperature:°F")
FLAGS = ("--node", "shed", "--time", "time", "--value", "value=temperature:°C")

NYC = """\
origin,year,temp,humid,wind_gust,pressure,time_hour
EWR,2013,39.02,59.37,NA,1012,2013-01-01T06:00:00Z
EWR,2013,39.02,61.63,NA,NA,2013-01-01T07:00:00Z
JFK,2013,39.02,61.63,NA,1012.6,2013-01-01T06:00:00Z
LGA,2013,NA,NA,NA,1012.3,2013-01-01T06:00:00Z
"""


def summary(stored: int, already_there: int, rejected: int) -> list[str]:
    return f"stored {stored:,} already there {already_there:,} rejected {rejected:,}".split()


def summary_lines(stdout: str) -> list[str]:
    """The summary's three counts, without its layout."""
    return " ".join(stdout.splitlines()[:3]).split()


def consistent(db: Database) -> bool:
    """Whether hourly and daily both say what SQL over the raw readings says."""
    daily = """
        with raw as (
            select sensor, date(measured_ms / 1000, 'unixepoch') as day, count(*) as n,
                sum(value) as sum, min(value) as min, max(value) as max
            from readings group by 1, 2
        )
        select count(*) from raw full join daily using (sensor, day)
        where raw.n is not daily.n or raw.min is not daily.min or raw.max is not daily.max
            or abs(raw.sum - daily.sum) > 1e-9 * max(1, abs(raw.sum))
    """
    return hourly_equals_raw(db) and db.execute(daily).fetchone()[0] == 0


def minutes(path: Path, rows: int) -> Path:
    """A file of one reading a minute."""
    lines = (f"{1_400_000_000 + 60 * row},{row % 40}.5\n" for row in range(rows))
    path.write_text("time,value\n" + "".join(lines))
    return path


SAID: dict[str, Any] = {"node": "shed", "times": ["time"], "values": ["value=temperature:°C"]}


def start(folder: Path, path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tmon", "import", str(path), *FLAGS],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        # Who is a shell's job in the background has it ignored, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def stored_some(path: Path) -> bool:
    if not path.exists():
        return False
    with open_for_reading(path) as db:
        query = "select count(*) from readings"
        return "readings" in db.table_names() and db.execute(query).fetchone()[0] > 0


def test_the_shipped_file_is_stored_whole_once_and_in_celsius(tmp_path: Path) -> None:
    first = tmon(tmp_path, "import", str(AMBIENT), *AMBIENT_FLAGS)
    assert (first.returncode, first.stderr) == (0, "")
    assert summary_lines(first.stdout) == summary(7267, 0, 0)
    again = tmon(tmp_path, "import", str(AMBIENT), *AMBIENT_FLAGS)
    assert summary_lines(again.stdout) == summary(0, 7267, 0)
    with AMBIENT.open() as file:
        celsius = [(float(row["value"]) - 32) * 5 / 9 for row in csv.DictReader(file)]
    with open_for_reading(tmp_path / "tmon.db") as db:
        query = "select count(*), sum(value), min(value), max(value) from readings"
        n, total, lowest, highest = db.execute(query).fetchone()
        assert (n, lowest, highest) == (7267, min(celsius), max(celsius))
        assert total == pytest.approx(sum(celsius), rel=1e-9)
        assert db.execute("select distinct node, unit from sensors").fetchall() == [("demo", "°C")]
        assert db.table("rejected").count == 0
        assert consistent(db)


def test_a_column_of_nodes_makes_them_and_na_is_told(tmp_path: Path) -> None:
    (tmp_path / "nyc.csv").write_text(NYC)
    values = ("temp=temperature:°F", "humid=humidity:%", "pressure=pressure:hPa")
    flags = [part for value in values for part in ("--value", value)]
    done = tmon(
        tmp_path, "import", "nyc.csv", "--node-column", "origin", "--time", "time_hour", *flags
    )
    assert done.returncode == 0
    assert summary_lines(done.stdout) == summary(9, 0, 3)
    assert "missing_value pressure: 1, such as line 3: pressure is NA" in done.stdout
    assert "missing_value temperature: 1, such as line 5: temp is NA" in done.stdout
    assert {node for node, *_ in readings(tmp_path / "tmon.db")} == {"EWR", "JFK", "LGA"}
    with open_for_reading(tmp_path / "tmon.db") as db:
        assert consistent(db)
        assert db.table("rejected").count == 0  # the page of what live nodes got wrong


def test_standard_input_is_read(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tmon", "import", "-", *FLAGS]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        input="time,value\n2020-01-01,1\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert summary_lines(done.stdout) == summary(1, 0, 0)


@pytest.mark.parametrize(
    ("text", "flags", "says"),
    [
        ("when,value\n", FLAGS, "no column is called 'time'; the first line names: when, value"),
        ("2020-01-01,1\n", FLAGS, "no column is called 'time'; the first line names: 2020-01-01"),
        ("time,value,value\n", FLAGS, "several columns are called 'value'"),
        ("", FLAGS, "the file is empty"),
        ("time,value\n", (*FLAGS, "--tz", "Europe/Berln"), "'Europe/Berln' isn't a zone"),
        ("time,value\n", (*FLAGS, "--tz", "Europe"), "'Europe' isn't a zone"),
        ("time,value\n", (*FLAGS, "--value", "value"), "must be like 'temp=temperature:°C'"),
        ("time,value\n", (*FLAGS, "--value", "value=a b"), "sensor 'a b' must be"),
        ("time,value\n", (*FLAGS, "--value", "value=a:" + "x" * 33), "unit must be"),
        ("time,value\n", (*FLAGS, "--value", "b=temperature"), "2 columns are to be temperature"),
        ("time,value\n", ("--node", "a/b", *FLAGS[2:]), "node 'a/b' must be"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_nothing_is_made(
    tmp_path: Path, text: str, flags: tuple[str, ...], says: str
) -> None:
    (tmp_path / "a.csv").write_text(text)
    failed = tmon(tmp_path, "import", "a.csv", *flags)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert says in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    assert not (tmp_path / "tmon.db").exists()


def test_a_deliberate_error_ends_the_command_with_1_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "gbk.csv").write_bytes("time,value,温度\n".encode("gbk"))
    for name, says in (("gbk.csv", "isn't UTF-8"), ("none.csv", "none.csv: No such file")):
        failed = tmon(tmp_path, "import", name, *FLAGS)
        assert failed.returncode == 1
        assert says in failed.stderr
        assert len(failed.stderr.splitlines()) == 1
        assert failed.stdout == ""
    assert not (tmp_path / "tmon.db").exists()


def test_whose_readings_they_are_must_be_said_once(tmp_path: Path) -> None:
    failed = tmon(tmp_path, "import", "a.csv", "--node-column", "node", *FLAGS)
    assert failed.returncode == 2
    assert "either --node or --node-column" in failed.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_middle_and_run_again_it_completes(tmp_path: Path, number: int) -> None:
    path = minutes(tmp_path / "a.csv", 200_000)
    process = start(tmp_path, path)
    wait_for(lambda: stored_some(tmp_path / "tmon.db"))
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode != 0, stderr
    assert "Traceback" not in stderr
    if number == signal.SIGINT:
        assert re.search(r"[0-9,]+ stored; run it again to go on$", stderr.strip())
    before = len(readings(tmp_path / "tmon.db"))
    assert 0 < before < 200_000
    again = tmon(tmp_path, "import", str(path), *FLAGS)
    assert summary_lines(again.stdout) == summary(200_000 - before, before, 0)
    with open_for_reading(tmp_path / "tmon.db") as db:
        assert consistent(db)


def test_another_writer_gets_in_beside_an_import(tmp_path: Path) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        process = start(tmp_path, minutes(tmp_path / "a.csv", 60_000))
        wait_for(lambda: stored_some(tmp_path / "tmon.db"))
        waits_s: list[float] = []
        while process.poll() is None:
            began_s = time.monotonic()
            nodes.find_or_make(db, f"live{len(waits_s)}")
            waits_s.append(time.monotonic() - began_s)
            time.sleep(0.005)
    assert summary_lines(process.communicate()[0]) == summary(60_000, 0, 0)
    assert len(waits_s) > 20
    assert statistics.median(waits_s) < 1  # some transactions of 15 ms, on a busy machine


def test_a_locked_database_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,value\n2020-01-01,1\n")
    with open_database(tmp_path / "tmon.db", create=True) as other:
        other.execute("begin immediate")
        free = threading.Timer(0.5, other.rollback)
        free.start()
        with open_database(tmp_path / "tmon.db") as db:
            db.execute("pragma busy_timeout = 20")  # so that the import's own patience is tried
            survey = import_file(db, tmp_path / "a.csv", **SAID)
        free.join()
    assert survey.tally.stored == 1


def test_a_full_disk_is_told_what_is_stored_stays_and_again_goes_on(tmp_path: Path) -> None:
    path = minutes(tmp_path / "a.csv", 20_000)
    with open_database(tmp_path / "tmon.db", create=True) as db:
        pages = db.execute("pragma page_count").fetchone()[0]
        db.execute(f"pragma max_page_count = {pages + 100}")
        with pytest.raises(CannotImport, match=r"full; .*run it again"):
            import_file(db, path, **SAID)
    before = len(readings(tmp_path / "tmon.db"))
    assert 0 < before < 20_000
    again = tmon(tmp_path, "import", str(path), *FLAGS)
    assert summary_lines(again.stdout) == summary(20_000 - before, before, 0)


def test_a_revoked_node_can_still_be_imported_into(tmp_path: Path) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        nodes.find_or_make(db, "shed")
        tokens.revoke(db, "shed")
    (tmp_path / "a.csv").write_text("time,value\n2020-01-01,1\n")
    assert summary_lines(tmon(tmp_path, "import", "a.csv", *FLAGS).stdout) == summary(1, 0, 0)
