"""The benchmark runs, and its page says what it measured; how fast anything is, is no test."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from bench import chart, figures, report
from bench.figures import Record
from bench.machine import Machine
from bench.scale import Scale
from bench.shape import LINES, TMON, Node, Point
from bench.targets import ROWS, TARGETS, results

ROOT = Path(__file__).parent.parent
MACHINE = Machine("A <fast> & cheap CPU", 2, 4.0, "Linux 6", "ext4", 0.2, {"SQLite": "3.53"})
NODE = Node("n00001", "tmon_secret")


@pytest.fixture
def record() -> Record:
    record = Record(MACHINE)
    for value in (18_000, 20_000, 19_000):
        record.add("single.rate", "tmon", value)
        record.add("single.rate", "InfluxDB", 20_000)
        record.add("single.rate", "Datasette insert API", 400)
    record.add("many.p99_ms", "tmon", 60)
    record.add("many.p99_ms", "InfluxDB", 20)
    return record


def smoke(out: Path, *arguments: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments, "--out", str(out), "--scratch", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(600)  # half a minute where nothing else runs
def test_a_smoke_run_measures_every_row(tmp_path: Path) -> None:
    ran = smoke(tmp_path, "--smoke")
    assert ran.returncode == 0, ran.stderr
    measured = json.loads((tmp_path / "performance.json").read_text())["figures"]
    assert {name.partition(".")[0] for name in measured} == set(ROWS)
    assert all(value > 0 for value in measured["single.rate"]["rounds"]["tmon"])
    page = (tmp_path / "performance.md").read_text()
    for target in TARGETS:
        assert f"| {target.id} | {target.work} |" in page
        assert f"| {target.id} | {target.work} |" in ran.stdout
    assert str(tmp_path) not in page
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"performance.json", "performance.md", "performance.svg"}


def test_a_smoke_run_is_kept_out_of_the_docs() -> None:
    ran = smoke(ROOT / "docs", "--smoke")
    assert ran.returncode == 2
    assert "--out DIR" in ran.stderr


def test_the_table_has_medians_ratios_and_verdicts(record: Record) -> None:
    page = report.render(record, Scale(), threads=2)
    sign = "\N{MULTIPLICATION SIGN}"
    assert f"| 19,000 readings/s | 20,000 (InfluxDB) | 0.95 {sign} |" in page
    assert f"| 47.5 {sign} |" in page
    verdicts = {line.target.id: line.verdict for line in results(record)}
    assert verdicts["single"] == "reached"
    assert verdicts["single-datasette"] == "falls short"
    assert verdicts["many-p99"] == "falls short"
    assert verdicts["start"] == "not measured"


def test_what_falls_short_has_its_reason_or_says_that_there_is_none(record: Record) -> None:
    page = report.render(record, Scale(), threads=2)
    told = page.partition("## What falls short, and why")[2].partition("\n## ")[0]
    assert "**single-datasette.**" in told
    assert "**bytes.**" in told  # what would bring 10 is said in any case
    assert "**single.**" not in told


def test_reasons_are_of_rows_that_there_are() -> None:
    headings = {
        line.removeprefix("## ").removesuffix(", always")
        for line in report.REASONS.read_text().splitlines()
        if line.startswith("## ")
    }
    assert headings <= {target.id for target in TARGETS}


def test_a_run_keeps_the_rows_that_another_one_measured(record: Record, tmp_path: Path) -> None:
    record.save(tmp_path / "performance.json")
    large = Record(MACHINE)
    large.add("start.s", "cold", 1.5)
    large.add("many.p99_ms", "tmon", 30)
    merged = large.merged_into(figures.load(tmp_path / "performance.json"))
    assert merged.figures["single.rate"].median("tmon") == 19_000
    assert merged.figures["start.s"].median("cold") == 1.5
    assert merged.figures["many.p99_ms"].rounds == {"tmon": [30]}


def test_figures_of_another_machine_are_not_mixed_in(record: Record) -> None:
    elsewhere = Record(Machine("another CPU", 4, 4.0, "Linux 6", "ext4", 0.2, {}))
    assert elsewhere.merged_into(record).figures == {}


def test_the_chart_is_well_formed_and_shows_how_much_better(record: Record) -> None:
    svg = ET.fromstring(chart.render(results(record)))
    texts = [text.text or "" for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert "one reading a request" in texts
    assert any(text.startswith("0.95 ") for text in texts)
    assert any(text.startswith("0.333 ") for text in texts)  # a third as good: 60 ms against 20


def test_a_request_is_what_tmon_takes() -> None:
    head, _, body = TMON.request(
        NODE, [Point("temperature", 1_763_812_800_000, "21.50")]
    ).partition(b"\r\n\r\n")
    assert b"Authorization: Bearer tmon_secret" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body) == {
        "sensor": "temperature",
        "value": 21.5,
        "unit": "°C",
        "measured_ms": 1_763_812_800_000,
    }


def test_several_readings_are_one_list_or_one_line_each() -> None:
    points = [Point("a", 1, "2"), Point("b", 2, "3")]
    assert len(json.loads(TMON.request(NODE, points).partition(b"\r\n\r\n")[2])) == 2
    lines = LINES.request(NODE, points).partition(b"\r\n\r\n")[2]
    assert lines == b"a,node=n00001 value=2 1\nb,node=n00001 value=3 2"


def test_missing_programs_are_told_with_their_packages() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bench"],
        cwd=ROOT,
        env={"PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "apt install wrk influxdb victoria-metrics" in ran.stderr
