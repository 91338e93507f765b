"""A reading travels from a node to a published table, on real input."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.station import Process, Station, answers, hourly_equals_raw, tmon, wait_for
from tmon.core.reading import instant_ms
from tmon.db.connect import open_for_reading

ROOT = Path(__file__).parent.parent
CLIENT = ROOT / "client" / "client.py"
YEAR = ROOT / "data" / "ambient_temperature.csv"


def history() -> list[tuple[int, float]]:
    """Unix milliseconds and °F of each row of the file; its times are taken for UTC."""
    with YEAR.open(newline="") as file:
        return [
            (instant_ms(f"{row['timestamp']}+00:00"), float(row["value"]))
            for row in csv.DictReader(file)
        ]


def equals_the_file(station_db: Path) -> None:
    celsius = [(fahrenheit - 32) * 5 / 9 for _, fahrenheit in history()]
    with open_for_reading(station_db) as db:
        count, total, lowest, highest = db.execute(
            "select count(*), sum(value), min(value), max(value) from readings"
        ).fetchone()
        assert (count, lowest, highest) == (7267, min(celsius), max(celsius))
        assert total == pytest.approx(sum(celsius), rel=1e-12)
        assert hourly_equals_raw(db)
        by_day = db.execute("select day, n, min, max, mean from daily order by day").fetchall()
        raw = db.execute(
            "select date(measured_at), count(*), min(value), max(value), avg(value)"
            " from readings group by 1 order by 1"
        ).fetchall()
        assert [day[:4] for day in by_day] == [day[:4] for day in raw]
        assert [day[4] for day in by_day] == pytest.approx([day[4] for day in raw], rel=1e-9)


def test_a_year_of_real_readings_by_http_and_again_by_import(station: Station) -> None:
    readings = [
        {"value": fahrenheit, "unit": "°F", "measured_ms": at} for at, fahrenheit in history()
    ]
    for start in range(0, len(readings), 500):
        answer = station.post(readings[start : start + 500], node="demo")
        assert (answer.status_code, answer.json()["rejected"]) == (201, [])
    equals_the_file(station.path)
    arguments = ["--node", "demo", "--time", "timestamp", "--value", "value=temperature:°F"]
    again = tmon(station.path.parent, "import", str(YEAR), *arguments)
    assert "already there        7,267" in again.stdout
    equals_the_file(station.path)


def a_thermometer(sysfs: Path) -> None:
    chip = sysfs / "bus" / "w1" / "devices" / "28-0316a2f2c3ff"
    chip.mkdir(parents=True)
    (chip / "w1_slave").write_text(
        "72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n"
    )


def test_from_a_pi_to_a_published_table(tmp_path: Path) -> None:
    token = tmon(tmp_path, "token", "get", "basement").stdout.strip()
    a_thermometer(tmp_path / "sys")
    server = Process(tmp_path, "serve", "--port", "0", "--datasette-port", "0")
    try:
        urls = server.addresses(2)
        environ = {
            **os.environ,
            "TMON_URL": urls["ingest"],
            "TMON_TOKEN": token,
            "TMON_SYSFS": str(tmp_path / "sys"),
            "TMON_SPOOL": str(tmp_path / "spool.db"),
            "TMON_JITTER_S": "0",
        }
        wait_for(lambda: answers(f"{urls['ingest']}/healthz"))
        sent = subprocess.run(
            [sys.executable, str(CLIENT)],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (sent.returncode, sent.stdout, sent.stderr) == (0, "", "")
        pages = f"{urls['datasette']}/tmon/readings"
        [row] = requests.get(f"{pages}.json?_shape=objects&_labels=on", timeout=60).json()["rows"]
        assert row["sensor"]["label"] == "basement temperature:28-0316a2f2c3ff"
        assert row["value"] == 23.125
        page = requests.get(pages, timeout=60).text
        assert "23.1\N{NO-BREAK SPACE}°C" in page
        lines = requests.get(f"{pages}.csv", timeout=60).text.splitlines()
        assert lines[0] == "sensor,measured_ms,value,measured_at"
        assert lines[1].split(",")[2] == "23.125"
        asked = requests.get(
            f"{urls['datasette']}/tmon/-/query.json",
            params={"sql": "select max(value) as m from readings", "_shape": "array"},
            timeout=60,
        )
        assert asked.json() == [{"m": 23.125}]
        assert token.rpartition(".")[2] not in json.dumps(asked.text) + page
    finally:
        server.kill()
