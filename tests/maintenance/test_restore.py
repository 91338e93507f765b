"""`tmon restore` changes nothing before all is checked, and loses nothing."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.maintenance.backup_files import add, damage, listed, one_line, station, token
from tests.maintenance.steady_load import load
from tests.station import tmon, wait_for
from tests.test_merge import NOON_MS, readings, store
from tmon.db.connect import open_database, open_for_reading, sqlite3
from tmon.maintenance.restore import exclusive


def count(path: Path) -> int:
    with open_for_reading(path) as db:
        return int(db.execute("select count(*) from readings").fetchone()[0])


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A backup of a station with 1,000 readings, in ``tmp_path``, which is the station's too."""
    station(tmp_path)
    made = tmon(tmp_path, "backup", "kept")
    assert made.returncode == 0, made.stderr
    return tmp_path / str(made.stdout.strip())


def test_a_new_machine_goes_on_with_database_and_tokens(tmp_path: Path, kept: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    ran = tmon(new, "restore", str(kept))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "tmon.db\n", "")
    assert listed(new) == ["tmon.db", "tmon.db.secret"]
    assert stat.S_IMODE((new / "tmon.db.secret").stat().st_mode) == 0o600
    assert token(new) == token(tmp_path)
    with open_database(new / "tmon.db") as db:
        assert db.execute("pragma journal_mode").fetchone()[0] == "wal"
        add(db, 10)
    assert count(new / "tmon.db") == 1010


def test_what_is_there_is_overwritten_by_force_alone_and_kept(tmp_path: Path, kept: Path) -> None:
    path = tmp_path / "tmon.db"
    with open_database(path) as db:
        add(db, 500)
    (tmp_path / "tmon.db.secret").write_text("another secret, and long enough")
    before = listed(tmp_path)
    refused = tmon(tmp_path, "restore", str(kept))
    assert refused.returncode == 1
    assert "tmon.db and tmon.db.secret: there already; --force" in one_line(refused.stderr)
    assert listed(tmp_path) == before
    assert tmon(tmp_path, "restore", str(kept), "--force").returncode == 0
    assert count(path) == 1000
    secret = kept.with_name(f"{kept.name}.secret").read_bytes()
    assert (tmp_path / "tmon.db.secret").read_bytes() == secret
    [old] = tmp_path.glob("tmon.db.before-*")
    [old_secret] = tmp_path.glob("tmon.db.secret.before-*")
    assert count(old) == 1500
    assert old_secret.read_text() == "another secret, and long enough"


def test_another_secret_alone_is_not_overwritten_either(tmp_path: Path, kept: Path) -> None:
    (tmp_path / "tmon.db").unlink()
    assert tmon(tmp_path, "restore", str(kept)).returncode == 0  # the same secret may be there
    (tmp_path / "tmon.db").unlink()
    (tmp_path / "tmon.db.secret").write_text("another secret, and long enough")
    ran = tmon(tmp_path, "restore", str(kept))
    assert "Error: tmon.db.secret: there already" in one_line(ran.stderr)


def without_digest(spoil: Callable[[Path], object]) -> Callable[[Path], object]:
    def spoilt(file: Path) -> None:
        forget_digest(file)
        spoil(file)

    return spoilt


def truncate(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


def forget_digest(file: Path) -> None:
    file.with_name(f"{file.name}.sha256").unlink()


def become_another(file: Path) -> None:
    forget_digest(file)
    file.unlink()
    sqlite3.connect(str(file)).execute("create table t (x)")


def become_newer(file: Path) -> None:
    forget_digest(file)
    with open_database(file) as db:
        db.execute(
            "insert into _sqlite_migrations (migration_set, name, applied_at)"
            " values ('tmon', '9999_later', '')"
        )


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "damaged": (damage, "is not what"),
    "damaged, without digest": (without_digest(damage), "it is damaged"),
    "cut short": (truncate, "is not what"),
    "cut short, without digest": (without_digest(truncate), "it is damaged"),
    "of another program": (become_another, "not a tmon database"),
    "of a newer tmon": (become_newer, "made by a newer tmon (migration 9999_later)"),
    "no file": (lambda file: file.unlink(), "no such file"),
    "not whole": (
        lambda file: file.with_name(f"{file.name}-wal").write_bytes(b"x"),
        "is not whole",
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_what_is_not_sound_is_not_restored(tmp_path: Path, kept: Path, how: str) -> None:
    spoil, told = SPOILT[how]
    spoil(kept)
    before = listed(tmp_path)
    content = (tmp_path / "tmon.db").read_bytes()
    ran = tmon(tmp_path, "restore", str(kept), "--force")
    assert ran.returncode == 1
    assert told in one_line(ran.stderr)
    assert ".tmon-restore" not in ran.stderr
    assert listed(tmp_path) == before
    assert (tmp_path / "tmon.db").read_bytes() == content


def test_the_database_itself_is_no_backup(tmp_path: Path) -> None:
    station(tmp_path)
    ran = tmon(tmp_path, "restore", "tmon.db", "--force")
    assert "is the database itself" in one_line(ran.stderr)


def test_a_running_ingest_is_not_pulled_from_under(tmp_path: Path, kept: Path) -> None:
    with load(tmp_path, writers=1) as sent:
        wait_for(lambda: len(sent.acknowledged()) > 0)
        ran = tmon(tmp_path, "restore", str(kept), "--force")
        assert "tmon.db is in use; first stop `tmon serve`" in one_line(ran.stderr)
        now = len(sent.acknowledged())
        wait_for(lambda: len(sent.acknowledged()) > now)
    assert not [*tmp_path.glob("tmon.db.before-*")]


def test_the_lock_ends_without_touching_the_log_of_the_new_file(tmp_path: Path, kept: Path) -> None:
    path = tmp_path / "tmon.db"
    with exclusive(path):
        path.with_name("tmon.db-wal").unlink()
        path.rename(tmp_path / "old.db")
        shutil.copy(kept, path)
        db = open_database(path)  # as another program may, before the lock ends
        add(db, 10)
    assert path.with_name("tmon.db-wal").stat().st_size > 0
    assert count(path) == 1010
    db.close()


def test_an_old_log_is_not_applied_to_the_new_database(tmp_path: Path, kept: Path) -> None:
    with load(tmp_path, writers=1) as sent:
        wait_for(lambda: len(sent.acknowledged()) > 100)
    assert (tmp_path / "tmon.db-wal").stat().st_size > 0  # killed, it left all of it in its log
    assert tmon(tmp_path, "restore", str(kept), "--force").returncode == 0
    assert count(tmp_path / "tmon.db") == 1000
    [old] = tmp_path.glob("tmon.db.before-*Z")
    assert count(old) >= 1000 + len(sent.acknowledged())


def test_a_log_whose_database_is_gone_is_not_applied(tmp_path: Path, kept: Path) -> None:
    with load(tmp_path, writers=1) as sent:
        wait_for(lambda: len(sent.acknowledged()) > 100)
    (tmp_path / "tmon.db").unlink()
    assert tmon(tmp_path, "restore", str(kept)).returncode == 0
    assert count(tmp_path / "tmon.db") == 1000
    with open_for_reading(tmp_path / "tmon.db") as db:
        assert db.execute("pragma integrity_check").fetchone()[0] == "ok"


def test_a_damaged_database_is_replaced_but_not_while_it_is_open(
    tmp_path: Path, kept: Path
) -> None:
    path = tmp_path / "tmon.db"
    garbage = "yes 'nothing that SQLite knows' | head -c 25000 >tmon.db"
    with open_database(path):
        # Not by this process: SQLite's locks would end as it closes the file.
        subprocess.run(["sh", "-c", garbage], cwd=tmp_path, check=True)
        ran = tmon(tmp_path, "restore", str(kept), "--force")
        assert "tmon.db is in use" in one_line(ran.stderr)
    ran = tmon(tmp_path, "restore", str(kept), "--force")
    assert ran.returncode == 0
    assert "  not known, as the database can't be read: file is not a database\n" in ran.stderr
    assert count(path) == 1000


def test_pages_may_be_of_another_size(tmp_path: Path, kept: Path) -> None:
    path = tmp_path / "tmon.db"
    path.unlink()
    with closing(sqlite3.connect(str(path))) as empty:
        empty.execute("pragma page_size = 4096")
        empty.execute("vacuum")
    station(tmp_path, readings=1500)
    assert tmon(tmp_path, "restore", str(kept), "--force").returncode == 0
    [old] = tmp_path.glob("tmon.db.before-restore-*Z")
    sizes = [int.from_bytes(file.read_bytes()[16:18], "big") for file in (old, path)]
    assert (sizes, count(old), count(path)) == ([4096, 1024], 1500, 1000)


def test_readings_newer_than_the_backup_are_named_and_can_be_added(tmp_path: Path) -> None:
    path = tmp_path / "tmon.db"
    token(tmp_path)
    store(path, "basement", "t", 1, 2)
    made = tmon(tmp_path, "backup", "kept").stdout.strip()
    store(path, "basement", "t", 3, at_ms=NOON_MS + 10)
    for number in range(6):
        store(path, f"attic{number}", "t", *range(number + 2))
    before = readings(path)
    newer = [*(f"attic{number}: {number + 2}" for number in (5, 4, 3, 2, 1)), "and 2 more nodes: 3"]
    refused = tmon(tmp_path, "restore", made)
    told = f"keeps it under another name. Readings newer than the backup: {', '.join(newer)}"
    assert told in one_line(refused.stderr)
    assert readings(path) == before
    done = tmon(tmp_path, "restore", made, "--force")
    assert "".join(f"  {line}\n" for line in newer) in done.stderr
    assert readings(path) == [("basement", "t", 1), ("basement", "t", 2)]
    [time] = [old.name.partition("restore-")[2] for old in tmp_path.glob("tmon.db.before-*")]
    page = (Path(__file__).parents[2] / "docs" / "backup.md").read_text()
    [commands] = re.findall(r"```sh\n(cp tmon.db.before-restore-.*?)```", page, re.DOTALL)
    subprocess.run(["sh", "-ec", commands.replace("<time>", time)], cwd=tmp_path, check=True)
    open_database(path).close()
    assert readings(path) == before


def test_a_public_copy_comes_without_tokens_and_says_so(tmp_path: Path) -> None:
    station(tmp_path)
    public = tmon(tmp_path, "backup", "--publish", "public").stdout.strip()
    new = tmp_path / "new"
    new.mkdir()
    ran = tmon(new, "restore", str(tmp_path / public))
    assert ran.returncode == 0
    assert "came without a secret" in ran.stderr
    assert listed(new) == ["tmon.db"]
    shutil.copy(tmp_path / "tmon.db.secret", new)
    assert token(new) == token(tmp_path)


def test_another_secret_in_the_environment_is_told(tmp_path: Path, kept: Path) -> None:
    environ = {"TMON_SECRET": "one that signed none of these tokens"}
    ran = tmon(tmp_path, "restore", str(kept), "--force", environ=environ)
    assert ran.returncode == 0
    assert "TMON_SECRET is another than the backup's" in ran.stderr


def test_a_backup_without_digest_is_checked_by_sqlite_alone(tmp_path: Path, kept: Path) -> None:
    forget_digest(kept)
    ran = tmon(tmp_path, "restore", str(kept), "--force")
    assert ran.returncode == 0
    assert ".sha256 is not beside it" in ran.stderr


def test_files_belong_to_whom_the_folder_or_the_old_ones_belong(tmp_path: Path, kept: Path) -> None:
    new, user = tmp_path / "new", 12_345 if os.geteuid() == 0 else os.geteuid()
    new.mkdir()
    os.chown(new, user, -1)
    assert tmon(new, "restore", str(kept)).returncode == 0
    (new / "tmon.db").chmod(0o660)
    assert tmon(new, "restore", str(kept), "--force").returncode == 0
    assert {(new / name).stat().st_uid for name in ("tmon.db", "tmon.db.secret")} == {user}
    assert stat.S_IMODE((new / "tmon.db").stat().st_mode) == 0o660


def test_what_a_killed_run_left_is_removed(tmp_path: Path, kept: Path) -> None:
    (tmp_path / ".tmon-restore").mkdir()
    (tmp_path / ".tmon-restore" / "draft.db").touch()
    (tmp_path / ".tmon-restore" / "draft.db-wal").touch()
    assert tmon(tmp_path, "restore", str(kept), "--force").returncode == 0
    assert not (tmp_path / ".tmon-restore").exists()


KILLED = """
import os, signal, sys
from tmon.cli.main import main

left = int(sys.argv.pop(1))

def counted(step):
    def call(*arguments, **named):
        global left
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return step(*arguments, **named)
    return call

for name in ("link", "rename", "replace"):
    setattr(os, name, counted(getattr(os, name)))
main()
"""


@pytest.mark.parametrize("then", ["start", "restore"])
def test_killed_at_any_step_database_and_secret_belong_together(
    tmp_path: Path, kept: Path, then: str
) -> None:
    """A second or so for each step: whole commands run."""
    old_secret = "another secret, and long enough"
    token_of = {1000: token(tmp_path)}
    with open_database(tmp_path / "tmon.db") as db:
        add(db, 500)
    (tmp_path / "tmon.db.secret").write_text(old_secret)
    token_of[1500] = token(tmp_path)
    found = set()
    for steps in range(20):
        here = tmp_path.with_name(f"{tmp_path.name} after {steps}")
        shutil.copytree(tmp_path, here)
        command = [sys.executable, "-c", KILLED, str(steps), "restore", str(kept), "--force"]
        status = subprocess.run(command, cwd=here, capture_output=True, check=False).returncode
        if status == 0:
            break
        assert status == -signal.SIGKILL
        if then == "restore":
            assert tmon(here, "restore", str(kept), "--force").returncode == 0
            assert listed(here).count("tmon.db.secret") == 1
            assert not [*here.glob("*.restored-*")]
        found.add(count(here / "tmon.db"))
        assert token(here) == token_of[count(here / "tmon.db")]
        assert old_secret in {path.read_text() for path in here.glob("tmon.db.secret*")}
    assert steps >= 4
    assert found == ({1000, 1500} if then == "start" else {1000})


def test_a_secret_of_another_database_is_not_taken(tmp_path: Path) -> None:
    station(tmp_path)
    before = token(tmp_path)
    (tmp_path / "tmon.db.secret.restored-12345").write_text("another secret, and long enough")
    assert token(tmp_path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_secret_of_somebody_else_is_not_taken(tmp_path: Path) -> None:
    path = station(tmp_path)
    before = token(tmp_path)
    with open_database(path) as db:
        mark = db.execute("pragma user_version").fetchone()[0]
    planted = tmp_path / f"tmon.db.secret.restored-{mark}"
    planted.write_text("another secret, and long enough")
    os.chown(planted, 54_321, 54_321)
    assert token(tmp_path) == before
