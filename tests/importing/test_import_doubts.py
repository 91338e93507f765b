"""What was once stored wrongly without a word, or refused with advice that didn't help."""

from pathlib import Path

import pytest

from tests.importing.importing import Shape, assert_refused, import_shape, readings

TWO = "2023-07-14 13:00,21.5\n2023-07-14 13:10,21.6\n"
PROBES = "".join(
    f"{1_689_339_600 + 600 * n + place},{probe},2{n}.{place}\n"
    for n in range(4)
    for place, probe in ((0, "{}1"), (5, "{}2"))
)

REFUSED = [
    Shape("a missing PM without a row at 12", "time,temp_c\n2023-07-14 10:00,1\n"
          "2023-07-14 11:30,2\n2023-07-14 01:00,3\n2023-07-14 02:30,4\n",
          error="'time' goes from 11:30 to 01:00 on 2023-07-14: are AM and PM missing?"),
    Shape("a missing PM, the newest first", "time,temp_c\n2023-07-14 02:00,1\n"
          "2023-07-14 01:00,2\n2023-07-14 12:00,3\n2023-07-14 11:00,4\n",
          error="'time' goes from 12:00 to 01:00 on 2023-07-14"),
    Shape("days and months that a spreadsheet swapped", "time,temp_c\n2023-11-07 13:00,1\n"
          "2023-12-07 13:00,2\n13/07/2023 13:00,3\n14/07/2023 13:00,4\n",
          error="has dates such as '13/07/2023 13:00' and '2023-11-07 13:00': did a spreadsheet"),
    Shape("ids in turn", "time,rom,temp_c\n" + PROBES.replace("{}", "28-00"),
          error="'rom' says of what a row is (28-001, 28-002): --node-column 'rom' instead of"
          " --node keeps them apart as nodes, --sensor-column 'rom' --value-column 'temp_c' as"),
    Shape("numbers as ids in turn", "time,id,temp_c\n" + PROBES.replace("{}", "2800"),
          error="'id' says of what a row is (28001, 28002)"),
    Shape("the hour's end as columns", "date,HE01,HE02,HE03\n2023-07-14,1,2,3\n",
          error="the header has times of day (HE01, HE02, HE03)"),
    Shape("fractions as percent", "time,humidity (%)\n1689339600,0.45\n1689339660,0.5\n",
          error="'humidity (%)' is at most 0.5 %: say --value 'humidity (%)=humidity:100%' to"),
    Shape("a factor of 0", "time,temp\n" + TWO, "--value temp=t:0°C",
          error="the number before the unit must be positive"),
    Shape("a factor below 0", "time,temp\n" + TWO, "--value temp=t:-1°C",
          error="the number before the unit must be positive"),
    Shape("an endless factor", "time,temp\n" + TWO, "--value temp=t:1e999°C",
          error="the number before the unit must be positive"),
    Shape("another delimiter", "time^temp_c\n" + TWO.replace(",", "^"),
          error="or does --delimiter say what parts its cells?"),
    Shape("whole lines in quotes", '"time,temp_c"\n"2023-07-14 13:00,21.5"\n',
          error="line 1 is one cell (time,temp_c): are lines quoted, or does --delimiter help?"),
    Shape("JSON lines", '{"time": 1689339600, "value": 1}\n{"time": 1689339660, "value": 2}\n',
          error="`jq -r '[.time, .value] | @csv'` makes CSV of it"),
    Shape("a list of JSON", '[{"time": 1689339600, "value": 1}]\n',
          error="`jq -r '.[] | [.time, .value] | @csv'` makes CSV of it"),
]  # fmt: skip


@pytest.mark.parametrize("shape", REFUSED, ids=lambda shape: shape.name)
def test_what_is_in_doubt_is_refused_with_what_helps(tmp_path: Path, shape: Shape) -> None:
    assert_refused(tmp_path, shape)


STORED = [
    Shape("settings with times before the header", "Device,RC-5\nStart,2023-07-14 12:00:00\n"
          "Stop,2023-07-14 13:30:00\nTrip,3\nNo.,Time,Temperature°C\n1,2023-07-14 13:00:00,21.5\n"
          "2,2023-07-14 13:10:00,21.6\n", expected="temperature: 21.5 21.6"),
    Shape("settings filled up to the table's width", "Device,RC-5,\nStart,2023-07-14 12:00:00,\n"
          "No.,Time,Temperature°C\n1,2023-07-14 13:00:00,21.5\n2,2023-07-14 13:10:00,21.6\n",
          expected="temperature: 21.5 21.6"),
    Shape("an error in the first row", "No.,Time,Temperature°C\n1,2023-07-14 12:50:00,ERR\n"
          "2,2023-07-14 13:00:00,21.5\n3,2023-07-14 13:10:00,21.6\n",
          expected="temperature: 21.5 21.6"),
    Shape("a card's empty blocks after the rows",
          "time,temp_c\n" + TWO + "\0" * 5_000, expected="temperature: 21.5 21.6"),
    Shape("a morning by two sensors, one after the other", "time,sensor,value\n"
          + "".join(f"2023-07-14 {hour:02}:00,{name}_temp,{hour}\n" for name in "ab"
                    for hour in (9, 10, 11)), expected="a_temp: 9 10 11, b_temp: 9 10 11"),
    Shape("weekdays in turn", "time,weekday,temp_c\n" + "".join(
              f"2023-07-{day},{'MoTuWeThFrSaSu'[2 * (day % 7):][:2]},{day}\n"
              for day in range(10, 26)),
          expected="temperature: " + " ".join(map(str, range(10, 26)))),
    Shape("one kind of two, as the error says", "time,temp_c\n2023-11-07 13:00,1\n"
          "14/07/2023 13:00,4\n", "--time-format '%d/%m/%Y %H:%M'", expected="temperature: 4"),
    Shape("ids as sensors, as the error says", "time,rom,temp_c\n" + PROBES.replace("{}", "28-00"),
          "--sensor-column rom --value-column temp_c",
          expected="28-001: 20 21 22 23, 28-002: 20.5 21.5 22.5 23.5"),
    Shape("fractions, as the error says", "time,humidity (%)\n1689339600,0.45\n1689339660,0.5\n",
          "--value 'humidity (%)=humidity:100%'", expected="humidity: 45 50"),
    Shape("another delimiter, as the error says", "time^temp_c\n" + TWO.replace(",", "^"),
          "--delimiter ^", expected="temperature: 21.5 21.6"),
]  # fmt: skip


@pytest.mark.parametrize("shape", STORED, ids=lambda shape: shape.name)
def test_what_looks_alike_is_stored_as_it_is_meant(tmp_path: Path, shape: Shape) -> None:
    done = import_shape(tmp_path, shape)
    assert done.exit_code == 0, done.output
    of_sensor: dict[str, list[str]] = {}
    for _, sensor, _, value in readings(tmp_path / "t.db"):
        of_sensor.setdefault(sensor, []).append(f"{value:g}")
    assert ", ".join(f"{one}: {' '.join(values)}" for one, values in of_sensor.items()) == (
        shape.expected
    )


def test_a_date_with_its_year_first_in_mid_file_is_rejected(tmp_path: Path) -> None:
    days = [f"{day:02}/{month:02}/2023 12:00,1\n" for month in range(1, 13) for day in range(1, 28)]
    rows = [row.replace(" 12:00", f" {hour:02}:00") for row in days for hour in range(10)]
    rows[1_500] = "2023-11-07 13:00,2\n"
    done = import_shape(tmp_path, Shape("mid", "time,temp_c\n" + "".join(rows)))
    assert "'2023-11-07 13:00' has its year first, and others last" in done.output
    assert {value for *_, value in readings(tmp_path / "t.db")} == {1}


@pytest.mark.parametrize(("end", "is_told"), [("2", True), ("21.7", False), ("2\n", False)])
def test_a_value_that_may_be_cut_is_told(tmp_path: Path, end: str, is_told: bool) -> None:
    text = "time,temp_c\n" + TWO + f"2023-07-14 13:20,21.8\n2023-07-14 13:30,{end}"
    done = import_shape(tmp_path, Shape("cut", text))
    assert ("the last line has no end" in done.output) == is_told


def test_a_node_map_for_nothing_is_told(tmp_path: Path) -> None:
    flags = "--node-column room --node-map Kueche=kitchen"
    text = "time,room,temp_c\n2023-07-14 13:00,Küche,21\n"
    done = import_shape(tmp_path, Shape("map", text, flags))
    assert "'Kueche' of --node-map isn't among the first rows" in done.output


def test_a_node_without_a_name_is_refused_at_once(tmp_path: Path) -> None:
    done = import_shape(tmp_path, Shape("no name", "time,temp_c\n" + TWO, "--dry-run --node ''"))
    assert (done.exit_code, done.output.startswith("Error: node ''")) == (1, True)
