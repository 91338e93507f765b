"""The newest readings as Prometheus reads them, and what scripts of other sites may read."""

import re
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.publish.published import Serve, Site, served
from tmon.db.connect import open_database

PATH = "/-/prometheus"


@pytest.fixture(scope="module")
def measured(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("measured") / "tmon.db"
    now_ms = int(time.time() * 1000)
    sensors = [
        (1, "temperature", "temperature", "°C", 21.5, 0),
        (2, "temperature/north", "temperature", "°C", -3.0, 0),
        (3, "humidity", "humidity", "%", 40.0, 0),
        (4, "tank", None, 'cm "x"\\', 12.5, 0),
        (5, "plain", None, None, 1e-7, 0),
        (6, "gone", "temperature", "°C", 1.0, 400 * 86_400_000),
        (7, "moisture", "B", "%", 2.0, 0),
    ]
    with open_database(path, create=True) as db:
        db.execute("insert into nodes (name, uid, created_ms) values ('attic', 'u', 0)")
        for number, name, quantity, unit, value, ago_ms in sensors:
            db.execute(
                "insert into sensors (id, node, name, quantity, unit) values (?, 'attic', ?, ?, ?)",
                [number, name, quantity, unit],
            )
            db.execute(
                "insert into readings (sensor, measured_ms, value) values (?, ?, ?)",
                [number, now_ms - ago_ms, value],
            )
    return serve(path)


def samples(site: Site) -> dict[tuple[str, str], float]:
    answer = site.get(PATH)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, sample.labels["sensor"]): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_each_sensor_that_is_not_silent_has_its_newest_reading(measured: Site) -> None:
    found = samples(measured)
    times = {key: found.pop(key) for key in [*found] if key[0].endswith("timestamp_seconds")}
    assert found == {
        ("tmon_temperature_celsius", "temperature"): 21.5,
        ("tmon_temperature_celsius", "temperature/north"): -3.0,
        ("tmon_humidity_percent", "humidity"): 40.0,
        ("tmon_value", "tank"): 12.5,
        ("tmon_value", "plain"): 1e-7,
        ("tmon_value_percent", "moisture"): 2.0,
    }
    assert {sensor for _, sensor in times} == {sensor for _, sensor in found}
    assert all(abs(at_s - time.time()) < 600 for at_s in times.values())


def test_the_text_is_as_the_format_wants_it(measured: Site) -> None:
    """As `promtool check metrics` does: help and type once, samples together, plain names."""
    text = measured.get(PATH).text
    assert text.endswith("\n")
    lines = text.splitlines()
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    assert [line.split()[2] for line in lines if line.startswith("# HELP")] == families
    of_samples = [re.split("[{ ]", line)[0] for line in lines if not line.startswith("#")]
    assert [name for n, name in enumerate(of_samples) if name not in of_samples[:n]] == families
    assert all(re.fullmatch("tmon_[a-z]{2,}(_[a-z]{2,})*", name) for name in families)
    assert not any(name.endswith("_total") for name in families)
    assert r'unit="cm \"x\"\\"' in text


def test_an_empty_station_has_no_samples(serve: Serve, tmp_path: Path) -> None:
    open_database(tmp_path / "tmon.db", create=True).close()
    assert samples(serve(tmp_path / "tmon.db")) == {}


@pytest.mark.parametrize(
    "page", ["/tmon/latest.json", "/tmon/readings.csv", "/node/attic/temperature.svg", PATH]
)
def test_scripts_of_other_sites_may_read_data_but_no_pages(measured: Site, page: str) -> None:
    headers = measured.get(page).headers
    assert headers["access-control-allow-origin"] == "*"
    assert "ETag" in headers["access-control-expose-headers"]
    assert "Content-Range" in headers["access-control-expose-headers"]
    for html in ("/", "/tmon/latest", "/nowhere"):
        assert "access-control-allow-origin" not in measured.get(html).headers
    assert "access-control-allow-origin" in measured.get("/nowhere.json").headers


def test_one_setting_turns_it_off(measured: Site) -> None:
    with served(measured.path, cors="no") as site:
        assert "access-control-allow-origin" not in site.get("/tmon/latest.json").headers
