"""T08, T09, T13, T14 and T17: thresholds of disk, log and readers, the library, the secret."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tmon.core.settings import Settings
from tmon.db.connect import open_database, open_for_reading, transaction
from tmon.watch.checks import storage
from tmon.watch.checks.storage import GIB, MIB
from tmon.watch.findings import Finding


def summary(findings: Iterator[Finding]) -> list[tuple[str, bool]]:
    return [(str(finding.severity), finding.meets_threshold) for finding in findings]


@pytest.mark.parametrize(
    ("free", "total", "found"),
    [
        (50 * GIB, 100 * GIB, []),
        (9 * GIB, 100 * GIB, []),  # less than a tenth, yet plenty
        (4 * GIB, 20 * GIB, []),  # little, yet a fifth
        (4 * GIB, 100 * GIB, [("warning", True)]),
        (11 * GIB // 2, 100 * GIB, [("warning", False)]),  # enough again, but not by a margin
        (7 * GIB, 100 * GIB, []),
        (1 * GIB, 100 * GIB, [("critical", True)]),
        (80 * GIB, 4096 * GIB, []),  # 2 %
        (99 * MIB, 300 * MIB, [("critical", True)]),
        (0, 0, [("critical", True)]),
    ],
)
def test_a_disk_is_nearly_full(free: int, total: int, found: list[tuple[str, bool]]) -> None:
    assert summary(storage.check_disk(free, total)) == found


@pytest.mark.parametrize(
    ("log_bytes", "found"),
    [
        (None, []),
        (16 * MIB, []),
        (129 * MIB, [("warning", False)]),
        (257 * MIB, [("warning", True)]),
        (GIB + 1, [("critical", True)]),
    ],
)
def test_a_log_grows(tmp_path: Path, log_bytes: int | None, found: list[tuple[str, bool]]) -> None:
    log = tmp_path / "tmon.db-wal"
    if log_bytes is not None:
        with log.open("wb") as file:
            file.truncate(log_bytes)  # a hole: it takes no room
    assert summary(storage.check_log(log)) == found


def test_a_reader_that_blocks_the_checkpoint_is_found(tmp_path: Path) -> None:
    path, index = tmp_path / "tmon.db", tmp_path / "tmon.db-shm"
    assert summary(storage.check_readers(index)) == []
    with open_database(path, create=True) as db, open_for_reading(path) as reader:

        def grow(times: int) -> None:
            for _ in range(times):
                with transaction(db):
                    db.execute(
                        "insert into rejected (received_ms, node, code, reason)"
                        " values (0, 'n', 'c', hex(zeroblob(1000000)))"
                    )

        db.execute("pragma synchronous = off")
        grow(40)  # written back as it comes
        assert summary(storage.check_readers(index, 0)) == []
        reader.execute("begin")
        reader.execute("select count(*) from readings")
        grow(10)
        assert summary(storage.check_readers(index, 0)) == [("warning", False)]
        grow(10)
        [finding] = storage.check_readers(index, 0)
        assert finding.meets_threshold
        assert "MiB of the log can't be written back" in finding.reason
        reader.execute("commit")
        db.execute("pragma wal_checkpoint(truncate)")
        assert summary(storage.check_readers(index, 0)) == []
        grow(1)  # the log has begun anew
        assert summary(storage.check_readers(index, 0)) == []


@pytest.mark.parametrize(
    ("version", "has_bug"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 46, 1), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 53, 0), False),
    ],
)
def test_a_sqlite_has_the_bug(version: tuple[int, ...], has_bug: bool) -> None:
    assert bool([*storage.check_library(version)]) is has_bug


@pytest.mark.parametrize(
    ("mode", "found"), [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1), (0o610, 1)]
)
def test_a_secret_can_be_read_by_others(tmp_path: Path, mode: int, found: int) -> None:
    secret = tmp_path / "tmon.db.secret"
    secret.write_text("secret")
    secret.chmod(mode)
    findings = [*storage.check_secret(secret)]
    assert len(findings) == found
    assert all(f"mode {mode:04o}" in finding.reason for finding in findings)


def test_a_secret_that_is_no_file_or_not_made_yet_is_no_finding(tmp_path: Path) -> None:
    assert [*storage.check_secret(tmp_path / "tmon.db.secret")] == []
    (tmp_path / "tmon.db.secret").write_text("old and open to all")
    environ = {"TMON_DB": str(tmp_path / "tmon.db"), "TMON_SECRET": "a secret in a variable"}
    numbers = {finding.number for finding in storage.check(Settings.load(environ))}
    assert "T14" not in numbers
