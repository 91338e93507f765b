"""``/metrics``: what happened, as Prometheus reads it."""

import time
from pathlib import Path

import requests
from prometheus_client.parser import text_string_to_metric_families

from ingest.metrics import RENDERED_S, Metrics
from tests.station import Process, Station, tmon, wait_for


def fresh_samples(url: str) -> dict[str, float]:
    """Samples that are rendered anew, after a second."""
    time.sleep(RENDERED_S)
    return samples(url)


def samples(url: str) -> dict[str, float]:
    """Each sample by its name and labels, as Prometheus would store it."""
    answer = requests.get(f"{url}/metrics", timeout=60)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_readings_are_counted_by_what_became_of_them(station: Station) -> None:
    readings = [{"value": 1, "measured_ms": 1_795_176_000_000}, {"value": 1e31}, {"sensor": "/"}]
    station.post(readings)
    station.post(readings[:1])
    counts = samples(station.url)
    assert counts["tmon_readings_total accepted"] == 1
    assert counts["tmon_readings_total duplicate"] == 1
    assert counts["tmon_readings_total rejected"] == 2
    assert counts["tmon_rejections_total implausible_value"] == 1
    assert counts["tmon_rejections_total missing_value"] == 1


def test_responses_are_counted_by_status_also_those_of_the_connection(station: Station) -> None:
    station.post({"value": 1})
    station.post(b"{")
    station.http.post(f"{station.url}/readings", timeout=60)
    station.http.get(f"{station.url}/nothing", timeout=60)
    station.http.get(f"{station.url}/healthz", headers={"X": "x" * 17_000}, timeout=60)
    counts = samples(station.url)
    counted = {name.split()[1]: counts[name] for name in counts if name.startswith("tmon_http")}
    assert counted == {"201": 1, "400": 1, "401": 1, "404": 1, "431": 1}
    assert fresh_samples(station.url)["tmon_http_requests_total 200"] == 1  # the question before


def test_it_is_rendered_once_a_second(tmp_path: Path) -> None:
    now_s = 0.0
    metrics = Metrics(tmp_path / "tmon.db", lambda: 0, lambda: 0.0, clock=lambda: now_s)
    first = metrics.render()
    metrics.answered(200)
    now_s = 0.999
    assert metrics.render() is first
    now_s = 1.0
    assert b'tmon_http_requests_total{status="200"} 1.0' in metrics.render()


def test_commits_are_measured(station: Station) -> None:
    station.post([{"sensor": f"s{i}", "value": 1} for i in range(20)])
    counts = samples(station.url)
    assert counts["tmon_commit_duration_seconds_count"] == 1
    assert 0 < counts["tmon_commit_duration_seconds_sum"] < 10
    assert counts["tmon_commit_readings_sum"] == 20
    assert counts["tmon_commit_readings_bucket 10.0"] == 0
    assert counts["tmon_commit_readings_bucket 30.0"] == 1
    assert counts["tmon_backlog_readings"] == 0
    assert counts["tmon_wal_bytes"] == station.path.with_name("tmon.db-wal").stat().st_size > 0


def test_metrics_have_no_token_and_no_name(station: Station) -> None:
    station.post({"value": 1, "sensor": "secret-lair"})
    text = requests.get(f"{station.url}/metrics", timeout=60).text
    assert "basement" not in text
    assert "secret-lair" not in text
    assert "tmon_basement" not in text


def test_every_sample_has_help_and_a_base_unit(station: Station) -> None:
    station.post([{"value": 1}, {"value": None}])
    text = requests.get(f"{station.url}/metrics", timeout=60).text
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    helped = [line.split()[2] for line in text.splitlines() if line.startswith("# HELP")]
    assert families == helped
    assert all(name.startswith("tmon_") for name in families)
    assert not [name for name in families if name.endswith(("_ms", "_created", "_kb"))]


def test_the_writer_in_its_own_process_is_measured_too(tmp_path: Path) -> None:
    token = tmon(tmp_path, "token", "get", "basement").stdout.strip()
    served = Process(tmp_path, "serve", "ingest", "--port", "0")
    try:
        url = served.addresses(1)["ingest"]
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.post(f"{url}/readings", json={"value": 1}, headers=headers, timeout=60)
        assert answer.status_code == 201
        wait_for(lambda: samples(url)["tmon_commit_duration_seconds_count"] == 1)
    finally:
        served.kill()
