"""Files in the shape of real exports: each is stored as it is meant, or refused in words."""

import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.importing.importing import readings
from tmon.cli.main import main

FILES = Path(__file__).parents[1] / "import_files"


@dataclass(frozen=True)
class Case:
    """A file, its flags, and the expected result.

    ``expected`` are the readings: node, sensor, time without its seconds if they are 0, value.
    ``error`` must be in the output; if ``expected`` is empty, the file is refused with it.
    """

    file: str
    flags: str
    expected: str = ""
    error: str = ""


STORED = [
    Case("aioe.csv", "--node n --no-header --time 1 --value 3=power:W",
         "n power 2024-05-23T08:45:21 123.9629"),
    Case("cell-newline.csv", "--node n --time time --value Temp=temperature:°C",
         "n temperature 2023-02-01T14:00 21.5; n temperature 2023-02-01T14:10 21.6"),
    Case("cr-only.csv", "--node n --yes",
         "n temperature 2023-02-01T14:00 21.5; n temperature 2023-02-01T14:10 21.6"),
    Case("date-and-time-columns.csv", "--node n --time Date --time Time --value Min=voltage:V",
         "n voltage 2025-10-29T00:00 13.28; n voltage 2025-10-29T01:00 13.27;"
         "n voltage 2025-10-29T02:00 13.2; n voltage 2025-10-30T00:00 13.1"),
    Case("date-and-time-columns.csv", "--node n --time Date --value Min=voltage:V",
         "n voltage 2025-10-29T00:00 13.28; n voltage 2025-10-29T01:00 13.27;"
         "n voltage 2025-10-29T02:00 13.2; n voltage 2025-10-30T00:00 13.1",
         "'Date' holds days: 'Time' is joined to it"),
    Case("date-desc.csv", "--node n --time Date --value temp=temperature:°C",
         "n temperature 2025-10-29T23:50 7.0; n temperature 2025-10-30T00:10 8.0;"
         "n temperature 2025-10-30T12:00 15.0; n temperature 2025-10-30T23:50 9.1"),
    Case("ddmmyyyyhhmm.csv",
         "--node n --time time --time-format %d%m%Y%H%M --value temp=temperature:°C",
         "n temperature 2023-07-22T12:10 21.6; n temperature 2023-07-31T12:00 21.5"),
    Case("dmy.csv", "--node n --time time --time-format '%d.%m.%Y %H:%M' --value temp=temperature",
         "n temperature 2023-06-01T13:00 21.5"),
    Case("ds18b20-history.csv",
         "--node n --time time --value temp=temperature:°C --missing 85 --missing 999.9",
         "n temperature 2023-06-01T13:00 21.5; n temperature 2023-06-01T13:15 -0.0625",
         "value -127 °C means that no chip answered"),
    Case("ds18b20-history.csv", "--node n --time time --value temp=temperature:°C --missing 999.9",
         "n temperature 2023-06-01T13:00 21.5; n temperature 2023-06-01T13:15 -0.0625",
         "temperature is 85 in 1 row, a DS18B20's value after power-on"),
    Case("dst-berlin.csv",
         "--node n --time time --value temp=temperature:°C --tz Europe/Berlin",
         "n temperature 2023-10-28T23:30 1.0; n temperature 2023-10-29T00:00 2.0;"
         "n temperature 2023-10-29T00:30 3.0; n temperature 2023-10-29T01:00 4.0;"
         "n temperature 2023-10-29T01:30 5.0; n temperature 2023-10-29T02:00 6.0;"
         "n temperature 2024-03-31T00:30 7.0; n temperature 2024-03-31T01:30 9.0",
         "skipped_time: 1, such as line 9"),
    Case("dst-desc.csv",
         "--node n --time time --value temp=temperature:°C --tz Europe/Berlin",
         "n temperature 2023-10-28T23:30 1.0; n temperature 2023-10-29T00:00 2.0;"
         "n temperature 2023-10-29T00:30 3.0; n temperature 2023-10-29T01:00 4.0;"
         "n temperature 2023-10-29T01:30 5.0; n temperature 2023-10-29T02:00 6.0;"
         "n temperature 2024-03-31T00:30 7.0; n temperature 2024-03-31T01:30 9.0",
         "4 rows in an hour that came twice (2023-10-29)"),
    Case("dst-gap-file-start.csv",
         "--node n --time time --value temp=temperature:°C --tz Europe/Berlin",
         "n temperature 2023-10-29T00:00 4.0; n temperature 2023-10-29T00:30 5.0;"
         "n temperature 2023-10-29T02:00 6.0",
         "2 rows in an hour that came twice (2023-10-29)"),
    Case("dup-header.csv", "--node n --time time --value Temp#2=temperature:°F",
         "n temperature 2023-02-01T14:00 21.5"),
    Case("dwd-rain-daily.csv", "--node n --time MESS_DATUM --value R1=rain:mm --missing -999",
         "n rain 2023-01-01T00:00 0.4", "missing_value rain: 1"),
    Case("dwd-tu-hourly.csv",
         "--node n --time MESS_DATUM --value TT_TU=temperature:°C --value RF_TU=humidity:%",
         "n humidity 2023-01-01T00:00 100.0; n temperature 2023-01-01T00:00 -1.9"),
    Case("ebam.csv", "--node n --time time --value 'AT(C)=temperature'",
         "n temperature 2018-06-13T17:00 25.7"),
    Case("epoch-mixed.csv", "--node n --time time --value temp=temperature:°C",
         "n temperature 2023-07-04T12:00 21.5; n temperature 2023-07-04T12:10 21.6;"
         "n temperature 2023-07-04T12:20 21.7; n temperature 2023-07-04T12:30 21.8;"
         "n temperature 2023-07-04T12:40:00.500 21.9; n temperature 2023-07-04T12:50 22.0",
         "invalid_time: 1, such as line 8: time '1_688_476_000'"),
    Case("excel-sep-line.csv", "--node n --time Zeit --value Temp=temperature:°C",
         "n temperature 2023-02-01T14:00 21.5"),
    Case("german-cp1252-iso.csv", "--node n --yes --decimal ,",
         "n pressure 2023-02-01T14:00 1013.2; n pressure 2023-02-01T14:10 1013.1;"
         "n strom 2023-02-01T14:00 1250.0; n strom 2023-02-01T14:10 980.0;"
         "n temperature 2023-02-01T14:00 21.5; n temperature 2023-02-01T14:10 21.6"),
    Case("german-thousands.csv",
         "--node n --tz Europe/Berlin --decimal , --time Zeit --value 'Strom [W]=power:W'"
         " --value 'Luftdruck [hPa]=pressure:hPa'",
         "n power 2023-02-01T13:00 1250.0; n power 2023-02-01T13:10 980.0;"
         "n pressure 2023-02-01T13:00 1013.2; n pressure 2023-02-01T13:10 1013.1"),
    Case("german-utf16.csv", "--node n --time Zeit --value 'Temperatur [°C]=temperature:°C'",
         "n temperature 2023-02-01T14:00 21.5; n temperature 2023-02-01T14:10 21.6"),
    Case("ghcn-daily.csv", "--node-column STATION --time DATE --value TMAX=tmax:0.1°C",
         "USW00014837 tmax 2023-06-01T00:00 29.4"),
    Case("govee.csv", "--node bed --yes",
         "bed humidity 2026-08-06T09:22 53.7; bed humidity 2026-08-06T09:37 63.4;"
         "bed temperature 2026-08-06T09:22 24.6111; bed temperature 2026-08-06T09:37 20.0"),
    Case("grafana-formatted.csv", "--node n --time Time --value cellar=temperature",
         "n temperature 2023-06-01T13:00 21.5; n temperature 2023-06-01T13:05 21.6"),
    Case("grafana-raw.csv", "--node n --time Time --value cellar=temperature:°C",
         "n temperature 2023-06-01T13:00 21.5", "missing_value temperature: 1"),
    Case("ha-decimal-comma.csv", "--node n --time time --value temp=temperature --decimal ,",
         "n temperature 2023-02-01T14:00 275.69"),
    Case("ha-decimal-comma.csv", "--node n --time time --value temp=temperature:K --decimal ,",
         "n temperature 2023-02-01T14:00 2.54"),
    Case("header-newline.csv",
         "--node n --time time --value 'Temp\n(°C)=temperature:°C'",
         "n temperature 2023-02-01T14:00 21.5; n temperature 2023-02-01T14:10 21.6"),
    Case("heatermeter-noheader.csv", "--node n --no-header --time 1 --value 3=temperature:°C",
         "n temperature 2019-03-24T10:48 14.45; n temperature 2019-03-24T10:49 12.35"),
    Case("hobo.csv", "--node cellar --yes",
         "cellar humidity 2023-06-01T20:00 45.2; cellar humidity 2023-06-01T20:15 45.1;"
         "cellar temperature 2023-06-01T20:00 21.485; cellar temperature 2023-06-01T20:15 21.51",
         "06/01/23 01:00:00 PM (month/day/year)"),
    Case("homeassistant.csv", "--node cellar --yes",
         "cellar humidity 2025-08-31T22:00 55.0; cellar humidity 2025-08-31T23:00 56.0;"
         "cellar temperature 2025-08-31T22:00 21.5; cellar temperature 2025-08-31T23:00 21.6",
         "missing_value temperature: 2"),
    Case("homeassistant.csv",
         "--node cellar --time last_changed --sensor-column entity_id --value-column state"
         " --sensor 'sensor.cellar_temperature=air:°F'",
         "cellar air 2025-08-31T22:00 -5.8333; cellar air 2025-08-31T23:00 -5.7778",
         "2 rows of 'sensor.cellar_humidity', which no --sensor names: skipped"),
    Case("influx-csv-ns.csv", "--node n --time time --value temperature=temperature:°C",
         "n temperature 2019-05-02T16:12:41.098 21.5; n temperature 2019-05-02T16:12:51.098 21.6"),
    Case("isd.csv", "--node-column STATION --time DATE --value TMP=temperature:°C",
         "72528014733 temperature 2023-06-01T00:54 23.3"),
    Case("iso-variants.csv", "--node n --time time --value temp=temperature:°C",
         "n temperature 2023-06-01T11:00 1.0; n temperature 2023-06-01T12:00 3.0;"
         "n temperature 2023-06-01T13:00:00.123 4.0; n temperature 2023-06-01T15:00 5.0;"
         "n temperature 2023-06-02T00:00 8.0; n temperature 2023-07-01T13:00 12.0;"
         "n temperature 2023-07-20T19:01 6.0"),
    Case("leading-blank.csv", "--node n --time time --value temp=temperature:°C",
         "n temperature 2023-02-01T14:00 21.5"),
    Case("meteostat-bulk.csv",
         "--node n --no-header --time 1 --time 2 --value 3=temperature:°C",
         "n temperature 2023-06-01T00:00 12.3; n temperature 2023-06-01T01:00 12.1"),
    Case("netatmo.csv", "--node n --time Timestamp --value Temperature=temperature:°C",
         "n temperature 2023-07-04T12:00 21.5; n temperature 2023-07-04T12:05 21.6"),
    Case("pipe.csv", "--node n --time time --value temp=temperature:°C",
         "n temperature 2023-02-01T14:00 21.5"),
    Case("pvvx.csv", "--node n --time 'Time-Data=(A2/86400)+25569' --value Temp=temperature:°C",
         "n temperature 2023-07-04T12:00 21.55"),
    Case("repeated-header.csv", "--node n --time time --value temp=temperature:°C",
         "n temperature 2023-02-01T14:00 21.5; n temperature 2023-02-01T14:10 21.6;"
         "n temperature 2023-02-01T14:20 21.7", "invalid_time: 1, such as line 9: time 'Total'"),
    Case("ruuvi-android.csv",
         "--node n --time Timestamp --value 'Temperature (°F)=temperature'",
         "n temperature 2021-04-17T17:10:45 12.05"),
    Case("sensor-community-bme280.csv",
         "--node-column sensor_id --time timestamp --value temperature=temperature:°C"
         " --value pressure=pressure:Pa",
         "901 pressure 2026-03-01T00:01 980.1234; 901 pressure 2026-03-01T00:03:30 980.1001;"
         "901 temperature 2026-03-01T00:01 14.3; 901 temperature 2026-03-01T00:06 -145.75",
         "missing_value pressure: 1, such as line 4: pressure is unavailable"),
    Case("sensor-community-sds011.csv",
         "--node-column sensor_id --time timestamp --value P1=pm10:µg/m³",
         "902 pm10 2026-03-01T00:01 11.0; 902 pm10 2026-03-01T23:58 10.0"),
    Case("short-rows.csv",
         "--node n --time time --value temperature=temperature:°C --value humidity=humidity:%"
         " --value BMP280_pressure=pressure:Pa",
         "n humidity 2019-02-17T11:32:31 42.9; n pressure 2019-02-17T11:32:31 934.0906;"
         "n pressure 2019-02-17T11:42:31 934.3638; n temperature 2019-02-17T11:32:31 22.6",
         "such as line 3: it has 4 cells, and the first line names 6 columns"),
    Case("tab-decimal-comma.csv", "--node n --time time --value temp=temperature:°C",
         "n temperature 2023-02-01T14:00 21.5"),
    Case("thingspeak-iso.csv", "--node n --time created_at --value field1=temperature:°C",
         "n temperature 2021-02-18T21:46:23 12.6; n temperature 2021-02-18T21:46:43 12.4"),
    Case("thingspeak-iso.csv.gz", "--node n --time created_at --value field1=temperature:°C",
         "n temperature 2021-02-18T21:46:23 12.6; n temperature 2021-02-18T21:46:43 12.4"),
    Case("thingspeak.csv",
         "--node n --time created_at --value field1=temperature:°C --value field2=humidity:%",
         "n humidity 2021-02-18T21:46:23 69.7;"
         "n temperature 2021-02-18T21:46:23 12.6; n temperature 2021-02-18T21:46:43 12.4"),
    Case("trailing-delim.csv", "--node n --time time --value temp=temperature:°C",
         "n temperature 2023-02-01T14:00 21.5; n temperature 2023-02-01T14:10 21.6;"
         "n temperature 2023-02-01T14:20 21.7; n temperature 2023-02-01T14:30 21.8"),
    Case("us-ampm.csv",
         "--node n --time time --time-format '%m/%d/%Y %I:%M %p' --value temp=temperature:°F",
         "n temperature 2023-06-01T13:00 21.5", "invalid_time: 2, such as line 3"),
    Case("weatherlink.txt",
         "--node n --time Date --time Time --time-format '%d/%m/%y %I:%M%p'"
         " --value Out=temperature:°C",
         "n temperature 2023-06-01T00:00 18.3; n temperature 2023-06-01T12:30 28.3"),
    Case("weatherlink.txt",
         "--node n --time Date --time-format '%m/%d/%y %I:%M %p' --time Time"
         " --value 'Temp Out=temperature:°C'",
         "n temperature 2023-01-06T00:00 18.3; n temperature 2023-01-06T12:30 28.3"),
    Case("yymmddhhmm.csv",
         "--node n --time time --time-format %y%m%d%H%M --value temp=temperature:°C",
         "n temperature 2013-01-01T12:00 21.5; n temperature 2013-01-01T12:10 21.6"),
    Case("yyyymmddhhmmss.csv", "--node n --time time --value temp=temperature:°C",
         "n temperature 2023-07-04T12:00 21.5"),
]  # fmt: skip

REFUSED = [
    Case("aioe.csv", "--node n --yes", error="--no-header names columns by number"),
    Case("ddmmyyyyhhmm.csv", "--node n --time time --value temp=temperature:°C",
         error="310720231200 can be read in several ways: say --time-format '%d%m%Y%H%M' or '%s'"),
    Case("dmy.csv", "--node n --yes",
         error="say --time-format '%d.%m.%Y %H:%M' or '%m.%d.%Y %H:%M'"),
    Case("dup-header.csv", "--node n --time time --value Temp=temperature:°C",
         error="'Temp#1', 'Temp#2' say which"),
    Case("dup-header.csv", "--node n --time time --value Temp#2=temperature",
         error="'Temp#2' names no unit, and may be in °F"),
    Case("german-thousands.csv", "--node n --yes", error="--decimal , or --decimal . says which"),
    Case("german-utf16.csv", "--node n --yes", error="--decimal , or --decimal . says which"),
    Case("ghcn-daily.csv", "--node-column STATION --time DATE --value TMAX=tmax:°C",
         error="--value 'TMAX=tmax:0.1°C'"),
    Case("govee.csv", "--node n --time 'Timestamp for sample frequency every 15 min min'"
         " --value Temperature_Fahrenheit=temperature:°C",
         error="'Temperature_Fahrenheit' is in Fahrenheit, and --value says °C"),
    Case("ha-decimal-comma.csv", "--node n --time time --value temp=temperature",
         error="'temp' has commas in all cells, such as '275,69': --decimal , or --decimal . says"),
    Case("heatermeter-noheader.csv", "--node n --time 1 --value 3=temperature:°C",
         error="--no-header takes columns by number"),
    Case("hobo.csv", "--node n --yes --tz Etc/GMT-7", error="and --tz Etc/GMT-7: leave --tz out"),
    Case("homeassistant.csv",
         "--node-column entity_id --time last_changed --value state=temperature:°C",
         error="--sensor-column 'entity_id' --value-column 'state'"),
    Case("us-ampm.csv", "--node n --time time --value temp=temperature:°F",
         error="'06/01/2023 1:00 PM' can be read in several ways"),
    Case("weatherlink.txt", "--node n --time Date --value Out=temperature:°C",
         error="'01/06/23 12:00a' can be read in several ways"),
    Case("yymmddhhmm.csv", "--node n --time time --value temp=temperature:°C",
         error="1301011200 can be read in several ways"),
]  # fmt: skip


def import_case(folder: Path, case: Case) -> Result:
    return CliRunner().invoke(
        main,
        ["import", str(FILES / case.file), *shlex.split(case.flags), "--db", f"{folder}/tmon.db"],
    )


@pytest.mark.parametrize("case", STORED, ids=lambda case: f"{case.file} {case.flags}"[:60])
def test_a_file_is_stored_as_it_is_meant(tmp_path: Path, case: Case) -> None:
    done = import_case(tmp_path, case)
    assert done.exit_code == 0, done.output
    assert shown(tmp_path / "tmon.db") == [row.strip() for row in case.expected.split(";")]
    assert case.error in " ".join(done.output.split())


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case.file} {case.flags}"[:60])
def test_what_cannot_be_told_is_refused_with_the_flag_that_settles_it(
    tmp_path: Path, case: Case
) -> None:
    done = import_case(tmp_path, case)
    assert done.exit_code == 1, done.output
    assert case.error in " ".join(done.output.split())
    assert not (tmp_path / "tmon.db").exists() or not readings(tmp_path / "tmon.db")


def test_every_file_is_tried() -> None:
    assert {case.file for case in STORED} == {path.name for path in FILES.iterdir()}


def shown(path: Path) -> list[str]:
    """Readings as the cases have them: times to the minute, values to four places."""
    return [
        f"{node} {sensor} {at.removesuffix('Z').removesuffix('.000').removesuffix(':00')}"
        f" {round(value, 4)}"
        for node, sensor, at, value in readings(path)
    ]
