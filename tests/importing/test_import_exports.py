"""What loggers, apps and services export: each file goes in as a newcomer tries it, or is refused.

The files are invented, in the shape of real exports. Where one is refused, the answer's flags work.
"""

import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner, Result

from tmon.cli.main import main
from tmon.db.connect import open_for_reading

EXPORTS = Path(__file__).parents[1] / "import_exports"
FIRST = """select node, name, coalesce(unit, '-'), substr(min(measured_at), 6, 11), value
    from readings join sensors on sensors.id = readings.sensor group by sensor
    order by node, name"""


class Export(NamedTuple):
    """A file, its flags, and each sensor's unit and first reading; or the refusal."""

    file: str
    flags: str
    right: str


STORED = [
    Export("hoboconnect-eu.csv", "--tz Europe/Berlin",
           "ch_1_temperature °C 06-13T11:00 21.54; ch_2_rh % 06-13T11:00 45.1; "
           "dew_point °C 06-13T11:00 9.1"),
    Export("hoboconnect-us.csv", "--tz America/New_York",
           "dew_point °C 06-13T17:00 9.5; humidity % 06-13T17:00 45.1; "
           "temperature °C 06-13T17:00 21.9667"),
    Export("hobolink.csv", "",
           "humidity % 06-13T13:00 45; temperature °C 06-13T13:00 21.5"),
    Export("govee-new.csv", "",
           "humidity % 06-13T13:00 45.1; pm2_5 µg/m³ 06-13T13:00 3; "
           "temperature °C 06-13T13:00 21.5"),
    Export("inkbird-f.csv", "",
           "humidity % 06-13T13:00 45.1; temperature °C 06-13T13:00 22"),
    Export("sensorpush-gw.csv", "",
           "humidity % 06-13T13:00 45.1; temperature °C 06-13T13:00 22; vpd hPa 06-13T13:00 12"),
    Export("lascar-wifi.csv", "",
           "temperature °C 06-13T13:00 21.5"),
    Export("testo-de.csv", "--time-format '%d.%m.%Y %H:%M:%S'",
           "humidity % 06-01T13:00 45.1; temperature °C 06-01T13:00 21.5"),
    Export("testo-comsoft.csv", "",
           "c_1 °C 06-13T13:00 21.5; c_2 % 06-13T13:00 45.1"),
    Export("elitechlog.csv", "",
           "temperature °C 06-13T13:00 21.5"),
    Export("tempmate.csv", "",
           "temperature °C 06-13T13:00 4.5"),
    Export("fluke-2638.csv", "",
           "101 °C 06-13T13:00 21.512; 102 °C 06-13T13:00 22.1"),
    Export("fluke-connect.csv", "--time 'Start Time' --value Average=temperature",
           "temperature °C 06-13T13:00 21.5"),
    Export("davis-com.csv", "--tz America/New_York",
           "humidity % 06-13T04:00 85; inside_temp °C 06-13T04:00 22; "
           "pressure in Hg 06-13T04:00 29.92; rain in 06-13T04:00 0.01; "
           "temperature °C 06-13T04:00 13; wind_speed mph 06-13T04:00 3"),
    Export("awair.csv", "",
           "co2 ppm 06-13T12:00 612; dew_point - 06-13T12:00 9.1; "
           "humidity % 06-13T12:00 45.1; pm25 - 06-13T12:00 5; score - 06-13T12:00 85; "
           "temperature °C 06-13T12:00 21.5; voc - 06-13T12:00 200"),
    Export("aranet-us.csv", "",
           "atmospheric_pressure hPa 06-01T13:00 1013.2; co2 ppm 06-01T13:00 612; "
           "humidity % 06-01T13:00 45; temperature °C 06-01T13:00 22"),
    Export("airthings.csv", "",
           "co2 ppm 06-13T12:00 612; humidity % 06-13T12:00 45; "
           "pressure hPa 06-13T12:00 1013.2; radon_short_term_avg Bq/m3 06-13T12:05 48; "
           "temperature °C 06-13T12:00 21.5; voc ppb 06-13T12:00 200"),
    Export("shelly-em.csv", "",
           "active_energy Wh 06-13T12:00 12.3; max_v - 06-13T12:00 231.5; "
           "min_v - 06-13T12:00 228.1; returned_energy Wh 06-13T12:00 0"),
    Export("shelly-pro3em.csv", "",
           "a_avg_voltage - 06-13T11:00 230.1; a_max_act_power - 06-13T11:00 740.1; "
           "a_total_act_energy - 06-13T11:00 12.3416; n_max_current - 06-13T11:00 0.31"),
    Export("tuya.csv", "",
           "humidity % 06-13T13:00 45; temperature °C 06-13T13:00 21.5"),
    Export("excel-de.csv", "--time-format '%d.%m.%Y %H:%M'",
           "humidity % 06-01T13:00 45; temperature °C 06-01T13:00 21.5"),
    Export("excel-de-13.csv", "",
           "humidity % 06-13T13:00 45; pressure hPa 06-13T13:00 1013.2; "
           "temperature °C 06-13T13:00 21.5"),
    Export("excel-fr.csv", "",
           "humidity % 06-13T13:00 45; temperature °C 06-13T13:00 21.5"),
    Export("excel-ch-2.csv", "",
           "leistung W 06-13T13:00 1234; temperature °C 06-13T13:00 21.5"),
    Export("excel-us.csv", "",
           "humidity % 06-13T13:00 45.1; temperature °C 06-13T13:00 22"),
    Export("grafana-series.csv", "",
           "attic - 06-13T11:00 25.5; cellar - 06-13T11:00 21.5"),
    Export("grafana-joined.csv", "",
           "attic °C 06-13T13:00 19; cellar °C 06-13T13:00 21.5"),
    Export("grafana-ms.csv", "",
           "temperature_attic °C 06-13T11:00 19; temperature_cellar °C 06-13T11:00 21.5"),
    Export("influx-2-tables.csv", "",
           "co2 ppm 06-13T12:00 612; humidity % 06-13T12:00 45; "
           "temperature °C 06-13T12:00 21.5"),
    Export("influx-2-tables-diff.csv", "",
           "temperature °C 06-13T12:00 21.5"),
    Export("influx1.csv", "",
           "humidity % 06-13T11:00 45; temperature °C 06-13T11:00 21.5"),
    Export("influx1-tags.csv", "--node-column tags",
           "room_attic/env - 06-13T11:00 25.5; room_cellar/env - 06-13T11:00 21.5"),
    Export("prom.csv", "",
           "node_hwmon_temp_celsius °C 06-13T11:00 41.5"),
    Export("prom-quoted.csv", "",
           "name_temp_celsius °C 06-13T12:00 41.5"),
    Export("ha-history.csv", "",
           "cellar_humidity % 06-13T12:05 45; cellar_temperature °C 06-13T12:05 21.5"),
    Export("ha-stats.csv", "",
           "cellar_temperature °C 06-13T12:00 21.5"),
    Export("ha-stats-2.csv", "",
           "cellar_humidity % 06-13T12:00 45; cellar_temperature °C 06-13T12:00 21.5"),
    Export("dwd-solar.csv", "",
           "atmo_lberg - 06-01T00:03 114; fd_lberg - 06-01T00:03 0; fg_lberg - 06-01T00:03 0; "
           "sd_lberg - 06-01T00:03 0; zenit - 06-01T00:03 142.33"),
    Export("dwd-wind.csv", "",
           "d - 01-01T00:00 230; f - 01-01T00:00 7.3"),
    Export("dwd-10min.csv", "",
           "rf_10 - 06-01T00:00 85; td_10 - 06-01T00:00 8.1; tm5_10 - 06-01T00:00 9.8; "
           "tt_10 - 06-01T00:00 10.5"),
    Export("isd-lite.csv",
           "--no-header --time 1 --time 2 --time 3 --time 4 --time-format '%Y %m %d %H' "
           "--value 5=temperature:0.1°C --value 7=pressure:0.1hPa --missing -9999",
           "pressure hPa 01-01T00:00 1013.2; temperature °C 01-01T00:00 3.9"),
    Export("ghcn-by-station.csv",
           "--no-header --time 2 --sensor-column 3 --value-column 4 --sensor TMAX=tmax:0.1°C"
           " --sensor TMIN=tmin:0.1°C",
           "tmax °C 01-01T00:00 27.8; tmin °C 01-01T00:00 15.1"),
    Export("ghcnh-psv.csv",
           "--time Year --time Month --time Day --time Hour --time Minute --time-format '%Y "
           "%m %d %H %M'",
           "dew_point_temperature °C 01-01T00:51 11.1; temperature °C 01-01T00:51 12.8"),
    Export("meteoswiss-ogd.csv", "",
           "rre150h0 - 01-13T00:00 0; tre200h0 - 01-13T00:00 1.2; ure200h0 - 01-13T00:00 85.1"),
    Export("meteoswiss-old.csv", "",
           "tre200h0 - 01-01T00:00 1.2; ure200h0 - 01-01T00:00 85.1"),
    Export("opensensemap-archive.csv", "",
           "value - 06-13T12:00 21.5"),
    Export("weewx.csv", "",
           "inhumidity % 06-13T11:00 45; intemp - 06-13T11:00 71.6; "
           "outhumidity % 06-13T11:00 85; outtemp - 06-13T11:00 55.4; "
           "pressure - 06-13T11:00 29.92; rain - 06-13T11:00 0; windspeed - 06-13T11:00 3"),
    Export("weewx-metric.csv", "",
           "intemp - 06-13T11:00 21.6; outtemp - 06-13T11:00 15.4; "
           "pressure hPa 06-13T11:00 1013.2"),
    Export("ecowitt-sd.csv", "",
           "abs_pressure hPa 06-13T00:05 1003.2; indoor_humidity % 06-13T00:05 45; "
           "indoor_temperature °C 06-13T00:05 21.5; outdoor_humidity % 06-13T00:05 85; "
           "outdoor_temperature °C 06-13T00:05 12.3; rain_rate mm/hr 06-13T00:05 0; "
           "wind m/s 06-13T00:05 1.2"),
    Export("ecowitt-net.csv", "",
           "feels_like °C 06-13T00:00 13; humidity_4 % 06-13T00:00 85; "
           "humidity_6 % 06-13T00:00 45; temperature_2 °C 06-13T00:00 13; "
           "temperature_5 °C 06-13T00:00 22"),
    Export("ambient.csv", "",
           "feels_like °C 06-13T05:00 13; humidity % 06-13T05:00 85; "
           "outdoor_temperature °C 06-13T05:00 13; relative_pressure inHg 06-13T05:00 29.92; "
           "wind_direction ° 06-13T05:00 270"),
    Export("wunder.csv", "--tz America/Chicago",
           "dew_point °C 06-13T05:04 9.5; humidity % 06-13T05:04 85; "
           "precip_rate in 06-13T05:04 0; pressure in 06-13T05:04 29.92; "
           "speed mph 06-13T05:04 3; temperature °C 06-13T05:04 13"),
    Export("emporia.csv", "",
           "mains_a - 06-13T04:00 0.12; mains_b - 06-13T04:00 0.31"),
    Export("sma.csv", "",
           "power_analog kW 06-01T00:00 0; total_yield_counter kWh 06-01T00:00 1234.57"),
    Export("fronius.csv", "",
           "energie_symo_10_0 Wh 06-01T00:00 0; leistung W 06-01T00:00 0"),
    Export("ecobee.csv", "",
           "current_humidity % 06-13T00:00 45; current_temp °C 06-13T00:00 22; "
           "outdoor_temp °C 06-13T00:00 13"),
    Export("tempstick.csv", "",
           "humidity % 06-13T13:00 45; temperature °C 06-13T13:00 22"),
    Export("kestrel.csv", "",
           "humidity % 06-13T13:00 45.1; temperature °C 06-13T13:00 22"),
    Export("ubibot.csv", "",
           "field1 - 06-13T11:00 21.5; field2 - 06-13T11:00 45"),
    Export("ruuvi-ios.csv", "--time ISO8601",
           "acceleration_x g 06-13T11:00 0.012; humidity % 06-13T11:00 45; "
           "measurement_sequence_number - 06-13T11:00 1234; "
           "movement_counter - 06-13T11:00 12; pressure hPa 06-13T11:00 1013.2; "
           "rssi dBm 06-13T11:00 -60; temperature °C 06-13T11:00 21.5; "
           "tx_power dBm 06-13T11:00 4; voltage V 06-13T11:00 2.98"),
    Export("vrm.csv", "",
           "current A 06-13T11:00 2.1; input_voltage V 06-13T11:00 12.1; "
           "voltage V 06-13T11:00 13.21"),
    Export("ttn-csv.csv", "--node-column device_id",
           "node-1/decoded_payload_humidity % 06-13T12:00 45; "
           "node-1/decoded_payload_temperature °C 06-13T12:00 21.5; "
           "node-1/f_port - 06-13T12:00 1; node-1/rssi - 06-13T12:00 -97; "
           "node-2/decoded_payload_humidity % 06-13T12:15 45; "
           "node-2/decoded_payload_temperature °C 06-13T12:15 11.5; "
           "node-2/f_port - 06-13T12:15 1; node-2/rssi - 06-13T12:15 -97"),
    Export("chirpstack.csv", "",
           "object_humidity % 06-13T12:00 45; object_temperature °C 06-13T12:00 21.5"),
    Export("vaisala.csv", "",
           "cellar_rh % 06-13T12:00 45.1; cellar_t °C 06-13T12:00 21.5"),
    Export("rotronic.csv", "",
           "humidity % 06-13T13:00 45.1; temperature °C 06-13T13:00 21.5"),
    Export("mi-home.csv", "",
           "humidity_max - 06-13T13:00 46; humidity_min - 06-13T13:00 44; "
           "temperature_max °C 06-13T13:00 21.9; temperature_min °C 06-13T13:00 21.1"),
    Export("pvvx-dump.csv", "",
           "humidity % 06-13T13:00 45.12; temperature °C 06-13T13:00 21.53; "
           "vbat V 06-13T13:00 2.951"),
    Export("homematic.csv", "",
           "Keller_Luftfeuchte - 06-13T13:00 45; Keller_Temperatur - 06-13T13:00 21.5"),
    Export("knx.csv", "--sensor-column Gruppenadresse --value-column Wert",
           "1/2/3 °C 06-13T13:00 21.5; 1/2/4 % 06-13T13:00 45"),
    Export("iobroker.csv", "",
           "val - 06-13T11:00 21.5"),
    Export("openhab.csv", "",
           "Cellar_Humidity % 06-13T11:05 45; Cellar_Temperature °C 06-13T11:00 21.5"),
    Export("domoticz.csv", "",
           "humidity % 06-13T00:00 45; temperature_avg °C 06-13T00:00 21.5; "
           "temperature_max °C 06-13T00:00 22.9; temperature_min °C 06-13T00:00 20.1"),
    Export("rtl-433.csv", "",
           "humidity % 06-13T13:00 45; temperature °C 06-13T13:00 21.5"),
    Export("thermobeacon.csv", "",
           "humidity % 06-13T13:00 45.1; temperature °C 06-13T13:00 22"),
    Export("logtag.csv", "",
           "humidity % 06-13T13:00 45.1; temperature °C 06-13T13:00 21.5"),
    Export("onset-excel-decimals.csv", "",
           "temperature °C 06-13T13:00 21.5"),
    Export("dickson.csv", "",
           "ch1 °C 06-13T13:00 22; ch2 % 06-13T13:00 45.1"),
]  # fmt: skip

REFUSED = [
    Export("hoboconnect-eu.csv", "",
           "'Date-Time (CEST)' names CEST, which isn't one offset only: --tz says which, "
           "such as America/New_York or -04:00"),
    Export("testo-de.csv", "",
           "'Datum Zeit' '01.06.2023 13:00:00' can be read in several ways: say --time-"
           "format '%d.%m.%Y %H:%M:%S' or '%m.%d.%Y %H:%M:%S'"),
    Export("fluke-connect.csv", "",
           "several columns hold times ('Start Time', 'Max Time', 'Min Time', 'Stop "
           "Time'): --time COL says which"),
    Export("excel-de.csv", "",
           "'Zeit' '01.06.2023 13:00' can be read in several ways: say --time-format "
           "'%d.%m.%Y %H:%M' or '%m.%d.%Y %H:%M'"),
    Export("influx1-tags.csv", "",
           "'tags' says of what a row is (room=cellar, room=attic): --node-column 'tags' "
           "instead of --node keeps them apart as nodes, --time and --value say that they are one"),
    Export("ghcnh-psv.csv", "",
           "the date is in several columns: --time 'Year' --time 'Month' --time 'Day' "
           "--time 'Hour' --time 'Minute' --time-format '%Y %m %d %H %M' joins them"),
    Export("purpleair.csv", "",
           "'temperature' names no unit, and may be in °F: say --value "
           "'temperature=temperature:°F' or 'temperature=temperature:°C'; then the other "
           "columns need a --value, too"),
    Export("ruuvi-ios.csv", "",
           "'Date' holds times without an offset, and 'ISO8601' some that need none: "
           "--time COL says which"),
    Export("ttn-csv.csv", "",
           "'device_id' says of what a row is (node-1, node-2): --node-column 'device_id' "
           "instead of --node keeps them apart as nodes, --time and --value say that they are one"),
    Export("ttn-ndjson.csv", "",
           "ttn-ndjson.csv is JSON; `jq -r '[.time, .value] | @csv'` makes CSV of it"),
    Export("knx.csv", "",
           "'Einheit' names several units (%, °C): --sensor-column and --value-column keep"
           " the sensors apart"),
]  # fmt: skip


def import_export(folder: Path, export: Export) -> Result:
    command = ["import", str(EXPORTS / export.file), "--yes", "--db", f"{folder}/t.db"]
    node = [] if "--node-column" in export.flags else ["--node", "n"]
    return CliRunner().invoke(main, [*command, *node, *shlex.split(export.flags)])


@pytest.mark.parametrize("export", STORED, ids=lambda export: export.file)
def test_an_export_is_stored_as_it_is_meant(tmp_path: Path, export: Export) -> None:
    done = import_export(tmp_path, export)
    with open_for_reading(tmp_path / "t.db") as db:
        first = [
            f"{'' if node == 'n' else f'{node}/'}{sensor} {unit} {at} {value:g}"
            for node, sensor, unit, at, value in db.execute(FIRST).fetchall()
        ]
    assert "; ".join(first) == export.right, done.output


@pytest.mark.parametrize("export", REFUSED, ids=lambda export: export.file)
def test_an_export_is_refused_with_what_helps(tmp_path: Path, export: Export) -> None:
    done = import_export(tmp_path, export)
    assert done.exit_code == 1
    assert export.right in done.output
    assert len(done.output.splitlines()) == 1
    assert not (tmp_path / "t.db").exists()


def test_every_file_is_tried() -> None:
    assert {path.name for path in EXPORTS.iterdir()} == {one.file for one in STORED + REFUSED}
