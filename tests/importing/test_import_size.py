"""Large files: an import takes no more memory for them, and shows its plan at once."""

import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

from tests.importing.importing import SOURCE
from tmon.core.reading import Reading
from tmon.core.time import now_ms
from tmon.db.connect import open_database
from tmon.importer.run import Importer

MEMORY_KB = 60_000
LOCK_S = 0.02

# ru_maxrss of a child is what it took at most, in KB on Linux.
MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
print(done.stdout, done.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


@pytest.mark.parametrize(
    "rows",
    [20_000, pytest.param(1_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])],
)
def test_an_import_takes_no_more_memory_for_a_large_file(tmp_path: Path, rows: int) -> None:
    lines = (f"{1_400_000_000 + 60 * row},{row % 40}.5\n" for row in range(rows))
    with (tmp_path / "a.csv").open("w") as file:
        file.write("time,temperature (°C)\n")
        file.writelines(lines)
    command = [sys.executable, "-m", "tmon", "import", "a.csv", "--node", "n", "--yes"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"stored         {rows:>11,}" in done.stdout
    assert int(done.stdout.split()[-1]) < MEMORY_KB


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_the_plan_of_a_gigabyte_needs_only_its_ends(tmp_path: Path) -> None:
    """Its middle is a hole, which no plan could be made of."""
    head = "time,temperature (°C)\n" + "2023-06-01 00:00,21.5\n" * 20_000
    with (tmp_path / "a.csv").open("wb") as file:
        file.write(head.encode())
        file.seek(1_000_000_000)
        file.write(b"\n" + b"2023-06-02 00:00,22.5\n" * 20_000)
    command = [sys.executable, "-m", "tmon", "import", "a.csv", "--node", "n", "--yes"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1,999 rows so far" in done.stdout
    assert "2023-06-01T00:00Z … 2023-06-02T00:00Z" in done.stdout
    assert "characters; is it CSV?" in done.stderr
    assert done.returncode == 1


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_portion_holds_the_lock_for_20_ms(tmp_path: Path) -> None:
    """Half of the portions do on a busy machine too; on an idle one, nearly all."""
    units = {"temperature": "°C", "humidity": "%", "battery": "V"}
    held_s, at = [], 0
    with open_database(tmp_path / "tmon.db", create=True) as db:
        importer = Importer(db, SOURCE)
        while at < 100_000:
            portion = [
                Reading(row, name, row % 40, unit, 1_400_000_000_000 + 60_000 * row)
                for row in range(at, at + importer.pacer.size // 3)
                for name, unit in units.items()
            ]
            assert importer.store({"n": portion}, now_ms())[0].accepted == len(portion)
            held_s.append(importer.pacer.held_s)
            at += len(portion) // 3
    held_s.sort()
    print(f"median {median(held_s):.4f} s, 95% {held_s[len(held_s) * 95 // 100]:.4f} s")
    assert median(held_s) <= LOCK_S
