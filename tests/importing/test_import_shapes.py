"""Shapes of other loggers, and what is odd about them: read as they are meant, or refused."""

from pathlib import Path

import pytest

from tests.importing.importing import Shape, assert_refused, import_shape, readings

DAY = "2023-06-01"
READ = [
    Shape("Elitech",
          "Elitech\nModel,RC-5\nStart Time,2023-06-01 10:00:00\n"
          "No.,Time,Temperature(℃),Humidity(%RH)\n"
          "1,2023-06-01 10:00:00,21.5,45.1\n2,2023-06-01 10:10:00,21.6,45.3\n",
          expected="humidity 10:00 45.1; humidity 10:10 45.3; temperature 10:00 21.5;"
          "temperature 10:10 21.6"),
    Shape("Aranet, whose header says the order",
          '"Time(DD/MM/YYYY H:mm:ss)","Carbon dioxide(ppm)"\n"01/06/2023 13:00:00","612"\n',
          expected="co2 13:00 612.0"),
    Shape("Campbell TOA5",
          '"TOA5","CR1000","CR1000","1","x","y","1","T"\n"TIMESTAMP","RECORD","AirTC","RH"\n'
          '"TS","RN","Deg C","%"\n"","","Avg","Smp"\n"2023-06-01 00:00:00",0,21.5,"NAN"\n',
          expected="airtc 00:00 21.5"),
    Shape("units below the header", "time,temp,hum\n,°F,%\n2023-06-01 00:00,68,45\n",
          expected="humidity 00:00 45.0; temperature 00:00 20.0"),
    Shape("EL-USB, a cell short where nothing has a name",
          "EasyLog,Time,Celsius(°C),\n1,13/06/2023 13:00:00,21.5\n", error="2023-06-13T13:00Z"),
    Shape("Swiss thousands, dates and times apart, steady over midnight",
          "Datum;Zeit;Temp °C;Leistung (W)\n31.05.2023;23:55;21,5;1'250,5\n"
          "01.06.2023;00:00;21,6;980,0\n",
          expected="leistung 00:00 980.0; temperature 00:00 21.6", error="day/month/year"),
    Shape("the order of dates by midnight alone",
          "Date,Temp °C\n01/02/2023 23:45,1\n01/02/2023 23:50,2\n02/02/2023 00:00,3\n",
          error="2023-02-01T23:45Z … 2023-02-02T00:00Z"),
    Shape("the order of dates by a day that the sample has not",
          "Date,Temp °C\n" + "".join(
              f"{1 + n // 1440:02}/06/2023 {n // 60 % 24:02}:{n % 60:02}:00.000,{n % 40}.25\n"
              for n in range(29 * 1440)) + "01/07/2023 10:00:00.000,1\n" * 6000,
          error="'Date' as 01/06/2023 00:00:00.000 (day/month/year)"),
    Shape("French thousands", "Date;Pression (hPa)\n2023-06-01 10:00;1\u202f013,2\n",
          expected="pressure 10:00 1013.2"),
    Shape("a real minus", "time,temp_c\n2023-06-01 10:00,\N{MINUS SIGN}3.5\n",
          expected="temperature 10:00 -3.5"),
    Shape("month names", "Zeit;Temp [°C]\n1. Juni 2023 10:00;21,5\nThu 01 Jun 2023 11:00;20,5\n",
          expected="temperature 10:00 21.5; temperature 11:00 20.5"),
    Shape("latin-1", "Zeit;PM (µg/m³)\n2023-06-01 10:00;3,2\n".encode("latin-1"),
          expected="pm 10:00 3.2", error="cp1252"),
    Shape("UTF-16, big end first", "\ufefftime,temp_c\n2023-06-01 10:00,1.5\n".encode("utf-16-be"),
          expected="temperature 10:00 1.5", error="UTF-16"),
    Shape("pandas with its index", ",time,temp_c\n0,2023-06-01 10:00:00+00:00,21.5\n",
          expected="temperature 10:00 21.5"),
    Shape("AM and PM apart, and named", "Date,Time,Half,T_C\n2023-06-01,1:00,PM,1\n",
          "--time Date --time Time --time Half", expected="temperature 13:00 1.0"),
    Shape("days and hours apart, and named", "date,hour,T_C\n2023-06-01,13,5\n2023-06-01,14,6\n",
          "--time date --time hour", expected="temperature 13:00 5.0; temperature 14:00 6.0"),
    Shape("a unit beside the value, which a flag doesn't say",
          "time,value,unit\n2023-06-01 10:00,41,°F\n",
          "--time time --value value=temperature", expected="temperature 10:00 5.0"),
    Shape("a unit in a column, beside a temperature", "time,Unit,Temp\n2023-06-01 10:00,F,41\n",
          expected="temperature 10:00 5.0"),
    Shape("letters that count", "time,Temp_A,Temp_F\n2023-06-01 10:00,1,2\n",
          "--time time --value Temp_F=temperature", expected="temperature 10:00 2.0"),
    Shape("two files in one, each with its mark", 2 * "\ufefftime,temp_c\n2023-06-01 10:00,1\n",
          error="already there 1"),
    Shape("°F by a letter",
          "time,temperatureF\n2023-06-01 10:00,14\n", expected="temperature 10:00 -10.0"),
    Shape("comments", "# x\n# time,temp (°C)\n2023-06-01 10:00,1\n# y\n// z\n2023-06-01 11:00,2\n",
          expected="temperature 10:00 1.0; temperature 11:00 2.0"),
    Shape("blanks between cells", "Date       Time  T_C\n2023-06-01 10:00  21.5\n",
          expected="temperature 10:00 21.5"),
    Shape("line ends of all kinds", "time,temp_c\r\n2023-06-01 10:00,1\r2023-06-01 11:00,2\n",
          expected="temperature 10:00 1.0; temperature 11:00 2.0"),
    Shape("zeros of a card that lost its power", "time,temp_c\n\0\0\0\n2023-06-01 10:00,1\n\0",
          expected="temperature 10:00 1.0", error="invalid_row"),
    Shape("MQTT", "time,topic,payload\n2023-06-01T12:00+0200,a/temperature,21\n"
          "2023-06-01T12:00+0200,a/door,open\n",
          expected="a/temperature 10:00 21.0", error="payload 'open' is not a number"),
    Shape("an InfluxDB annotated file, two tables",
          "#group,false,false,true,false\n#datatype,string,long,dateTime:RFC3339,double,string\n"
          "#default,_result,,,,\n,result,table,_time,_value,_field\n"
          ",,0,2023-06-01T10:00:00Z,21.5,temperature\n\n#group,false,false,true,false\n"
          ",result,table,_time,_value,_field\n,,1,2023-06-01T10:00:00Z,45,humidity\n",
          expected="humidity 10:00 45.0; temperature 10:00 21.5"),
    Shape("-999 of a column nobody named",
          "time,rain\n2023-06-01 10:00,-999\n2023-06-01 11:00,0.4\n",
          expected="rain 11:00 0.4", error="rain: -999 is taken as no value"),
    Shape("another table in the middle",
          "time,temp_c\n2023-06-01 10:00,21\ntime,hum\n2023-06-01 11:00,45\n",
          expected="temperature 10:00 21.0", error="line 3 begins another table: time, hum"),
    Shape("the same header below a title",
          "time,value\n2023-06-01 10:00,21\n\nHumidity\ntime,value\n2023-06-01 11:00,45\n",
          expected="value 10:00 21.0", error="line 5 begins another table"),
    Shape("a row twice in the hour that comes twice",
          "time,temp_c\n" + 2 * "2023-10-29 02:00,1\n" + "2023-10-29 02:00,2\n",
          "--tz Europe/Berlin", error="stored 2 already there 1"),
    Shape("nodes named anew",
          "time,node,temp_c\n2023-06-01 10:00,Küche,1\n2023-06-01 10:00,Bad,2\n",
          "--node-column node --node-map Bad=bath",
          expected="Kuche/temperature 10:00 1.0; bath/temperature 10:00 2.0"),
    Shape("two nodes of one name",
          "time,node,temp_c\n2023-06-01 10:00,a b,1\n2023-06-01 10:00,a/b,2\n",
          "--node-column node",
          expected="a_b/temperature 10:00 1.0", error="'a/b' would be a_b as well"),
    Shape("an offset in brackets", "Time (-5),temp_c\n2023-06-01 10:00,21\n",
          expected="temperature 15:00 21.0"),
    Shape("a longer header that begins alike",
          "time,temp_c\n2023-06-01 10:00,21\n\ntime,temp_c,host\n2023-06-01 11:00,45,a\n",
          expected="temperature 10:00 21.0", error="line 4 begins another table: time"),
    Shape("milliseconds after a colon", "time,temp_c\n2023-06-01 10:00:00:250,21\n",
          expected="temperature 10:00 21.0", error="2023-06-01T10:00:00.25"),
    Shape("an apostrophe among whole numbers",
          "time;W\n2023-06-01 10:00;1'250\n2023-06-01 11:00;\N{RIGHT SINGLE QUOTATION MARK}980\n"
          "2023-06-01 12:00;1\N{RIGHT SINGLE QUOTATION MARK}250.5\n",
          expected="w 10:00 1250.0; w 12:00 1250.5", error="980' is not a number"),
    Shape("numbers of another base, and infinity",
          "time,x\n2023-06-01 10:00,1\n2023-06-01 11:00,2\n2023-06-01 12:00,0x15\n"
          "2023-06-01 13:00,1e999\n", expected="x 10:00 1.0; x 11:00 2.0",
          error="x '0x15' is not a number"),
    Shape("quality codes and settings", "time,temperature,temperature_quality_code,firmware,"
          "sensor_index,High Alarm\n2023-06-01 10:00,21,5,2,7,30\n",
          expected="temperature 10:00 21.0"),
    Shape("temperatures far too warm, which a flag names", "time,t\n2023-06-01 10:00,215\n",
          "--time time --value t=temperature", expected="temperature 10:00 215.0"),
    Shape("tenths, as the answer says", "time,temp\n2023-06-01 10:00,215\n",
          "--time time --value temp=temperature:0.1°C", expected="temperature 10:00 21.5"),
    Shape("statistics, each with its unit", "statistic_id,unit,start,min,max,mean\n"
          "sensor.a_temp,°F,2023-06-01 10:00,40,42,41\nsensor.b,%,2023-06-01 10:00,40,50,45\n",
          expected="a_temp 10:00 5.0; b 10:00 45.0"),
    Shape("a column of units for each column",
          "time,temp,Temp Unit,hum,Hum Unit\n2023-06-01 10:00,41,°F,45,%\n",
          expected="humidity 10:00 45.0; temperature 10:00 5.0"),
    Shape("columns of units called alike",
          "Time,Channel1,Unit,Channel2,Unit\n2023-06-01 10:00,41,°F,45,%\n",
          expected="channel1 10:00 5.0; channel2 10:00 45.0"),
    Shape("columns of units without a name",
          "Time,Temp,,Hum,\n2023-06-01 10:00,41,°F,45,%\n",
          expected="humidity 10:00 45.0; temperature 10:00 5.0"),
    Shape("a wind from the west, which is no unit",
          "Time,Temp,Dir,Speed\n2023-06-01 10:00,21,W,3\n",
          expected="speed 10:00 3.0; temperature 10:00 21.0"),
    Shape("a row without a unit among rows with one", "time,sensor,value,unit\n"
          "2023-06-01 10:00,temperature,41,\n2023-06-01 11:00,temperature,41,°F\n"
          "2023-06-01 12:00,count,7,\n", expected="count 12:00 7.0; temperature 11:00 5.0",
          error="temperature has no unit, and others have; --sensor says it"),
    Shape("24:00 by a flag's format", "date,time,t_c\n2023-05-31,2400,1\n2023-06-01,2300,2\n",
          "--time date --time time --time-format '%Y-%m-%d %H%M'",
          expected="temperature 00:00 1.0; temperature 23:00 2.0"),
    Shape("24:00 in digits", "time,t_c\n202305312400,1\n202306012300,2\n",
          "--time time --time-format %Y%m%d%H%M",
          expected="temperature 00:00 1.0; temperature 23:00 2.0"),
    Shape("a year 24 and a day 24, which are no hours",
          "time,t_c\n10:00 01/06/23,1\n10:00 13/06/24,2\n",
          "--time time --time-format '%H:%M %d/%m/%y'",
          expected="temperature 10:00 1.0", error="2023-06-01T10:00Z … 2024-06-13T10:00Z"),
    Shape("a first row without a time", "time,temp_c\n0000-00-00 00:00:00,21\n--,20\n"
          "2023-06-01 10:00,22\n", expected="temperature 10:00 22.0", error="header in line 1"),
    Shape("names that are numbers, below a title", "Logger,A,B\nTime,31,32\n2023-06-01 10:00,2,3\n",
          expected="31 10:00 2.0; 32 10:00 3.0"),
    Shape("values that count, left of the time", "temp_c,time\n21,2023-06-01 10:00\n"
          "22,2023-06-01 11:00\n", expected="temperature 10:00 21.0; temperature 11:00 22.0"),
    Shape("a unit of each row", "time,sensor,value,unit\n2023-06-01 10:00,x,68,°F\n",
          expected="x 10:00 20.0"),
    Shape("a point among whole numbers, after the first rows",
          "time;W\n" + "".join(f"{DAY} {n // 60:02}:{n % 60:02};980\n" for n in range(1100))
          + "2023-06-01 20:00;1.250\n" + "".join(f"2023-06-02 {n // 60:02}:{n % 60:02};980\n"
          * 9 for n in range(1400)),
          error="'1.250' may have thousands; --decimal says it"),
]  # fmt: skip

REFUSED = [
    Shape("dates", "time,temp_c\n01/02/23 10:00,1\n", error="say --time-format '%d/%m/%y %H:%M', "),
    Shape("dates of two days, a month apart or one",
          "time,temp_c\n" + "01/06/2023 10:00,1\n" * 3 + "01/07/2023 10:00,1\n" * 3,
          error="say --time-format '%d/%m/%Y %H:%M' or '%m/%d/%Y %H:%M'"),
    Shape("two digits of a year first", "time,temp_c\n23-06-01 10:00,1\n",
          error="'%y-%m-%d %H:%M'"),
    Shape("°F or °C beside an empty column of units",
          "time,sensor,value,unit\n2023-06-01 10:00,temperature,71,\n", error="may be in °F"),
    Shape("a column in two units", "time,temp,temp_unit\n2023-06-01 10:00,71,F\n"
          "2023-06-01 11:00,21,C\n", error="'temp_unit' names several units (C, F)"),
    Shape("°F in a word above the header", "# units: F\ntime,temp\n2023-06-01 10:00,41\n",
          error="'# units: F' names F, and 'temp' no unit"),
    Shape("°F cut short above the header", "Unit: Fahr.\ntime,temp\n2023-06-01 10:00,41\n",
          error="names Fahr, and 'temp' no unit"),
    Shape("°F written wrongly", "time,Temp (Farenheit)\n2023-06-01 10:00,41\n",
          "--time time --value 'Temp (Farenheit)=t:°C'", error="is in F, and --value says °C"),
    Shape("°F after a star, with the place behind it",
          "time,\"Temperature (S 1),*F,Garden\"\n2023-06-01 10:00,41\n",
          "--time time --value 'Temperature (S 1),*F,Garden=t:°C'", error="is in F, and --value"),
    Shape("a zone above the header that is only an offset",
          "Timezone,-5\ntime,temp_c\n2023-06-01 10:00,21\n",
          error="'Timezone -5' stands before the header: --tz says of which zone the times are"),
    Shape("a zone above the header in words",
          "Time Zone,Eastern Standard Time\ntime,temp_c\n2023-06-01 10:00,21\n",
          error="stands before the header: --tz says"),
    Shape("a zone in a word of the header", "Time (Eastern),temp_c\n2023-06-01 10:00,21\n",
          error="names local time, Eastern: --tz says of which zone"),
    Shape("a German zone in a word", "Zeit (Winterzeit);temp_c\n2023-06-01 10:00;21\n",
          error="names local time, Winterzeit"),
    Shape("offsets in seconds", "time,utc_offset_s,temp_c\n2023-06-01 10:00,7200,21\n",
          error="'utc_offset_s' says of which zone the times are (7200): --tz says which"),
    Shape("temperatures far too warm", "time,temp\n2023-06-01 10:00,215\n",
          error="'temp' names no unit, and most of it is above 120: say --value"
          " 'temp=temperature:°C', or ':K', ':°F', ':0.1°C' for tenths"),
    Shape("numbers where the header should be", "2023 01 01 00 39 17\n2023 01 01 01 38 17\n",
          error="line 1 holds numbers (2023, 01, 01, 00, 39, 17): is --no-header missing?"),
    Shape("dates in five columns",
          "Year,Month,Day,Hour,Minute,t_c\n2023,1,1,0,51,2\n2023,1,1,1,51,3\n",
          error="--time 'Year' --time 'Month' --time 'Day' --time 'Hour' --time 'Minute'"
          " --time-format '%Y %m %d %H %M' joins them"),
    Shape("°F or °C", "time,Temperature\n2023-06-01 10:00,70.1\n", error="may be in °F"),
    Shape("°F or °C of an entity", "entity_id,state,last_changed\nsensor.a_temperature,70.1,"
          "2023-06-01T10:00:00Z\n", error="--sensor 'sensor.a_temperature=a_temperature:°F'"),
    Shape("cells in two units", "time,t\n2023-06-01 10:00,70 °F\n2023-06-01 11:00,21 °C\n",
          error="have several units"),
    Shape("an offset before the header", "Zone: GMT-07:00\ntime,temp_c\n2023-06-01 10:00,21\n",
          error="--tz 'UTC-07:00' if the times are in it"),
    Shape("a zone of several meanings", "Date-Time (EDT),temp_c\n2023-06-13 10:00,21\n",
          error="names EDT, which isn't one offset only"),
    Shape("decimal commas between commas", "time,temp_c,\n2023-06-01 10:00,21,5\n",
          error="may be numbers with decimal commas (21,5)"),
    Shape("more cells than names", "time,temp_c\n2023-06-01 10:00,21,5\n",
          error="line 2 has 3 cells, and the header names 2 columns"),
    Shape("several columns of times", "start time,end time,temp_c\n2023-06-01,2023-06-02,1\n",
          error="--time COL says which"),
    Shape("days and hours apart", "date,hour,T_C\n2023-06-01,13,5\n2023-06-01,14,6\n",
          error="say --time 'date' --time 'hour'"),
    Shape("units of several kinds beside the values",
          "time,value,unit\n2023-06-01 10:00,40,°F\n2023-06-01 10:00,45,%\n",
          error="'unit' names several units (%, °F)"),
    Shape("AM and PM apart", "Date,Time,Half,T_C\n2023-06-01,1:00,PM,1\n",
          error="say --time 'Date' --time 'Time' --time 'Half'"),
    Shape("several nodes", "time,room,temp_c\n2023-06-01 10:00,a,1\n2023-06-01 10:00,b,2\n",
          error="'room' says of what a row is (a, b): --node-column"),
    Shape("no header", "2023-06-01 10:00,21.5\n2023-06-01 11:00,21.5\n", error="--no-header"),
    Shape("gb18030", "时间,温度\n2023-06-01 10:00,21.5\n".encode("gbk"), error="such as gb18030"),
    Shape("UTF-16 without a mark", "time,temp_c\n2023-06-01,1\n".encode("utf-16-le"),
          error="--encoding utf-16-le"),
    Shape("a workbook", b"PK\x03\x04...", error="save it as CSV"),
    Shape("JSON", '[{"time": "2023-06-01"}]', error="is JSON"),
    Shape("JSON lines", '{"time": "2023-06-01"}\n{"time": "2023-06-02"}\n', error="is JSON"),
    Shape("an old workbook", b"\xd0\xcf\x11\xe0...", error="Excel workbook (xls)"),
    Shape("a web page", "<!doctype html><p>Log in", error="is HTML"),
    Shape("a damaged gzip file", b"\x1f\x8b\x08\x00\x00", error="is damaged"),
    Shape("an empty file", "", error="the file is empty"),
    Shape("blank lines", "\n \n", error="the file is empty"),
    Shape("a header", "time,temp_c\n", error="the file has a header and no rows"),
    Shape("a format without a year", "time,temp_c\n01.06. 10:00,1\n",
          "--time time --time-format %d.%m.%H:%M", error="has no year"),
    Shape("a format with half a day", "time,temp_c\n2023-06-01 10:00,1\n",
          "--time time --time-format %Y-%m-%d%I:%M", error="so it needs %p"),
    Shape("a format that passes PM over", "time,temp_c\n2023-06-01 10:00,1\n",
          "--time time --time-format %Y-%m-%d%H:%M%p", error="goes with %I"),
    Shape("no such encoding", "time,temp_c\n2023-06-01,1\n", "--encoding klingon",
          error="is unknown"),
]  # fmt: skip


@pytest.mark.parametrize("shape", READ, ids=lambda shape: shape.name)
def test_a_shape_is_read_as_it_is_meant(tmp_path: Path, shape: Shape) -> None:
    done = import_shape(tmp_path, shape)
    assert done.exit_code == 0, done.output
    stored = [
        f"{sensor if node == 'n' else f'{node}/{sensor}'} {at[11:16]} {value}"
        for node, sensor, at, value in readings(tmp_path / "t.db")
        if at.startswith(DAY)
    ]
    if shape.expected:
        assert stored == [row.strip() for row in shape.expected.split(";")], done.output
    assert shape.error in " ".join(done.output.split())


@pytest.mark.parametrize("shape", REFUSED, ids=lambda shape: shape.name)
def test_a_shape_that_cannot_be_told_is_one_line_that_says_what_helps(
    tmp_path: Path, shape: Shape
) -> None:
    assert_refused(tmp_path, shape)
