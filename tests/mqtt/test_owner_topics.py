"""The owner's own topics: a row for each, and errors that name line and field."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mqtt.broker import Broker, bridge, connected, end
from tests.mqtt.test_mqtt import rows
from tests.station import station_in_thread, tmon, wait_for
from tmon.mqtt.messages import Measured
from tmon.mqtt.owner_topics import InvalidTopics, load
from tmon.mqtt.quantities import Quantities, QuantityNotes

TOPICS = """
# The greenhouse's own firmware.
- topic: "greenhouse/<node>/<sensor>"
  unit: °C
- topic: meters/<any>/state
  node: cellar
  sensor: power
  value: ENERGY.Power
  unit: W
  quantity: power
- topic: meters/<any>/state
  node: cellar
  sensor: pressure
  value: $.data[1]["a.b"]
  unit: kPa
  time: at
"""
STATE = '{"ENERGY": {"Power": "12.5"}, "data": [0, {"a.b": 98.5}], "at": 1772366400}'


def written(folder: Path, text: str) -> Path:
    path = folder / "topics.yml"
    path.write_text(text)
    return path


def test_each_row_that_matches_has_a_reading(tmp_path: Path) -> None:
    own = load(written(tmp_path, TOPICS))
    found = [one for row in own for one in row.readings("meters/1/state", STATE)]
    assert found == [
        Measured("cellar", "power", 12.5, "W", quantity="power"),
        Measured("cellar", "pressure", 985.0, "hPa", 1_772_366_400_000),
    ]
    assert [*own[0].readings("greenhouse/bed/soil", "21.5")] == [
        Measured("bed", "soil", 21.5, "°C")
    ]
    for payload in ("{}", "[]", "12", '{"data": [0]}', '{"ENERGY": 1}', "{"):
        assert [one for row in own for one in row.readings("meters/1/state", payload)] == []


def test_the_example_of_the_docs(tmp_path: Path) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "connect.md").read_text()
    [example] = re.findall(r"```yaml\n(# A number for each.*?)```", docs, re.DOTALL)
    own = load(written(tmp_path, example))
    state = '{"ENERGY": {"Power": 12.5}, "phases": [{"total.kWh": 3}], "at": 1772366400}'
    assert [one for row in own for one in row.readings("meters/cellar/state", state)] == [
        Measured("cellar", "power", 12.5, "W", quantity="power"),
        Measured("cellar", "energy_total", 3, "kWh", 1_772_366_400_000),
    ]
    assert [*own[0].readings("greenhouse/bed/soil", "40")] == [Measured("bed", "soil", 40, "%")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- topic: a/<node>/<sensor>\n  unti: V", "line 2: 'unti': the fields are topic, node,"),
        ("\n- topic: a/<node>\n", "line 2: sensor: give it once"),
        ("- topic: a/<node>/<sensor>\n  node: x", "line 2: node: give it once"),
        ("- node: x\n  sensor: y", "line 1: topic: is missing"),
        ("- topic: a/+/<sensor>\n  node: x", "line 1: topic: '+' must be a word"),
        ("- topic: a/<x>/<sensor>\n  node: x", "line 1: topic: <x>: the places are"),
        ("- topic: a/<node...>/<sensor>", "line 1: topic: <node...> must be the last level"),
        ("- topic: a/<node>/<node>/<sensor>", "line 1: topic: <node> stands in it twice"),
        ("- topic: a/<node>/<sensor>\n  value: a..b", "line 2: value: 'a..b' must be number"),
        ("- topic: a/<node>/<sensor>\n  time: '[x'", "line 2: time: '[x' must be number"),
        ("- topic: a/<node>/<sensor>\n  unit: %", "line 2: found character '%'"),
        ("- topic: a/<node>\n  sensor: a b", "line 2: sensor: no sensor can be called 'a b'"),
        (f"- topic: a/<node>/<sensor>\n  unit: {'x' * 33}", "line 2: unit: unit must be at most"),
        ("- topic: a/<node>/<sensor>\n  unit: [V]", "line 2: unit: must be a text"),
        (f"- topic: a/<node>/<sensor>\n  quantity: {'x' * 65}", "line 2: quantity: must be at"),
        ("- topic: a\n  topic: b", "line 2: topic: is given more than once"),
        ("- a/<node>/<sensor>", "line 1: expected a row"),
        ("", "expected rows like"),
        ("just words", "line 1: expected a row"),
        ("- topic: a/<node>\n- topic: <b>/<node>", "line 2: topic: <b>: the places"),
    ],
)
def test_an_error_names_line_and_field(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InvalidTopics) as error:
        load(written(tmp_path, text))
    assert expected in str(error.value)


def test_a_file_that_is_none_is_told_at_start(tmp_path: Path) -> None:
    flags = ("--mqtt-url", "mqtt://127.0.0.1:1", "--mqtt-topics")
    missing = tmon(tmp_path, "mqtt", *flags, "nothing.yml")
    assert (missing.returncode, "nothing.yml: No such file" in missing.stderr) == (1, True)
    (tmp_path / "binary.yml").write_bytes(b"\xff")
    binary = tmon(tmp_path, "mqtt", *flags, "binary.yml")
    assert (binary.returncode, "not UTF-8" in binary.stderr) == (1, True)


def test_the_owners_topics_come_first(tmp_path: Path, broker: Broker) -> None:
    """Also on a topic that tmon knows by itself."""
    path = written(tmp_path, "- {topic: tmon/<node>/t, sensor: x, unit: °F, quantity: heat}")
    with station_in_thread(tmp_path) as station:
        tmon(tmp_path, "device", "adopt", "shed", "shed", "--unheard")
        running = bridge(station, broker, "--mqtt-topics", str(path))
        wait_for(lambda: connected(station))
        broker.publish(("tmon/shed/t", "70.7"), ("tmon/shed/u", "1"))
        wait_for(lambda: station.count() == 2)
        assert rows(station) == [("shed", "u", 1.0, None), ("shed", "x", 21.5, "°C")]
        quantities = "select name, quantity from sensors order by 1"
        wait_for(lambda: station.query(quantities) == [("u", None), ("x", "heat")])
        end(running, station)


def test_a_quantity_is_set_once_its_sensor_is_there(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[Quantities] = []
    answers: Iterator[Quantities | OSError] = iter(
        [OSError("not now"), {}, {("shed", "x"): "heat"}]
    )
    now_s = 0.0

    def apply(waiting: Quantities) -> Quantities:
        asked.append({**waiting})
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    notes = QuantityNotes(apply, clock=lambda: now_s)
    reading = Measured("shed", "x", 1, quantity="heat")
    for now_s in (0.0, 1.0, 60.0, 61.0, 120.0, 180.0, 240.0):  # noqa: B007 - the clock reads it
        notes.note([reading, Measured("shed", "y", 1)])
    assert asked == [{("shed", "x"): "heat"}] * 3
    assert "trying again: not now" in caplog.text
