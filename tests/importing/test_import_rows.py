"""What a CSV file's cells become: times, values, and what is told of the rest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.importing.importing import Row, import_file, messages
from tmon.db.connect import open_database
from tmon.importer.survey import Survey

Run = Callable[..., "Done"]


class Done:
    """What an import messages, and what it stored: (node, sensor, time, value), by time."""

    def __init__(self, survey: Survey, rows: list[Row]) -> None:
        self.tally = survey.tally
        self.rows = rows
        self.rejected = {code for code, _ in survey.tally.rejected}
        self.messages = messages(survey)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Import a text; again, into the same database."""

    def import_text(
        text: str | bytes,
        *values: str,
        time: str = "time",
        tz: str = "UTC",
        node_column: str | None = None,
        **said: Any,
    ) -> Done:
        path = tmp_path / "a.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with open_database(tmp_path / "tmon.db", create=True) as db:
            read: list[int] = []
            survey = import_file(
                db,
                path,
                read.append,
                node=None if node_column else "shed",
                node_column=node_column,
                times=[time],
                tz=tz,
                values=values or ["value=temperature"],
                **said,
            )
            assert sum(read) == path.stat().st_size
            query = """select node, name, measured_at, value from readings
                join sensors on sensors.id = readings.sensor order by measured_ms, node, name"""
            rows = [*db.execute(query).fetchall()]
        return Done(survey, rows)

    return import_text


def times(done: Done) -> list[str]:
    return [at.removesuffix(".000Z") for _, _, at, _ in done.rows]


@pytest.mark.parametrize(
    ("written", "tz", "means"),
    [
        ("2013-07-04 00:00:00", "UTC", "2013-07-04T00:00:00.000Z"),
        ("2013-07-04T00:00Z", "Europe/Berlin", "2013-07-04T00:00:00.000Z"),
        ("2013-07-04T02:00:00.123456+02:00", "UTC", "2013-07-04T00:00:00.123Z"),
        ("2013-07-04 02:00", "Europe/Berlin", "2013-07-04T00:00:00.000Z"),
        ("20130704", "UTC", "2013-07-04T00:00:00.000Z"),
        ("2013070402", "Europe/Berlin", "2013-07-04T00:00:00.000Z"),
        ("201307040000", "UTC", "2013-07-04T00:00:00.000Z"),
        ("20130704000000", "UTC", "2013-07-04T00:00:00.000Z"),
        ("1372896000", "Europe/Berlin", "2013-07-04T00:00:00.000Z"),
        ("1372896000.5", "UTC", "2013-07-04T00:00:00.500Z"),
        ("1372896000123", "UTC", "2013-07-04T00:00:00.123Z"),
        ("-1000000000", "UTC", "1938-04-24T22:13:20.000Z"),
        ("1850-01-01", "UTC", "1850-01-01T00:00:00.000Z"),
        ("0001-01-01", "UTC", "0001-01-01T00:00:00.000Z"),
    ],
)
def test_a_time_of_any_year_is_understood(run: Run, written: str, tz: str, means: str) -> None:
    done = run(f"time,value\n{written},1\n", tz=tz)
    assert [at for _, _, at, _ in done.rows] == [means], done.messages


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("", "invalid_time"),
        ("yesterday", "invalid_time"),
        ("nan", "invalid_time"),
        ("inf", "invalid_time"),
        ("2013", "invalid_time"),
        ("60", "invalid_time"),
        ("2013-02-30", "invalid_time"),
        ("2013-07-04\N{NULL}12:00", "invalid_time"),
        ("2013-07-04x12:00", "invalid_time"),
        ("2013-W27-4 12:00", "invalid_time"),
        ("2013-07-04 12:00+00:00:30", "invalid_time"),
        ("2013-07-04 1\N{ARABIC-INDIC DIGIT TWO}:00", "invalid_time"),
        ("9999-01-01", "implausible_time"),
        ("-99999999999999999", "implausible_time"),
        ("1e300", "implausible_time"),
    ],
)
def test_what_is_surely_no_time_is_told_with_its_line(run: Run, written: str, code: str) -> None:
    done = run(f"time,value\n2020-01-01,1\n{written},2\n")
    assert (done.tally.stored, done.rejected) == (1, {code})
    assert f"{code}: 1, such as line 3: " in done.messages


def test_tmons_own_export_comes_in_again_with_its_old_times(run: Run) -> None:
    export = "sensor,measured_ms,value,measured_at\n1,5,21.5,1970-01-01T00:00:00.005Z\n"
    done = run(export, time="measured_ms")
    assert done.rows == [("shed", "temperature", "1970-01-01T00:00:00.005Z", 21.5)]


REPEATED = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]
INSTANTS = ["23:30:00", "00:00:00", "00:30:00", "01:00:00", "01:30:00", "02:00:00"]


@pytest.mark.parametrize("forwards", [True, False])
def test_an_hour_the_clocks_went_through_twice_is_taken_in_order(run: Run, forwards: bool) -> None:
    rows = [f"2023-10-29 {at},{n}\n" for n, at in enumerate(REPEATED)]
    done = run("time,value\n" + "".join(rows if forwards else rows[::-1]), tz="Europe/Berlin")
    assert [at.partition("T")[2] for at in times(done)] == INSTANTS
    assert [value for *_, value in done.rows] == [0, 1, 2, 3, 4, 5]


def test_each_node_has_its_own_hour_twice(run: Run) -> None:
    text = "node,time,value\n" + "".join(
        f"{node},2023-10-29 {at},{n}\n" for n, at in enumerate(REPEATED) for node in ("a", "b")
    )
    done = run(text, tz="Europe/Berlin", node_column="node")
    assert (done.tally.stored, done.rejected) == (12, set())


def test_a_time_the_clocks_skipped_is_told_with_the_likely_cause(run: Run) -> None:
    done = run("time,value\n2023-03-26 02:30,1\n2023-03-26 03:30,2\n", tz="Europe/Berlin")
    assert times(done) == ["2023-03-26T01:30:00"]
    assert "skipped_time: 1, such as line 2: the clocks of Europe/Berlin skipped" in done.messages
    assert "Etc/GMT-1" in done.messages


@pytest.mark.parametrize(
    ("written", "code"),
    [(cell, "missing_value") for cell in ("", " ", "NA", "NaN", "null", "None", "-", "n/a")]
    + [(cell, "invalid_value") for cell in ("warm", "inf", "1.2.3", '"1,5"', "1_000", "٣")]
    + [("-300", "implausible_value"), ("85000", "implausible_value")],
)
def test_a_cell_that_is_no_reading_fails_alone(run: Run, written: str, code: str) -> None:
    done = run(f"time,value\n2020-01-01,1\n2020-01-02,{written}\n", "value=temperature:°C")
    assert (done.tally.stored, done.rejected) == (1, {code})
    assert "such as line 3: " in done.messages


@pytest.mark.parametrize(
    "text",
    [
        "time,value\n2020-01-01,1.5\n",
        "\ufefftime,value\r\n2020-01-01,1.5\r\n",
        "time;value\n2020-01-01;1.5\n",
        "time;value\n2020-01-01;1,5\n",
        "time\tvalue\n2020-01-01\t1.5",
        '"time","value"\n"2020-01-01","1.5"\n',
        'a;b;c,time,value\n"x, y",2020-01-01,1.5\n',
        " time , value \n 2020-01-01 , 1.5 \n",
        "time,value\n\n2020-01-01,1.5\n\n",
        "time,value\n2020-01-01,1.5,,\n",
    ],
)
def test_a_csv_file_of_any_usual_kind_is_read(run: Run, text: str) -> None:
    done = run(text)
    assert (done.rows[0][3], done.rejected) == (1.5, set())


@pytest.mark.parametrize("row", ["2020-01-01", "2020-01-01,1,5", '2020-01-01,"1'])
def test_a_row_of_another_shape_is_told_and_not_fatal(run: Run, row: str) -> None:
    done = run(f"time,value\n2020-01-02,1\n{row}\n")
    assert (done.tally.stored, done.rejected) == (1, {"invalid_row"})
    assert "such as line 3: " in done.messages


def test_a_bad_byte_beside_the_readings_does_no_harm(run: Run) -> None:
    assert run(b"time,value,note\n2020-01-01,1,\xb0\n").tally.stored == 1


def test_rows_of_a_node_that_cannot_be_are_told_and_none_is_made(run: Run) -> None:
    text = "node,time,value\n...,2020-01-01,1\n,2020-01-01,1\ngood,2020-01-01,1\n"
    done = run(text, node_column="node")
    assert [node for node, *_ in done.rows] == ["good"]
    assert "invalid_node: 2, such as line 2: node '...' must be" in done.messages


def test_another_value_at_the_same_time_is_told_as_a_conflict(run: Run) -> None:
    run("time,value\n2020-01-01,1\n")
    done = run("time,value\n2020-01-01,2\n2020-01-02,3\n")
    assert done.tally.stored == 1
    assert "conflict temperature: 1, such as line 2: temperature has value 1" in done.messages


@pytest.mark.parametrize(
    ("value", "sensor", "unit"),
    [
        ("value=temperature", "temperature", "°C"),
        ("value=load", "load", None),
        ("value=load:", "load", None),
        ("value=shed:load:", "shed:load", None),
        ("value=shed:load:W", "shed:load", "W"),
        ("a=b=load:W", "load", "W"),
    ],
)
def test_a_value_says_its_sensor_and_its_unit(
    run: Run, tmp_path: Path, value: str, sensor: str, unit: str | None
) -> None:
    run("time,value,a=b\n2020-01-01,1,1\n", value)
    with open_database(tmp_path / "tmon.db") as db:
        assert db.execute("select name, unit from sensors").fetchall() == [(sensor, unit)]


def test_a_sensors_unit_stays_what_it_was(run: Run) -> None:
    run("time,value\n2020-01-01,1\n")
    assert run("time,value\n2020-01-02,1\n", "value=temperature:%").rejected == {"unit_mismatch"}
