"""What was once stored wrongly without a word: each is refused, or read as it is meant."""

from pathlib import Path

import pytest

from tests.importing.importing import Shape, assert_refused, import_shape, readings

DAY = "2023-07-04T"
HOURS = 1_300  # rows before and after the one in mid-file that nobody looks at beforehand


def rows(cell: str, middle: str, sign: str = ",") -> str:
    """Readings a minute apart; one in the middle is another."""
    cells = [cell] * HOURS + [middle] + [cell] * HOURS
    return "".join(f"{1_688_472_000 + 60 * n}{sign}{one}\n" for n, one in enumerate(cells))


def days(start: int, days: int, cell: str, pattern: str) -> str:
    """Readings of each hour, by the day's number and the hour's."""
    return "".join(
        pattern.format(day=day, hour=hour) + f",{cell}\n"
        for day in range(start, start + days)
        for hour in range(24)
    )


REFUSED_ROWS = [
    Shape("a time without an offset among others", "time,x (W)\n"
          + rows("1", "--\n2023-07-05 12:00,2"), error="has no offset, and others have"),
    Shape("a Unix time of another epoch", "time,temp_c\n" + rows("1", "--\n710164800,2"),
          error="'710164800' is before 2000 as a Unix time; --time-format %s says"),
    Shape("fewer digits than the format has", "time,x (W)\n" + "".join(
              f"202307{day:02}{hour:02}{minute:02},1\n" for day in (4, 5) for hour in range(24)
              for minute in range(60))[: 2 * HOURS * 15] + "20230706930,2\n",
          "--time time --time-format %Y%m%d%H%M",
          error="time '20230706930' must be like %Y%m%d%H%M"),
    Shape("a point among decimal commas", "time;power (W)\n" + rows("980,5", "1.250", ";"),
          error="power (W) '1.250' may have thousands; --decimal says it"),
    Shape("a comma among decimal points", "time,power (W)\n" + rows("980.5", '"1,250"'),
          error="with --decimal . it has thousands, with --decimal , decimals"),
    Shape("a unit in one cell alone", "time,x\n" + rows("980", "1 kW"),
          error="x 1 kW names a unit, and others have none"),
    Shape("a cell without a unit", "time,x\n" + rows("980 W", "12"),
          error="x 12 has no unit, and others name one"),
    Shape("an entity above what a room has", "time,sensor,value\n" + rows("a_temp,20", "a_temp,71")
          .replace("a_temp", "a_temperature"), error="71 may be in °F"),
]  # fmt: skip

REFUSED = [
    Shape("a place before the header", "latitude,utc_offset_seconds,timezone,abbreviation\n"
          "52.5,7200,Europe/Berlin,GMT+2\n\ntime,temp_c\n2023-07-04T12:00,21\n",
          error="--tz 'Europe/Berlin' if the times are in it"),
    Shape("a zone beside the time", "time,Time Zone,temp_c\n2023-07-04 12:00,CEST,21\n",
          error="'Time Zone' says of which zone the times are (CEST): --tz says which"),
    Shape("local time", "Time (local standard time),temp_c\n2023-07-04 12:00,21\n",
          error="names local time, local: --tz says of which zone"),
    Shape("UTC or local time", "Time (UTC/local),temp_c\n2023-07-04 12:00,21\n",
          error="names several zones: --tz says which"),
    Shape("two offsets", "Time (UTC+1/+2),temp_c\n2023-07-04 12:00,21\n",
          error="names several zones: --tz says which"),
    Shape("a year that begins in winter", "time,temp\n" + rows("31", "95"),
          error="'temp' names no unit, and may be in °F, as it goes up to 95"),
    Shape("a unit beside none", "time,temp\n2023-07-04 12:00,21\n2023-07-04 12:10,70.9F\n",
          error="has cells in F and others without a unit, such as '21'"),
    Shape("another order in mid-file",
          "time,temp_c\n" + days(1, 28, "1", "{day:02}/01/2023 {hour:02}:00")
          + days(1, 28, "1", "{day:02}/02/2023 {hour:02}:00")
          + days(13, 15, "1", "03/{day:02}/2023 {hour:02}:00"),
          error="03/13/2023 00:00 contradicts day/month/year"),
    Shape("two texts of one sensor", "date,sensor,value\n2023-07-04 12:00,Temp,21\n"
          "2023-07-04 12:00,temperature,55\n", error="would be temperature, as 'Temp' is"),
    Shape("tenths in a header", "time,Temp (0.1 °C)\n2023-07-04 12:00,215\n",
          error="say --value 'Temp (0.1 °C)=temperature:0.1C' to"),
    Shape("tenths as a fraction", "time,Temp [1/10 °C]\n2023-07-04 12:00,215\n",
          error="names a scale, 1/10"),
    Shape("ten times", "time,rain (x10)\n2023-07-04 12:00,215\n", error="names a scale, x10"),
    Shape("a difference", "time,Temp change (°F)\n2023-07-04 12:00,1.8\n",
          error="no column of values was found"),
    Shape("a difference that is named", "time,Delta_°F\n2023-07-04 12:00,1.8\n",
          "--time time --value Delta_°F=x",
          error="is a difference in °F, which isn't converted as a temperature is: say --value"
          " 'Delta_°F=x:0.5556°C'"),
    Shape("hours as columns", "Datum;0:00;1:00\n2023-07-04;21,5;21,0\n",
          error="the header has times of day (0:00, 1:00)"),
    Shape("hours as numbers", "Date,00,01,02\n2023-07-04,21.5,21.0,20\n",
          error="the header has times of day (00, 01, 02)"),
    Shape("two columns of times, each with its values",
          "Time1,T1,Time2,T2\n2023-07-04 12:00,1,2023-07-05 18:00,2\n", "--time Time1",
          error="'Time2' holds times as well"),
    Shape("channels", "time,channel,temp_c\n2023-07-04 12:00,1,21\n2023-07-04 12:01,2,22\n",
          error="'channel' says of what a row is (1, 2)"),
    Shape("probes", "time,probe,temp_c\n2023-07-04 12:00,1,21\n2023-07-04 12:00,2,22\n",
          error="'probe' says of what a row is (1, 2)"),
    Shape("names that end in F, and are no temperatures by name",
          "time,attic_f,hum\n1688472000,71.6,40\n1688472060,21.6,40\n",
          error="'attic_f' may be in °F: say --value 'attic_f=attic_f:°F' or 'attic_f=attic_f:°C',"
          " or name its unit, or none, in --value 'attic_f=SENSOR:UNIT'; then the other columns"),
    Shape("a name that ends in F, imported as a temperature", "time,attic_f\n1688472000,21.6\n",
          "--time time --value attic_f=temperature", error="'attic_f' may be in °F"),
    Shape("an F among the words of a name", "time,room_f_temperature\n1688472000,21.6\n",
          error="'room_f_temperature' may be in °F"),
    Shape("°C and °F in one header", "time,Temperature °C/°F\n1688472000,41\n",
          error="'Temperature °C/°F' may be in °F"),
    Shape("C and F in brackets", "time,Temp (C/F)\n1688472000,41\n",
          error="'Temp (C/F)' may be in °F"),
    Shape("°F in a comment above the header", "# temp in deg F\ntime,temp\n1688472000,41\n",
          error="names deg F, and 'temp' no unit"),
    Shape("an entity that ends in F", "time,sensor,value\n1688472000,sensor.attic_f,71.6\n",
          error="'sensor.attic_f' may be in °F: say --sensor 'sensor.attic_f=attic_f:°F' or"),
    Shape("an F among the words of an entity's name",
          "time,sensor,value\n1688472000,room_f_temperature,21.6\n",
          error="'room_f_temperature' may be in °F: say --sensor"),
    Shape("a unit that nobody knows", "time,x\n1688472000,21.5 frob\n",
          error="'x' is in frob, a unit that tmon doesn't know: --value 'x=x:frob' keeps it"),
    Shape("°F in an entity's name, and a flag that says °C",
          "time,sensor,value\n1688472000,temp_out_f,71.6\n",
          "--sensor-column sensor --value-column value --sensor temp_out_f=out:°C",
          error="'temp_out_f' is in F, and --sensor says °C: leave the unit out"),
    Shape("a difference in an entity's name",
          "time,sensor,value\n1688472000,temp_change_f,1.8\n", error="is a difference in F"),
    Shape("a listed temperature that may be in °F", "time,sensor,value\n1688472000,x,71.6\n",
          "--sensor-column sensor --value-column value --sensor x=temperature",
          error="'x' names no unit, and may be in °F: say --sensor 'x=temperature:°F'"),
    Shape("tenths in a line above the header", "# TG : temperatuur (in 0.1 graden Celsius)\n"
          "# STN,YYYYMMDD,TG\n260,20230101,-15\n",
          error="names a scale, 0.1: say --value 'TG=sensor:0.1°C'"),
    Shape("a scale above the header, and a flag without it",
          "TG: mean temperature in 0.1 °C\nDATE,TG\n19010101,-34\n",
          "--time DATE --value TG=tg:°C", error="'TG=sensor:1°C' if the values are whole"),
    Shape("machines", "name,timestamp,value,instance\na,1688472000,1,x\na,1688472000,2,y\n",
          error="'instance' says of what a row is (x, y)"),
    Shape("quoted decimal commas", 'time,no,t_c\n1688472000,3195,"21,5"\n',
          error="'t_c' has commas in all cells, such as '21,5': --decimal , or --decimal . says"),
    Shape("a title where the header should be", "# name: x\n1688472000;21.5\n",
          error="has no header: line 2 holds a time (1: 1688472000, 2: 21.5)"),
    Shape("a unit in a line above the header",
          "Units: Fahrenheit\ntime,temp\n1688472000,30\n",
          error="'Units: Fahrenheit' names Fahrenheit, and 'temp' no unit: say --value"),
    Shape("a factor behind a name", "time,temp_c*10\n1688472000,215\n", error="a scale, *10"),
    Shape("a factor behind _", "time,tempC_x100\n1688472000,2150\n", error="a scale, x100"),
    Shape("tenths of a degree by a letter", "time,temp (dC)\n1688472000,-15\n",
          error="names a scale, dC: say --value 'temp (dC)=temperature:0.1C'"),
    Shape("thousandths of a degree", "time,temp [m°C]\n1688472000,21500\n",
          error="names a scale, m°C"),
    Shape("thousandths by a word", "time,temp_millicelsius\n1688472000,21500\n",
          error="names a scale, millicels"),
    Shape("Unix times that a spreadsheet has rounded", "time,temp_c\n1.68847E+12,21\n",
          error="no column of times was found"),
    Shape("two things at each time", "what,start,mean\na_temp,2023-06-13 10:00,21\n"
          "b_temp,2023-06-13 10:00,31\na_temp,2023-06-13 11:00,21\nb_temp,2023-06-13 11:00,31\n",
          error="'what' says of what a row is (a_temp, b_temp): --node-column"),
    Shape("radio sensors", "time,model,id,temp_c\n2023-07-04 12:00,A,101,21\n"
          "2023-07-04 12:00,A,202,22\n", error="'id' says of what a row is (101, 202)"),
]  # fmt: skip

READ = [
    Shape("Unix times that look like a year", "time,temp_c\n1699999980,1\n1700010120,2\n",
          expected="temperature 22:13 1; temperature 01:02 2"),
    Shape("offsets in a column of their own",
          "date,time,utc_offset,temp_c\n2023-07-04,07:00,-0500,21.5\n",
          expected="temperature 12:00 21.5"),
    Shape("°F in an entity's name", "time,sensor,value\n1688472000,temp_out_f,71.6\n"
          "1688472000,temp_in_c,20\n", expected="temp_in_c 12:00 20; temp_out_f 12:00 22"),
    Shape("°F in the name of an entity that is listed",
          "time,sensor,value\n1688472000,temp_out_f,71.6\n",
          "--sensor-column sensor --value-column value --sensor temp_out_f=out",
          "out 12:00 22"),
    Shape("a name that ends in F, as the answer says", "time,attic_f\n1688472000,71.6\n",
          "--time time --value attic_f=attic_f:°F", "attic_f 12:00 22"),
    Shape("a name that ends in F, without a unit", "time,floor_f\n1688472000,71.6\n",
          "--time time --value floor_f=floor", "floor 12:00 71.6"),
    Shape("an entity that ends in F, as the answer says",
          "time,sensor,value\n1688472000,attic_f,71.6\n1688472000,b,1\n", "--sensor-column sensor"
          " --value-column value --sensor attic_f=attic:°F --sensor b=b",
          "attic 12:00 22; b 12:00 1"),
    Shape("an F that is no unit", "time,nF,f\n1688472000,71.6,50\n",
          expected="f 12:00 50; nf 12:00 71.6"),
    Shape("letters that count zones", "time,zone_a_temp,zone_f_temp\n1688472000,20,21\n",
          expected="zone_a_temp 12:00 20; zone_f_temp 12:00 21"),
    Shape("units that look like letters that count", "time,Ch1 (C),Ch1 (V)\n1688472000,20,21\n",
          expected="ch1_2 12:00 20; ch1_3 12:00 21"),
    Shape("a serial number that only the second row has", "time,temp_c,serial\n1688472000,1\n"
          "1688472060,2,123\n1688472120,3\n",
          expected="temperature 12:00 1; temperature 12:01 2; temperature 12:02 3"),
    Shape("letters that count entities", "time,sensor,value\n"
          "1688472000,temp_a,1\n1688472000,temp_b,2\n1688472000,temp_f,3\n",
          expected="temp_a 12:00 1; temp_b 12:00 2; temp_f 12:00 3"),
    Shape("a unit that nobody knows, and a flag names", "time,x\n1688472000,21.5 frob\n",
          "--time time --value x=x:frob", "x 12:00 21.5"),
    Shape("a serial number in the first row alone; a row that lacks a cell",
          "a,Time,Celsius(°C),Humidity(%rh),Serial Number\n1,2023-07-04 12:00,21.5,45,010012345\n"
          "2,2023-07-04 12:10,21.6,46\n3,2023-07-04 12:20,47\n4,2023-07-04 12:30,48,010012345\n",
          expected="celsius 12:00 21.5; celsius 12:10 21.6; humidity 12:00 45; humidity 12:10 46"),
    Shape("settings of the logger in the first row alone",
          "No.,Time,Celsius(°C),State,High Alarm,Low Alarm,Serial Number\n"
          "1,2023-07-04 12:00,21.5,ok,30,9,010012345\n2,2023-07-04 12:10,21.6,ok\n"
          "3,2023-07-04 12:20,22\n4,2023-07-04 12:30,010012345,ok\n5,2023-07-04 12:40,23,ok\n"
          "6,2023-07-04 12:50,23,30\n",
          expected="celsius 12:00 21.5; celsius 12:10 21.6; celsius 12:40 23"),
    Shape("settings in the first row alone, one of which a flag names",
          "Time,Celsius(°C),Alarm,Serial\n1688472000,21.5,30,X1\n1688472060,21.6\n"
          "1688472120,22\n", "--time Time --value Celsius(°C)=t --value Alarm=alarm",
          "alarm 12:00 30; t 12:00 21.5"),
    Shape("notes in some rows; rows that lack a cell before them",
          "time,temp_c,hum (%),note\n1688472000,1,45,\n1688472060,2,46\n1688472120,3,47,open\n"
          "1688472180,48,open\n1688472240,49\n",
          expected="humidity 12:00 45; humidity 12:01 46; humidity 12:02 47;"
          "temperature 12:00 1; temperature 12:01 2; temperature 12:02 3"),
    Shape("a short row that may lack a value which nobody wanted",
          "time,temp_c,hum,pressure\n1688472000,1,45,1000\n1688472060,46,1000\n"
          "1688472120,3,47\n", "--time time --value temp_c=t", "t 12:00 1"),
    Shape("a short row without the text that says of which sensor it is",
          "time,value,sensor\n1688472000,1,a\n1688472060,2\n", expected="a 12:00 1"),
    Shape("a short row without a column that a flag names",
          "time,temp_c,serial\n1688472000,1,7\n1688472060,2\n",
          "--time time --value temp_c=t --value serial=serial", "serial 12:00 7; t 12:00 1"),
    Shape("tenths above the header, and a flag that says so",
          "TG: mean temperature in 0.1 °C\nDATE,TG\n20230704,-34\n",
          "--time DATE --value TG=tg:0.1°C", "tg 00:00 -3.4"),
    Shape("a number that may be a date, in Pa",
          "Timestamp(ms),Temperature(deg C),Pressure(Pa)\n1688472000000,21.5,101325\n",
          expected="pressure 12:00 1013.25; temperature 12:00 21.5"),
    Shape("points that part millions", "time;x [Wh]\n1688472000;1.234.567\n",
          expected="x 12:00 1.23457e+06"),
    Shape("units behind a dash", "time;1-°C;2-%rF;Temp - °F\n1688472000;21,5;45;68\n",
          expected="1 12:00 21.5; 2_rf 12:00 45; temperature 12:00 20"),
    Shape("hours of the sun, and days", "date,sunshine_hours (h),t_c\n2023-07-04,3.5,21\n",
          expected="sunshine_hours 00:00 3.5; temperature 00:00 21"),
    Shape("points that count", "Point,time,t_c\n1,1688472000,21\n2,1688472060,22\n",
          expected="temperature 12:00 21; temperature 12:01 22"),
    Shape("a meter that may be a Unix time", "time,meter reading,t_c\n"
          "2023-07-04 12:00,1234567890,21\n", expected="meter_reading 12:00 1.23457e+09;"
          "temperature 12:00 21"),
    Shape("a unit in a sensor's name", "time,sensor,value\n1688472000,Attic (°F),212\n",
          expected="Attic_F 12:00 100"),
    Shape("units that tmon doesn't know",
          "time,Humidity (g/kg),Temp (°R),Pressure (dPa)\n1688472000,9.5,530,999\n",
          expected="humidity 12:00 9.5; pressure 12:00 999; temperature 12:00 530"),
    Shape("one bad byte", "time,temp °C,note\n1688472000,21.5,".encode() + b"\xfc\n",
          expected="temperature 12:00 21.5"),
    Shape("the hour that comes twice, of two sensors",
          "time,sensor,value\n" + "".join(
              f"2023-10-29 {at},{one},{n}\n"
              for n, at in enumerate(("02:00", "02:30", "02:00", "02:30", "03:00"))
              for one in "ab"),
          "--tz Europe/Berlin",
          "a 00:00 0; a 00:30 1; a 01:00 2; a 01:30 3; a 02:00 4;"
          "b 00:00 0; b 00:30 1; b 01:00 2; b 01:30 3; b 02:00 4"),
    Shape("thousands that a flag tells", "time;x (W)\n1688472000;1.250\n1688472060;1.013,5\n",
          "--decimal ,", "x 12:00 1250; x 12:01 1013.5"),
]  # fmt: skip


LEFT_OUT = {
    "foo": ("21.5 foo", "21.6 foo"),
    "°xyz": ("21.5 °xyz", "21.6 °xyz"),
    "∂": ("21.5∂", "21.6∂"),
    "parts per million": ("21 parts per million", "22 parts per million"),
    "bar/x": ("21.5 bar/x", "--"),
    "kFoo": ("21.5 kFoo", "21.5 kFoo\n1688472120,20,21.5"),
}


@pytest.mark.parametrize("unit", LEFT_OUT)
def test_a_column_in_a_unit_that_nobody_knows_is_told(tmp_path: Path, unit: str) -> None:
    first, second = LEFT_OUT[unit]
    text = f"time,temp_c,x\n1688472000,20,{first}\n1688472060,20,{second}\n"
    done = import_shape(tmp_path, Shape("", text))
    said = " ".join(done.output.split())
    assert f"'x' is in {unit}, a unit that tmon doesn't know: --value 'x=x:{unit}' keeps it" in said
    kept = import_shape(tmp_path, Shape("", text, f"--time time --value 'x=x:{unit}'"))
    assert "stored" in kept.output
    assert f"n/x {unit}" in " ".join(kept.output.split())


@pytest.mark.parametrize("name", ["temp_out_f", "Outdoor temperature F", "dew_f"])
def test_a_unit_in_a_name_is_told(tmp_path: Path, name: str) -> None:
    for text in (f"time,{name}\n1688472000,50\n", f"time,sensor,value\n1688472000,{name},50\n"):
        done = import_shape(tmp_path, Shape("", text))
        assert "in F by its name; stored in °C" in done.output
        assert {value for *_, value in readings(tmp_path / "t.db")} == {10.0}


@pytest.mark.parametrize("shape", REFUSED_ROWS, ids=lambda shape: shape.name)
def test_a_row_that_may_mean_two_things_is_refused(tmp_path: Path, shape: Shape) -> None:
    done = import_shape(tmp_path, shape)
    assert len(readings(tmp_path / "t.db")) == 2 * HOURS, done.output
    assert shape.error in " ".join(done.output.split())


@pytest.mark.parametrize("shape", REFUSED, ids=lambda shape: shape.name)
def test_a_file_that_may_mean_two_things_is_refused(tmp_path: Path, shape: Shape) -> None:
    assert_refused(tmp_path, shape)


@pytest.mark.parametrize("shape", READ, ids=lambda shape: shape.name)
def test_a_file_is_read_as_it_is_meant(tmp_path: Path, shape: Shape) -> None:
    done = import_shape(tmp_path, shape)
    stored = [
        f"{sensor} {at[11:16]} {value:g}" for _, sensor, at, value in readings(tmp_path / "t.db")
    ]
    assert stored == [row.strip() for row in shape.expected.split(";")], done.output
