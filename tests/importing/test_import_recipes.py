"""Each recipe of docs/import.md is run, on an invented file."""

import csv
import re
import shlex
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.importing.importing import readings
from tmon.cli.main import main

RECIPES = Path(__file__).parents[1] / "import_recipes"
DOCS = (Path(__file__).parents[2] / "docs" / "import.md").read_text()
COMMANDS = dict.fromkeys(re.findall(r"^tmon import (\S+ .*)$", DOCS, re.MULTILINE))

RIGHT = {
    "hobo.csv": {("temperature", 21.485), ("humidity", 45.2)},
    "govee.csv": {("temperature", 20.0), ("humidity", 53.7)},
    "inkbird.csv": {("temperature", 21.5), ("humidity", 45.1)},
    "sensorpush.csv": {("temperature", 20.0), ("humidity", 45.2)},
    "ruuvi.csv": {("temperature", 12.05), ("humidity", 48.31), ("pressure", 991.73), ("rssi", -80)},
    "feeds.csv": {("temperature", 12.6), ("humidity", 69.7)},
    "adafruit.csv": {("temperature", 21.5)},
    "emoncms.csv": {("power", 245)},
    "history.csv": {("temperature", 21.5), ("humidity", 55)},
    "statistics.csv": {("temperature", 21.5), ("humidity", 45)},
    "ha-db.csv": {("temperature", 21.5)},
    "influx.csv": {("temperature", 21.5), ("humidity", 45)},
    "grafana.csv": {("temperature", 21.5)},
    "weewx.csv": {("temperature", 20.0), ("humidity", 45), ("pressure", 29.92)},
    "opensensemap.csv": {("temperature", 21.5), ("humidity", 45)},
    "2026-03-01_bme280_sensor_901.csv": {
        *(("temperature", 14.3), ("humidity", 52.8), ("pressure", 980.1234)),
    },
    "produkt_tu_stunde.txt": {("temperature", -1.9), ("humidity", 100)},
    "ghcn.csv": {("tmax", 29.4), ("rain", 2.5)},
    "isd-lite.txt": {("temperature", 3.9), ("pressure", 1013.2)},
    "isd.csv": {("temperature", 23.3), ("dew_point", 11.1), ("pressure", 1013.2)},
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_recipe_stores_what_its_file_says(tmp_path: Path, command: str) -> None:
    file, *said = shlex.split(command)
    path = RECIPES / file
    done = CliRunner().invoke(
        main, ["import", str(path), *said, "--yes", "--db", f"{tmp_path}/tmon.db"]
    )
    assert done.exit_code == 0, done.output
    stored = readings(tmp_path / "tmon.db")
    first = {sensor: value for _, sensor, _, value in reversed(stored)}
    assert {(sensor, round(value, 4)) for sensor, value in first.items()} == RIGHT[file]


def test_every_file_has_its_recipe() -> None:
    assert {command.split()[0] for command in COMMANDS} == set(RIGHT)
    assert {path.name for path in RECIPES.iterdir()} == set(RIGHT)


def test_the_query_of_home_assistants_database_makes_the_recipes_file() -> None:
    [query] = re.findall(r'home-assistant_v2.db "(select .*)" > ha-db.csv', DOCS)
    db = sqlite3.connect(":memory:")
    db.executescript("""
        create table states_meta (metadata_id integer primary key, entity_id text);
        create table states (state_id integer primary key, state text, last_updated_ts real,
            metadata_id integer);
        insert into states_meta values (1, 'sensor.cellar_temperature'), (2, 'sensor.attic');
        insert into states values (1, '21.5', 1685613600.25, 1), (2, '9', 1685613600.25, 2);
    """)
    rows = db.execute(query)
    header = [column[0] for column in rows.description]
    with (RECIPES / "ha-db.csv").open(newline="") as file:
        assert [*csv.reader(file)] == [header, *[[*map(str, row)] for row in rows]]
    db.close()
