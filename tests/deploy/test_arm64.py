"""``scripts/arm64``: what it is told to run is there; to run it takes root and half an hour."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def arm64(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", "scripts/arm64", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_its_help_names_tests_that_are_there() -> None:
    answer = arm64("--help")
    assert answer.returncode == 0
    named = [word.strip("[]") for word in answer.stdout.split() if "tests/" in word]
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_what_it_does_not_know_is_refused() -> None:
    answer = arm64("instal")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "STEP" in answer.stderr
