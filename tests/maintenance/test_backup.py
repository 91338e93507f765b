"""`tmon backup`: a backup is complete, or there is none."""

import re
import resource
import stat
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.maintenance.backup_files import add, damage, listed, one_line, station, token
from tests.maintenance.steady_load import load
from tests.station import Process, hourly_equals_raw, tmon, wait_for
from tmon.core.settings import Settings
from tmon.db.connect import open_database, open_for_reading, sqlite3
from tmon.maintenance.backup import backup
from tmon.maintenance.backup_dir import BackupDir, UnusableFile, require_free_space, staging_dir
from tmon.maintenance.snapshot import DamagedCopy, check_copy, copy_snapshot

NAME = re.compile(r"tmon-\d{4}-\d\d-\d\dT\d{6}Z\.db")
AT_MS = 1_795_575_600_000  # 2026-11-25T03:00:00Z
SENT = "select name, measured_ms from readings join sensors on sensors.id = sensor"


class Silent:
    """A progress bar that shows nothing."""

    def update(self, length: int) -> None:
        assert length >= 0


def no_bar(_length: int) -> Any:
    return nullcontext(Silent())


def make(path: Path, target: BackupDir, now_ms: int = AT_MS) -> Path:
    return backup(Settings.load({"TMON_DB": str(path)}), target, now_ms, no_bar).path


def test_a_backup_under_load_has_all_that_was_acknowledged_before_it(tmp_path: Path) -> None:
    with load(tmp_path, writers=5) as sent:
        wait_for(lambda: len(sent.acknowledged()) > 500)
        before = sent.acknowledged()
        made = tmon(tmp_path, "backup", "kept")
        assert made.returncode == 0, made.stderr
        after = len(sent.acknowledged())
    assert after > len(before)
    new = tmp_path / "new"
    new.mkdir()
    copy = tmp_path / made.stdout.strip()
    assert tmon(new, "restore", str(copy)).returncode == 0
    with open_for_reading(new / "tmon.db") as db, open_for_reading(tmp_path / "tmon.db") as old:
        there = {*db.execute(SENT).fetchall()}
        assert {(one.sensor, one.measured_ms) for one in before} <= there
        assert there <= {*old.execute(SENT).fetchall()}
        assert hourly_equals_raw(db)
    assert token(new) == sent.token
    with load(new, writers=1) as again:  # which keeps the same readings, as duplicates
        wait_for(lambda: len(again.acknowledged()) > 0)


def test_a_backup_is_three_files_that_check_each_other(tmp_path: Path) -> None:
    path = station(tmp_path)
    made = tmon(tmp_path, "backup", "kept").stdout.strip()
    name = Path(made).name
    assert NAME.fullmatch(name)
    assert listed(tmp_path / "kept") == [name, f"{name}.secret", f"{name}.sha256"]
    secret = tmp_path / "kept" / f"{name}.secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert secret.read_bytes() == (tmp_path / "tmon.db.secret").read_bytes().strip()
    checked = subprocess.run(
        ["sha256sum", "-c", f"{name}.sha256"],
        cwd=tmp_path / "kept",
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.stdout == f"{name}: OK\n"
    with open_for_reading(path) as db:
        done = dict(db.execute("select name, outcome from chores").fetchall())
        [at_ms] = db.execute("select distinct done_ms from chores").fetchone()
    assert done == {"backup": name, "integrity_check": "ok"}
    assert abs(at_ms - time.time() * 1000) < 60_000


def test_a_backup_opens_as_it_is(tmp_path: Path) -> None:
    path = station(tmp_path)
    with open_database(make(path, BackupDir(tmp_path / "kept", False, 7))) as db:
        pragmas = ("journal_mode", "auto_vacuum", "application_id")
        found = [db.execute(f"pragma {name}").fetchone()[0] for name in pragmas]
        assert found == ["wal", 2, 0x746D6F6E]
        assert db.execute("select count(*) from readings").fetchone()[0] == 1000
        assert hourly_equals_raw(db)


def test_the_secret_comes_from_the_environment_too(tmp_path: Path) -> None:
    station(tmp_path)
    environ = {"TMON_SECRET": "so long a secret that nobody guesses it"}
    made = tmon(tmp_path, "backup", "kept", environ=environ).stdout.strip()
    secret = tmp_path / f"{made}.secret"
    assert secret.read_text() == environ["TMON_SECRET"]
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_the_newest_are_kept_and_nothing_that_others_made_is_removed(tmp_path: Path) -> None:
    path, kept = station(tmp_path), tmp_path / "kept"
    kept.mkdir()
    others = ["tmon-2020.db", "tmon-2020-01-01T000000Z.db.bak", "my.db"]
    for name in others:
        (kept / name).touch()
    made = [make(path, BackupDir(kept, False, 2), AT_MS + n * 1000).name for n in range(4)]
    whole = [f"{name}{suffix}" for name in made[2:] for suffix in ("", ".secret", ".sha256")]
    assert listed(kept) == sorted(others + whole)


def test_two_in_one_second_are_two(tmp_path: Path) -> None:
    path = station(tmp_path)
    made = [make(path, BackupDir(tmp_path / "kept", False, 7)).name for _ in range(2)]
    assert made == ["tmon-2026-11-25T030000Z.db", "tmon-2026-11-25T030001Z.db"]


def test_a_clock_that_was_set_back_removes_no_new_backup(tmp_path: Path) -> None:
    path, target = station(tmp_path), BackupDir(tmp_path / "kept", False, 1)
    make(path, target)
    made = make(path, target, now_ms=0)
    assert listed(tmp_path / "kept")[0] == made.name == "tmon-1970-01-01T000000Z.db"


def test_a_public_copy_holds_no_secret_and_nothing_deleted(tmp_path: Path) -> None:
    path = station(tmp_path)
    with open_database(path) as db:
        db.execute("pragma secure_delete = off")  # Debian's SQLite has it on
        db.execute(
            "with recursive counted (n) as (select 1 union all select n + 1 from counted limit 500)"
            " insert into nodes (name, uid, created_ms, description)"
            " select 'n' || n, n, 0, 'the house with the green door' from counted"
        )
        db.execute("delete from nodes where name <> 'basement'")
    ran = tmon(tmp_path, "backup", "--publish", "public", "--keep", "1")
    again = tmon(tmp_path, "backup", "--publish", "public", "--keep", "1")
    name = Path(again.stdout.strip()).name
    assert ran.returncode == again.returncode == 0
    assert listed(tmp_path / "public") == [name, f"{name}.sha256"]
    content = (tmp_path / "public" / name).read_bytes()
    assert b"green door" in path.read_bytes()
    assert b"green door" not in content
    assert content[18:20] == b"\x01\x01"  # no WAL mode: it opens where nothing can be written
    with open_for_reading(path) as db:
        names = {name for (name,) in db.execute("select name from chores").fetchall()}
    assert names == {"publish", "integrity_check"}  # no `backup`: it has no secret


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("offered", "offered is for everybody"),
        ("offered/within", "within is for everybody"),
        ("published", "published is for everybody"),
        ("link", "offered is for everybody"),
        ("nowhere/kept", "nowhere/kept: No such file"),
        ("tmon.db", "tmon.db: Not a directory"),
    ],
)
def test_a_secret_goes_to_no_folder_that_is_wrong(tmp_path: Path, folder: str, told: str) -> None:
    path = station(tmp_path)
    (tmp_path / "offered").mkdir()
    (tmp_path / "link").symlink_to("offered")
    make(path, BackupDir(tmp_path / "published", True, 7))
    before = listed(tmp_path)
    ran = tmon(tmp_path, "backup", folder, "--download-dir", "offered")
    assert ran.returncode == 1
    assert told in one_line(ran.stderr)
    assert listed(tmp_path) == before


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o027])
def test_a_public_copy_is_everybodys_to_read_and_a_secret_its_owners(
    tmp_path: Path, umask: int
) -> None:
    station(tmp_path)
    for arguments in (["kept"], ["--publish", "public"]):
        subprocess.run(
            [sys.executable, "-m", "tmon", "backup", *arguments],
            cwd=tmp_path,
            umask=umask,
            capture_output=True,
            check=True,
        )
    modes = {
        path.name.partition(".")[2]: stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "kept").iterdir()
    }
    assert modes["db.secret"] == 0o600
    assert modes["db"] == 0o644 & ~umask
    for path in (tmp_path / "public").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_nothing_is_published_beside_secrets(tmp_path: Path) -> None:
    station(tmp_path)
    before = listed(tmp_path)
    ran = tmon(tmp_path, "backup", "--publish", ".")
    assert "holds secrets" in one_line(ran.stderr)
    assert listed(tmp_path) == before


def test_a_secret_that_is_missing_is_told(tmp_path: Path) -> None:
    path = station(tmp_path)
    (tmp_path / "tmon.db.secret").unlink()
    unheard = tmon(tmp_path, "backup", "kept")
    assert unheard.returncode == 0
    assert "no node has a token yet" in unheard.stderr
    with open_database(path) as db:
        db.execute("update nodes set last_received_ms = 1")
    before = listed(tmp_path)
    heard = tmon(tmp_path, "backup", "kept")
    assert heard.returncode == 1
    assert "tmon.db.secret: no such file, and the nodes' tokens need it" in one_line(heard.stderr)
    assert listed(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "told"),
    [("none.db", "no such database"), ("other.db", "not a tmon database"), ("text", "text can't")],
)
def test_what_is_no_database_is_not_copied(tmp_path: Path, name: str, told: str) -> None:
    sqlite3.connect(str(tmp_path / "other.db")).execute("create table t (x)")
    (tmp_path / "text").write_text("not a database, but longer than a header would be " * 40)
    ran = tmon(tmp_path, "backup", "kept", "--db", name)
    assert ran.returncode == 1
    assert told in one_line(ran.stderr)
    assert listed(tmp_path / "kept") == []


def test_a_damaged_database_makes_no_backup(tmp_path: Path) -> None:
    path = station(tmp_path, readings=20_000)
    good = tmon(tmp_path, "backup", "kept", "--keep", "1").stdout.strip()
    damage(path)
    before = listed(tmp_path / "kept")
    ran = tmon(tmp_path, "backup", "kept", "--keep", "1")
    assert ran.returncode == 1
    assert re.search("was not kept, for it is damaged|malformed; nothing", one_line(ran.stderr))
    assert listed(tmp_path / "kept") == before
    assert (tmp_path / good).exists()


def test_a_copy_with_other_rows_is_found_out(tmp_path: Path) -> None:
    path = station(tmp_path, readings=1)
    with open_database(path) as db:
        rows = {name: int(db[name].count) for name in db.table_names()}
    check_copy(path, rows, lambda _: None)
    with pytest.raises(DamagedCopy, match="hasn't the rows"):
        check_copy(path, {**rows, "readings": 2}, lambda _: None)


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    station(tmp_path, readings=20_000)
    ran = subprocess.run(
        [sys.executable, "-m", "tmon", "backup", "kept"],
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "tmon.db can't be copied" in one_line(ran.stderr)
    assert "nothing was kept" in ran.stderr
    assert listed(tmp_path / "kept") == []


def test_what_would_not_fit_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match=r"1,000,000,000\.0 MB are needed, and .* MB are free"):
        require_free_space(tmp_path, 10**15)
    require_free_space(tmp_path, 1)


def test_kill_9_leaves_no_half_backup(tmp_path: Path) -> None:
    path, kept = station(tmp_path, readings=300_000), tmp_path / "kept"
    for part in ("draft.db", "draft.db", "draft.db.sha256"):
        running = Process(tmp_path, "backup", "kept")
        draft = kept / ".tmon-backup" / part
        wait_for(lambda: draft.exists() or running.popen.poll() is not None)  # noqa: B023
        running.kill()
        for copy in kept.glob("*.db"):  # it may have been quicker
            check_copy(copy, None, lambda _: None)
            assert copy.with_name(f"{copy.name}.secret").exists()
    (kept / "tmon-2020-01-01T000000Z.db.secret").touch()  # as if between two of its names
    make(path, BackupDir(kept, False, 1))
    assert listed(kept) == [
        f"tmon-2026-11-25T030000Z.db{suffix}" for suffix in ("", ".secret", ".sha256")
    ]


def test_the_second_of_two_runs_says_so(tmp_path: Path) -> None:
    station(tmp_path)
    (tmp_path / "kept").mkdir()
    with staging_dir(tmp_path / "kept"):
        ran = tmon(tmp_path, "backup", "kept")
    assert ran.returncode == 1
    assert "another run is at work there" in one_line(ran.stderr)
    assert tmon(tmp_path, "backup", "kept").returncode == 0


def test_a_backup_that_can_not_be_noted_stands(tmp_path: Path) -> None:
    path = station(tmp_path)
    with open_database(path) as other:
        other.execute("begin immediate")
        ran = tmon(tmp_path, "backup", "kept")
        other.execute("rollback")
    assert ran.returncode == 1
    assert "is made and sound, but tmon.db can't be told: " in one_line(ran.stderr)
    assert len(listed(tmp_path / "kept")) == 3


def test_a_snapshot_is_of_one_instant(tmp_path: Path) -> None:
    path = station(tmp_path, readings=100_000)
    added = []

    def add_some(_bytes: int) -> None:
        with open_database(path) as db:
            add(db, 10)
        added.append(10)

    rows = copy_snapshot(path, tmp_path / "copy.db", add_some, pages_per_step=200)
    assert len(added) > 2
    assert rows["readings"] == 100_000
    check_copy(tmp_path / "copy.db", rows, lambda _: None)
