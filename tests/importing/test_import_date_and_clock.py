"""Dates and times of day in two columns, as numbers too; days as a spreadsheet counts them."""

from pathlib import Path

import pytest

from tests.importing.importing import Shape, assert_refused, import_shape, readings

BOTH = "--time date --time time"
PATTERN = "--time-format '%Y-%m-%d %H%M'"


def table(*rows: str, header: str = "date,time") -> str:
    """A file of these times, whose values count from 1."""
    return "\n".join([f"{header},t_c", *(f"{row},{n}" for n, row in enumerate(rows, 1))]) + "\n"


NINE_AND_SIX = "2023-06-01T09:30 1; 2023-06-01T18:00 2"
READ = [
    Shape("HHMM", table("2023-06-01,0930", "2023-06-01,1800"), BOTH, NINE_AND_SIX),
    Shape("HMM", table("2023-06-01,930", "2023-06-01,1800", "2023-06-02,0"), BOTH,
          f"{NINE_AND_SIX}; 2023-06-02T00:00 3"),
    Shape("HMM, in a column called time", table("2023-06-01,0", "2023-06-01,930"), BOTH,
          "2023-06-01T00:00 1; 2023-06-01T09:30 2"),
    Shape("HMM, as a flag says", table("2023-06-01,930", "2023-06-01,1100", header="date,x"),
          f"--time date --time x {PATTERN}", "2023-06-01T09:30 1; 2023-06-01T11:00 2"),
    Shape("HHMMSS", table("2023-06-01,93000", "2023-06-01,180000"), BOTH, NINE_AND_SIX),
    Shape("2400", table("2023-05-31,2400", "2023-06-01,1800"), BOTH,
          "2023-06-01T00:00 1; 2023-06-01T18:00 2"),
    Shape("HHMM with days of digits", table("20230601,0930", "20230601,1800"), BOTH, NINE_AND_SIX),
    Shape("days of digits and a time of day", table("20230601,09:30", "20230601,18:00"), BOTH,
          NINE_AND_SIX),
    Shape("a point for the colon", table("2023-06-01,9.30", "2023-06-01,18.00"), BOTH,
          NINE_AND_SIX),
    Shape("a point for the colon, and no flags",
          table("2023-06-01,9.30", "2023-06-01,18.00", header="Data,Ora"), "", NINE_AND_SIX),
    Shape("year, month and day, as the answer says",
          table("2023,06,01", "2023,6,2", header="Year,Month,Day"),
          "--time Year --time Month --time Day --time-format '%Y %m %d'",
          "2023-06-01T00:00 1; 2023-06-02T00:00 2"),
    Shape("HHMM, and the offset in a third column",
          table("2023-06-01,1130,+0200", "2023-06-01,2000,+0200", header="date,time,utc_offset"),
          BOTH, NINE_AND_SIX),
    Shape("midnights, and times of day", table("2023-06-01 00:00:00,09:30:00",
          "2023-06-01 00:00:00,18:00:00", header="Date,Time"), "", NINE_AND_SIX),
    Shape("times of day on the day from which Access counts",
          table("6/1/2023 12:00:00 AM,12/30/1899 09:30:00", "6/1/2023 12:00:00 AM,12/30/1899 18:00",
                "6/13/2023 12:00:00 AM,12/30/1899 00:00:00", header="Date,Time"), "",
          f"{NINE_AND_SIX}; 2023-06-13T00:00 3"),
    Shape("days at midnight, with the time of the day's highest",
          table("2023-06-01 00:00,14:30", "2023-06-02 00:00,15:30", header="date,max at"), "",
          "2023-06-01T00:00 1; 2023-06-02T00:00 2"),
    Shape("midnights alone", table("2023-06-01 00:00", "2023-06-01 00:00", "2023-06-02 00:00",
          header="time"), "", "2023-06-01T00:00 1; 2023-06-02T00:00 3"),
    Shape("times of day at the end of the row", "Date,T_C,Time\n2023-06-01,1,09:30\n"
          "2023-06-02,2,18:00\n", "", "2023-06-01T09:30 1; 2023-06-02T18:00 2"),
    Shape("times of day without a name", "Date,,T_C\n2023-06-01,09:30,1\n2023-06-02,18:00,2\n",
          "", "2023-06-01T09:30 1; 2023-06-02T18:00 2"),
    Shape("hours", table("2023-06-01,5", "2023-06-01,10", header="date,hour"),
          "--time date --time hour", "2023-06-01T05:00 1; 2023-06-01T10:00 2"),
    Shape("parts of a day", table("2023-06-01,0.395833", "2023-06-01,0.75", "2023-06-01,1"), BOTH,
          f"{NINE_AND_SIX}; 2023-06-02T00:00 3"),
    Shape("Excel's days and parts of them", table("45078,0.395833", "45078,0.75"), BOTH,
          NINE_AND_SIX),
    Shape("Excel's days and times of day", table("45078,09:30", "45078,18:00"), BOTH, NINE_AND_SIX),
    Shape("Excel's days and HHMM", table("45078,930", "45078,1800"), BOTH, NINE_AND_SIX),
    Shape("Excel's days with decimals", table("45078.395833", "45078.75", header="Time"), "",
          NINE_AND_SIX),
    Shape("all of Excel's decimals", table("45078.3958333333", "45078.75", header="Time"),
          "--time Time", NINE_AND_SIX),
    Shape("Excel's days with decimal commas", "Zeit;T_C\n45078,395833;1\n45078,75;2\n", "",
          NINE_AND_SIX),
    Shape("days at noon and at one in the morning, the newest first",
          table("2023-06-02 12:00", "2023-06-02 01:00", "2023-06-01 12:00", header="time"), "",
          "2023-06-01T12:00 3; 2023-06-02T01:00 2; 2023-06-02T12:00 1"),
    Shape("whole days of Excel's, as a flag says", table("45078", "45079", header="day"),
          "--time day --time-format excel", "2023-06-01T00:00 1; 2023-06-02T00:00 2"),
    Shape("digits, as the answer says", table("01/06/2023,930", "01/06/2023,1800"),
          f"{BOTH} --time-format '%d/%m/%Y %H:%M'", NINE_AND_SIX),
    Shape("parts of a day, as the answer says", table("01/06/2023,0.395833", "01/06/2023,0.75"),
          f"{BOTH} --time-format '%d/%m/%Y %H:%M:%S'", NINE_AND_SIX),
    Shape("minutes after a German date, as the answer says",
          table("01.06.2023,0", "01.06.2023,5"), f"{BOTH} --time-format '%d.%m.%Y %H%M'",
          "2023-06-01T00:00 1; 2023-06-01T00:05 2"),
    Shape("AM and PM, as a flag says", table("01/06/2023,9:30 AM", "01/06/2023,6:00 PM"),
          f"{BOTH} --time-format '%d/%m/%Y %I:%M %p'", NINE_AND_SIX),
    Shape("HMM in a column called clock",
          table("2023-06-01,930", "2023-06-01,1100", header="date,clock"),
          "--time date --time clock", "2023-06-01T09:30 1; 2023-06-01T11:00 2"),
    Shape("hours as parts of a day, as a flag says",
          table("2023-06-01,0.25", "2023-06-01,0.5", header="date,hours"),
          "--time date --time hours --time-format excel",
          "2023-06-01T06:00 1; 2023-06-01T12:00 2"),
]  # fmt: skip

SEVERAL_WAYS = "may be a time of day in several ways: --time-format '%Y-%m-%d %H%M' says"
REFUSED = [
    Shape("HHMM, or minutes of the day", table("2023-06-01,930", "2023-06-01,1100",
          header="date,min"), "--time date --time min", error=SEVERAL_WAYS),
    Shape("hours, or minutes", table("2023-06-01,0", "2023-06-01,15"), BOTH, error=SEVERAL_WAYS),
    Shape("minutes of the day", table("2023-06-01,30", "2023-06-01,60"), BOTH, error=SEVERAL_WAYS),
    Shape("hours in decimals", table("2023-06-01,0.5", "2023-06-01,1.5"), BOTH, error=SEVERAL_WAYS),
    Shape("hours, or parts of a day", table("2023-06-01,0.25", "2023-06-01,0.5",
          header="date,hours"), "--time date --time hours", error=SEVERAL_WAYS),
    Shape("days of digits in several orders", table("01062023,0930", "01062023,1800"), BOTH,
          error="--time-format '%d%m%Y' or '%m%d%Y' (%s: Unix time), followed by that of"),
    Shape("digits beside days that nobody named", table("2023-06-01,0930", "2023-06-02,0930"), "",
          error="the time of day may be in 'time': say --time 'date' --time 'time'"),
    Shape("decimal hours that look like times of day", table("2023-06-01,0.25", "2023-06-01,1.50",
          header="date,hour"), "", error=SEVERAL_WAYS),
    Shape("half hours that look like times of day",
          table("2023-06-01,0.50", "2023-06-01,1.00", "2023-06-01,1.50"), BOTH,
          error="'%Y-%m-%d %H.%M' that it is 9.30"),
    Shape("minutes after a German date", table("04.07.2023,0", "14.07.2023,5"), BOTH,
          error="--time-format '%d.%m.%Y %H%M' says"),
    Shape("minutes after a date with slashes", table("2023/07/04,0", "2023/07/14,5"), BOTH,
          error="--time-format '%Y/%m/%d %H%M' says"),
    Shape("digits after an ambiguous date", table("04/07/2023,930", "05/07/2023,1800"), BOTH,
          error="say --time-format '%d/%m/%Y %H:%M' or '%m/%d/%Y %H:%M'"),
    Shape("parts of a day after an ambiguous date",
          table("04/07/2023,0.395833", "05/07/2023,0.75"), BOTH,
          error="say --time-format '%d/%m/%Y %H:%M:%S' or '%m/%d/%Y %H:%M:%S'"),
    Shape("hours in hundredths", table("2023-06-01,9.30", "2023-06-01,9.75"), BOTH,
          error=SEVERAL_WAYS),
    Shape("year, month and day", table("2023,06,01", "2023,6,2", header="Year,Month,Day"), "",
          error="--time 'Year' --time 'Month' --time 'Day' --time-format '%Y %m %d' joins them"),
    Shape("12 hours without AM and PM", table("2023-06-13 11:50", "2023-06-13 12:10",
          "2023-06-13 01:10", header="time"), "",
          error="goes from 12:10 to 01:10 on 2023-06-13: are AM and PM missing?"),
    Shape("local times beside those with an offset", table("2023-07-04 14:00,2023-07-04T12:00Z",
          header="Date,ISO8601"), "", error="'ISO8601' some that need none: --time COL says which"),
    Shape("local times beside Unix times", table("1688472000,2023-07-04 14:00",
          header="clock,timestamp"), "", error="'clock' some that need none"),
    Shape("a zone above the header that isn't one offset only",
          "All times in CET\n" + table("2023-06-01 10:00", header="time"), "",
          error="'All times in CET' names CET, which isn't one offset only: --tz says which"),
    Shape("whole numbers that may be Excel's days", table("45078", "45079", header="Time"), "",
          error="--time 'Time' --time-format excel says so"),
    Shape("whole numbers that are named", table("45078", "45079", header="Time"), "--time Time",
          error="'Time' 45078 may be Excel's day number: --time-format excel says so"),
    Shape("seconds since the start", table("45078.5", "45079.5", header="Elapsed time (s)"), "",
          error="'Elapsed time (s)' 45078.5 may be Excel's day number"),
]  # fmt: skip


@pytest.mark.parametrize("shape", READ, ids=lambda shape: shape.name)
def test_dates_and_times_of_day_are_joined(tmp_path: Path, shape: Shape) -> None:
    done = import_shape(tmp_path, shape)
    stored = [f"{at[:16]} {value:g}" for *_, at, value in readings(tmp_path / "t.db")]
    assert stored == [row.strip() for row in shape.expected.split(";")], done.output


@pytest.mark.parametrize("shape", REFUSED, ids=lambda shape: shape.name)
def test_what_may_be_two_times_is_refused_with_the_flag(tmp_path: Path, shape: Shape) -> None:
    assert_refused(tmp_path, shape)
