"""Strangers who ask the worst questions known don't stop what comes in, nor the front page."""

from pathlib import Path

import pytest

from bench.attack import Report, attack

MOST_MB = 400


def holds(report: Report) -> None:
    """What holds under attack however busy the machine is besides."""
    assert report.failed == []
    assert report.attacked.home_refused == []
    assert report.attacked.memory_mb <= MOST_MB


def test_a_short_attack(tmp_path: Path) -> None:
    """Nothing shorter has all of the questions asked: about twelve seconds."""
    holds(attack(tmp_path, strangers=20, seconds=3, idle_s=1, sensors=50))


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_fifty_strangers_for_a_minute(tmp_path: Path) -> None:
    report = attack(tmp_path, strangers=50, seconds=60, idle_s=15, sensors=1000)
    holds(report)
    assert report.attacked.home_longest_s <= 5
    assert report.attacked.home_median_s <= 2
    assert report.back_after_s <= 10
    assert report.attacked.ingest_p99_ms <= 2 * report.idle.ingest_p99_ms
