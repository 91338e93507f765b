"""Whatever is sent, each receipt is its own, and what is acknowledged is stored once."""

import json
import subprocess
import sys
from typing import Any

import pytest

OUTCOMES = {
    *("implausible_time", "invalid_body", "invalid_json", "invalid_reading", "invalid_sensor"),
    *("invalid_time", "missing_value", "unknown_field"),
}


def fuzz(bodies: int, seed: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.fuzzing", str(bodies), str(seed)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout)
    assert told["problems"] == []
    assert told["bodies"] == bodies
    assert told["healthy"] > bodies
    return told


def test_each_of_some_bodies_leaves_its_healthy_neighbour_alone() -> None:
    """Three seconds: fewer bodies come to fewer of the ways in which one can be bad."""
    told = fuzz(bodies=3_000, seed=1)
    assert told["codes"].keys() >= OUTCOMES
    assert told["accepted"] > 300


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_each_of_a_million_bodies_leaves_its_healthy_neighbour_alone() -> None:
    told = fuzz(bodies=1_000_000, seed=2)
    assert told["codes"].keys() >= {*OUTCOMES, "forbidden", "invalid_value", "repeated_field"}
    print(told)
