"""T18: what Datasette shows beside what the file has."""

import json
import shutil
from pathlib import Path

import pytest

from tests.publish.published import served
from tests.watch.watched import MINUTE_MS, NOW_MS, StationReport, Watched, answering
from tmon.watch import check
from tmon.watch.check import CheckOptions
from tmon.watch.checks import published
from tmon.watch.checks.http_probe import NoAnswer
from tmon.watch.checks.reachability import Addresses
from tmon.watch.findings import Finding
from tmon.watch.station import Station


def look(watched: Watched, url: str, *, remote: bool = False) -> list[Finding]:
    station = Station(watched.db, watched.settings, NOW_MS, {})
    return [*published.check(station, Addresses("", url, remote))]


def shows(*measured_ms: int) -> dict[str, tuple[int, bytes]]:
    rows = [{"measured_ms": one} for one in measured_ms]
    return {"/tmon/readings.json": (200, json.dumps({"rows": rows}).encode())}


def test_a_page_is_older_than_the_file(watched: Watched, tmp_path: Path) -> None:
    watched.node("attic")
    sensor = watched.sensor("attic")
    watched.every_minute(sensor, 20.0, 21.0, until_ms=NOW_MS - MINUTE_MS)
    watched.measure(sensor, [(NOW_MS + 5 * MINUTE_MS, 22.0)])  # ahead: hides nothing
    watched.db.execute("pragma wal_checkpoint(truncate)")
    old = tmp_path / "old"
    old.mkdir()
    shutil.copy(watched.path, old)
    with served(old / "tmon.db") as site:
        assert look(watched, site.url) == []
        watched.measure(sensor, [(NOW_MS, 23.0)])
        [finding] = look(watched, site.url)
    assert (finding.number, str(finding.severity)) == ("T18", "critical")
    assert finding.reason == (
        "12 of 12 pages show nothing newer than 2026-11-22 11:59 UTC,"
        " the file has readings of 2026-11-22 12:00 UTC"
    )


def test_a_page_without_any_reading_is_older(watched: Watched) -> None:
    with answering(shows()) as server:
        assert look(watched, server.url) == []  # nor has the file one
        watched.node("attic")
        watched.measure(watched.sensor("attic"), [(NOW_MS, 20.0)])
        assert [finding.number for finding in look(watched, server.url)] == ["T18"]


def test_a_page_may_be_newer(watched: Watched) -> None:
    watched.node("attic")
    watched.measure(watched.sensor("attic"), [(NOW_MS, 20.0)])
    with answering(shows(NOW_MS + 1)) as server:
        assert look(watched, server.url) == []
        assert look(watched, server.url, remote=True) == []
        assert look(watched, "") == []
    assert len(server.asked) == published.REQUESTS


def test_an_error_instead_of_the_page_is_no_answer(watched: Watched) -> None:
    watched.node("attic")
    watched.measure(watched.sensor("attic"), [(NOW_MS, 20.0)])
    with (
        answering({"/tmon/readings.json": (500, b"{}")}) as server,
        pytest.raises(NoAnswer, match="it answered 500"),
    ):
        look(watched, server.url)


def test_if_datasette_doesnt_answer_its_pages_are_skipped(watched: Watched) -> None:
    watched.node("attic")
    watched.measure(watched.sensor("attic"), [(NOW_MS, 20.0)])
    report = StationReport()
    with answering({}) as server:
        addresses = Addresses("", server.url, remote=False)
        options = CheckOptions(watched.settings, addresses, NOW_MS, retry_pauses_s=(0.0,))
        check.run_checks(options, report, lambda _: None)
    assert [finding.number for finding in report.findings] == ["T05"]
    assert report.skipped == {"T18"}
    assert report.unknown == []
