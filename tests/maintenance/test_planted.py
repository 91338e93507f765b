"""`tmon backup` and `tmon restore` don't follow or touch files that others planted."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.maintenance.backup_files import listed, one_line, station
from tests.maintenance.test_backup import make
from tests.station import tmon
from tmon.maintenance.backup_dir import BackupDir, UnusableFile, read_small_file

STRANGER = 54_321  # nobody has that number
VICTIM = b"what belongs to somebody else\n" * 100


def link_to_folder(name: Path, victim: Path) -> None:
    name.symlink_to(victim.parent)


def link_to_file(name: Path, victim: Path) -> None:
    name.symlink_to(victim)


def link_to_nothing(name: Path, victim: Path) -> None:
    name.symlink_to(victim.with_name("nothing"))


def hard_link(name: Path, victim: Path) -> None:
    name.hardlink_to(victim)


def pipe(name: Path, _victim: Path) -> None:
    os.mkfifo(name)


def file(name: Path, _victim: Path) -> None:
    name.write_text("a file")


def folder(name: Path, _victim: Path) -> None:
    name.mkdir()


def folder_of_another_user(name: Path, _victim: Path) -> None:
    name.mkdir(mode=0o777)
    (name / "draft.db").write_text("its own")
    os.chown(name, STRANGER, STRANGER)


Plant = Callable[[Path, Path], None]
NO_FOLDERS: list[Plant] = [
    *(link_to_folder, link_to_file, link_to_nothing, hard_link, pipe, file),
    folder_of_another_user,
]
NO_FILES: list[Plant] = [link_to_folder, link_to_file, link_to_nothing, hard_link, pipe, folder]


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file in a folder of its own, that must stay as it is."""
    path = tmp_path / "others" / "file"
    path.parent.mkdir()
    path.write_bytes(VICTIM)
    return path


def is_untouched(victim: Path) -> bool:
    status = victim.stat()
    return (victim.read_bytes(), status.st_uid, status.st_mode & 0o777) == (
        VICTIM,
        os.geteuid(),
        0o666 & ~current_umask(),
    )


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("plant", NO_FOLDERS)
def test_what_has_the_drafts_name_is_refused_and_left(
    tmp_path: Path, victim: Path, plant: Plant
) -> None:
    path = station(tmp_path)
    made = make(path, BackupDir(tmp_path / "kept", False, 7))
    (tmp_path / "public").mkdir()
    for name in ("kept/.tmon-backup", "public/.tmon-backup", ".tmon-restore"):
        plant(tmp_path / name, victim)
    before = listed(tmp_path)
    for wanted in (BackupDir(made.parent, False, 7), BackupDir(tmp_path / "public", True, 7)):
        with pytest.raises(UnusableFile, match=r"\.tmon-backup is in the way"):
            make(path, wanted)
    ran = tmon(tmp_path, "restore", str(made), "--force")
    assert ".tmon-restore is in the way" in one_line(ran.stderr)
    assert listed(tmp_path) == before
    assert is_untouched(victim)


@pytest.mark.parametrize("plant", NO_FILES)
def test_what_lies_among_the_drafts_is_removed_and_never_written_to(
    tmp_path: Path, victim: Path, plant: Plant
) -> None:
    path = station(tmp_path)
    names = ("draft.db", "draft.db-journal", "whole.db", "draft.db.sha256", "draft.db.secret")
    for wanted in (
        BackupDir(tmp_path / "kept", False, 7),
        BackupDir(tmp_path / "public", True, 7),
    ):
        (wanted.folder / ".tmon-backup").mkdir(parents=True)
        for name in names:
            plant(wanted.folder / ".tmon-backup" / name, victim)
        assert make(path, wanted).exists()
    assert is_untouched(victim)
    assert listed(victim.parent) == ["file"]


@pytest.mark.parametrize("plant", [link_to_file, link_to_nothing, hard_link, pipe, folder])
def test_what_has_the_locks_name_is_not_emptied(tmp_path: Path, victim: Path, plant: Plant) -> None:
    path = station(tmp_path)
    (tmp_path / "kept" / ".tmon-backup").mkdir(parents=True)
    plant(tmp_path / "kept" / ".tmon-backup" / "lock", victim)
    with suppress(UnusableFile):
        make(path, BackupDir(tmp_path / "kept", False, 7))
    assert is_untouched(victim)
    assert listed(victim.parent) == ["file"]


@pytest.mark.parametrize("plant", NO_FILES)
def test_what_has_a_copys_name_is_neither_written_nor_counted_nor_removed(
    tmp_path: Path, victim: Path, plant: Plant
) -> None:
    path, kept = station(tmp_path), tmp_path / "kept"
    kept.mkdir()
    planted = [
        *(f"tmon-2026-11-25T030000Z.db{suffix}" for suffix in ("", ".secret", ".sha256")),
        *(f"tmon-2026-11-25T030001Z.db{suffix}" for suffix in (".secret",)),
        *(f"tmon-9999-01-0{day}T000000Z.db" for day in (1, 2, 3)),
    ]
    of_others = [name for name in planted if plant is not hard_link or name.endswith(".db")]
    for name in planted:
        plant(kept / name, victim)
        if plant in (hard_link, pipe):
            os.chown(kept / name, STRANGER, STRANGER)
    try:
        made = [make(path, BackupDir(kept, False, 2)).name for _ in range(3)]
        assert made == [f"tmon-2026-11-25T03000{second}Z.db" for second in (2, 3, 4)]
        there = {path.name for path in kept.iterdir()}
        assert {*of_others, *made[1:]} <= there
        assert made[0] not in there
    finally:
        os.chown(victim, os.geteuid(), -1)
    assert is_untouched(victim)


@pytest.mark.parametrize("public", [False, True])
def test_what_others_put_there_stops_no_backup_and_is_told(tmp_path: Path, public: bool) -> None:
    """Their file would say that secrets lie there, or that it is for everybody."""
    kept = station(tmp_path).parent / "kept"
    kept.mkdir(mode=0o777)
    planted = kept / (
        "tmon-2026-01-01T000000Z.db.secret" if public else "tmon-public-2026-01-01T000000Z.db"
    )
    planted.touch()
    flags = ["--publish"] if public else []
    assert tmon(tmp_path, "backup", "kept", *flags).returncode == 1  # it is this user's own
    os.chown(planted, STRANGER, STRANGER)
    ran = tmon(tmp_path, "backup", "kept", *flags)
    assert ran.returncode == 0
    [line] = ran.stderr.splitlines()
    assert f"have put files there, such as {planted.name}; they were left" in line
    assert planted.exists()


@pytest.mark.parametrize("suffix", [".secret", ".sha256"])
def test_restore_takes_no_secret_or_digest_by_a_link(
    tmp_path: Path, victim: Path, suffix: str
) -> None:
    """Else root would give the station's user what root alone may read."""
    path = station(tmp_path)
    made = make(path, BackupDir(tmp_path / "kept", False, 7))
    beside = made.with_name(f"{made.name}{suffix}")
    beside.unlink()
    beside.symlink_to(victim)
    (tmp_path / "new").mkdir()
    ran = tmon(tmp_path / "new", "restore", str(made))
    assert (ran.returncode, f"{beside}: " in one_line(ran.stderr)) == (1, True)
    assert listed(tmp_path / "new") == []


@pytest.mark.parametrize("plant", [link_to_file, link_to_folder, link_to_nothing, pipe, folder])
def test_what_is_no_small_file_is_not_read(tmp_path: Path, victim: Path, plant: Plant) -> None:
    plant(tmp_path / "planted", victim)
    with pytest.raises(UnusableFile, match=r"planted: .*a file is expected, and no link"):
        read_small_file(tmp_path / "planted", 10_000)
    with pytest.raises(UnusableFile, match=r"file: larger than 100 bytes"):
        read_small_file(victim, 100)
    assert read_small_file(victim, len(VICTIM)) == VICTIM
    assert read_small_file(tmp_path / "nothing", 100) is None


@pytest.mark.parametrize("plant", [link_to_file, link_to_nothing, hard_link, pipe])
def test_restore_writes_its_secret_over_no_link(tmp_path: Path, victim: Path, plant: Plant) -> None:
    station(tmp_path)
    made = tmp_path / tmon(tmp_path, "backup", "kept").stdout.strip()
    new = tmp_path / "new"
    new.mkdir()
    plant(new / "tmon.db.secret.restored-1", victim)
    assert tmon(new, "restore", str(made)).returncode == 0
    assert listed(new) == ["tmon.db", "tmon.db.secret"]
    assert is_untouched(victim)
