"""The script for /etc/cron.hourly, as cron calls it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "cron" / "checktmon"
OWNER = 54_321  # nobody has that number
STRANGER = 54_322
CHECKER = OWNER if os.geteuid() == 0 else os.geteuid()

STAND_IN = """#!/bin/sh
exec 3>>"$TMON_DB.called"
echo "$(id -u) $*" >&3
env | grep ^TMON_ | sort >&3
touch "$TMON_DB-wal"
echo "T01 critical: on stdout"
printf "$(cat "$(dirname "$0")/stderr")" >&2
exit "$(cat "$(dirname "$0")/status")"
"""


class Machine:
    """A folder with a stand-in for tmon, an env file and a database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "tmon" / ".venv" / "bin"
        self.bin.mkdir(parents=True)
        (self.bin / "tmon").write_text(STAND_IN)
        (self.bin / "tmon").chmod(0o755)
        self.says(0)
        self.data = folder / "data dir"
        self.data.mkdir()
        self.db = self.data / "tmon.db"
        self.db.touch()
        self.give(self.data, self.db)
        self.env = folder / "tmon.env"
        self.env.write_text(f'# settings\nTMON_HOME={folder}/tmon\nTMON_DB="{self.db}"\n')

    @staticmethod
    def give(*paths: Path, owner: int = OWNER) -> None:
        """Let files belong to a station's user, where the tests may."""
        for path in paths if os.geteuid() == 0 else ():
            os.chown(path, owner, owner)

    def says(self, status: int, stderr: str = "") -> None:
        (self.bin / "status").write_text(str(status))
        (self.bin / "stderr").write_text(stderr)

    def run(self, script: Path = SCRIPT, **environ: str) -> tuple[int, str]:
        """Exit status and all it says, with no more of an environment than cron gives."""
        ran = subprocess.run(
            [str(script)],
            env={"PATH": "/usr/bin:/bin", "TMON_ENV_FILE": str(self.env), **environ},
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return ran.returncode, ran.stdout

    @property
    def called(self) -> list[str]:
        return Path(f"{self.db}.called").read_text().splitlines()


@pytest.fixture
def machine() -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)  # pytest's own folders let nobody else in
    yield Machine(folder)
    shutil.rmtree(folder)


def test_cron_would_run_it(tmp_path: Path) -> None:
    (tmp_path / "checktmon").symlink_to(SCRIPT)
    listed = subprocess.run(
        ["run-parts", "--test", str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert listed.stdout == f"{tmp_path}/checktmon\n"
    assert subprocess.run(["sh", "-n", str(SCRIPT)], check=False).returncode == 0


@pytest.mark.parametrize("status", [0, 1, 2])
def test_it_is_quiet_whatever_was_found(machine: Machine, status: int) -> None:
    machine.says(status)
    assert machine.run() == (0, "")
    assert machine.called[0] == f"{CHECKER} check --notify"


def test_it_prints_that_a_message_could_not_be_sent(machine: Machine) -> None:
    machine.says(2, "mailto (address 1 of TMON_NOTIFY): not sent: no connection\\n")
    assert machine.run() == (1, "mailto (address 1 of TMON_NOTIFY): not sent: no connection\n")


def test_it_prints_that_nothing_could_be_checked(machine: Machine) -> None:
    machine.says(3, "database is locked\\n")
    assert machine.run() == (3, "database is locked\n")
    machine.says(3)
    assert machine.run() == (3, "checktmon: tmon check ended with 3\n")
    machine.db.unlink()
    status, said = machine.run()
    assert (status, "no such database; set TMON_DB in" in said) == (3, True)
    assert not Path(f"{machine.db}-shm").exists()


def test_settings_are_values_and_never_commands(machine: Machine) -> None:
    mark = machine.folder / "run"
    with machine.env.open("a") as env:
        env.write(
            "TMON_NOTIFY=ntfy://a/b json://c/?x=$(touch run)&y='1'\n"
            f"TMON_PING_URL='http://example.org/`touch {mark}`'\n"
            f"touch {mark}\n"
            "LD_PRELOAD=/tmp/evil.so\n"
            f"TMON_X; touch {mark}=1\n"
            "TMON_MAIL_TO=alice@example.org"  # no newline at the end
        )
    assert machine.run() == (0, "")
    assert "TMON_NOTIFY=ntfy://a/b json://c/?x=$(touch run)&y='1'" in machine.called
    assert f"TMON_PING_URL=http://example.org/`touch {mark}`" in machine.called
    assert "TMON_MAIL_TO=alice@example.org" in machine.called
    assert not mark.exists()


def test_without_settings_it_finds_tmon_and_the_database_beside_it(machine: Machine) -> None:
    if Path("/var/lib/tmon/tmon.db").exists():
        pytest.skip("this machine has a station")
    script = machine.folder / "tmon" / "scripts" / "cron" / "checktmon"
    script.parent.mkdir(parents=True)
    shutil.copy(SCRIPT, script)
    (machine.folder / "checktmon").symlink_to(script)
    machine.env.unlink()
    machine.db = machine.folder / "tmon" / "tmon.db"
    machine.db.touch()
    machine.give(machine.db.parent, machine.db)
    assert machine.run(machine.folder / "checktmon") == (0, "")
    assert f"TMON_DB={machine.db}" in machine.called


def test_without_tmon_it_says_so(machine: Machine) -> None:
    if Path("/opt/tmon/.venv/bin/tmon").exists():
        pytest.skip("this machine has a station")
    script = machine.folder / "checktmon"
    shutil.copy(SCRIPT, script)
    shutil.rmtree(machine.bin)
    status, said = machine.run(script)
    assert (status, said.startswith("checktmon: no tmon found; set TMON_HOME in")) == (3, True)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


@as_root
def test_as_root_it_becomes_the_folders_owner_so_that_no_file_is_roots(machine: Machine) -> None:
    machine.give(machine.db, owner=0)  # such as by `tmon token get` of root's
    machine.db.chmod(0o666)
    assert machine.run() == (0, "")
    assert machine.called[0] == f"{OWNER} check --notify"
    made = [path.stat() for path in machine.data.iterdir() if path != machine.db]
    assert {(status.st_uid, status.st_gid) for status in made} == {(OWNER, OWNER)}


@as_root
def test_as_root_in_a_folder_of_roots_it_says_what_to_do_and_checks_nothing(
    machine: Machine,
) -> None:
    machine.give(machine.data, owner=0)
    status, said = machine.run()
    assert (status, said.count("\n")) == (3, 1)
    assert f"{machine.data} belongs to root" in said
    assert f"'chown tmon: {machine.data} {machine.db}*'" in said
    assert not Path(f"{machine.db}.called").exists()


@as_root
@pytest.mark.parametrize(
    "place",
    ["/dev/zero", "/dev/shm", "/tmp", "/etc/passwd", "/", "/root", "/proc/self/environ", ""],
)
def test_it_never_suggests_to_change_the_owner_of_system_files(
    machine: Machine, place: str
) -> None:
    machine.env.write_text(f"TMON_HOME={machine.folder}/tmon\nTMON_DB={place}\n")
    status, said = machine.run()
    assert (status, said.count("\n")) == (3, 1)
    assert "chown" not in said


@as_root
@pytest.mark.parametrize("how", ["sticky", "crowded", "top"])
def test_it_never_suggests_to_change_the_owner_of_a_shared_folder(
    machine: Machine, how: str
) -> None:
    machine.give(machine.data, owner=0)
    if how == "sticky":
        machine.data.chmod(0o1777)
    elif how == "crowded":
        for number in range(6):
            (machine.data / f"{number}.conf").touch()
    else:
        machine.db = Path("/etc/passwd")
    machine.env.write_text(f"TMON_HOME={machine.folder}/tmon\nTMON_DB={machine.db}\n")
    status, said = machine.run()
    assert (status, said.count("\n")) == (3, 1)
    assert "is not a folder of tmon's own: move the database into one (/var/lib/tmon)" in said


@as_root
def test_it_drops_the_groups_of_root(machine: Machine) -> None:
    os.chown(machine.data, OWNER, 0)
    stand_in = machine.bin / "tmon"
    stand_in.write_text(stand_in.read_text().replace("$(id -u)", "$(id -u) $(id -g) $(id -G)"))
    assert machine.run() == (0, "")
    assert machine.called[0] == f"{OWNER} {OWNER} {OWNER} check --notify"


def link_the_file(machine: Machine) -> str:
    """As somebody would have root read, or write beside, what only root may."""
    roots = machine.folder / "roots.db"
    roots.touch(mode=0o600)
    machine.db.unlink()
    machine.db.symlink_to(roots)
    return f"{machine.db} is a link"


def link_to_nothing(machine: Machine) -> str:
    machine.db.unlink()
    machine.db.symlink_to(machine.folder / "nothing")
    return f"{machine.db} is a link"


def link_the_folder(machine: Machine) -> str:
    """It is a folder of another user, who would check what isn't his."""
    others = machine.folder / "others"
    machine.data.rename(others)
    machine.give(others, owner=STRANGER)
    machine.data.symlink_to(others)
    machine.give(others / "tmon.db", owner=STRANGER)
    os.chown(machine.data, OWNER, OWNER, follow_symlinks=False)
    return f"{machine.data} is a link"


def link_further_up(machine: Machine) -> str:
    return _in_a_strangers(machine, "link")


def folder_of_a_stranger_further_up(machine: Machine) -> str:
    return _in_a_strangers(machine, "folder")


def _in_a_strangers(machine: Machine, what: str) -> str:
    above = machine.folder / what
    inside = machine.folder / "inside" if what == "link" else above
    inside.mkdir()
    machine.data.rename(inside / "data")
    if what == "link":
        above.symlink_to(inside)
    os.chown(above, STRANGER, STRANGER, follow_symlinks=False)
    machine.env.write_text(f"TMON_HOME={machine.folder}/tmon\nTMON_DB={above}/data/tmon.db\n")
    return f"{above} belongs neither to root nor to the owner of {above}/data"


def open_to_everybody(machine: Machine) -> str:
    machine.data.chmod(0o777)
    return f"everybody can write in {machine.data}"


def in_a_folder_open_to_everybody(machine: Machine) -> str:
    machine.folder.chmod(0o777)
    return f"everybody can write in {machine.folder}"


def open_to_a_group(machine: Machine) -> str:
    machine.data.chmod(0o775)
    return f"a group, UNKNOWN, can write in {machine.data}: 'chmod g-w {machine.data}'"


def in_a_folder_open_to_a_group(machine: Machine) -> str:
    machine.folder.chmod(0o2775)
    os.chown(machine.folder, 0, STRANGER)
    return f"can write in {machine.folder}"


def behind_a_link_of_roots_to_a_strangers_folder(machine: Machine) -> str:
    behind_a_link_of_roots_to_what_is_open_to_a_group(machine)
    disk = machine.folder / "disk"
    disk.chmod(0o755)
    os.chown(disk, STRANGER, STRANGER)
    return f"{disk} belongs neither to root nor"


def behind_a_link_of_roots_to_what_is_open_to_a_group(machine: Machine) -> str:
    disk = machine.folder / "disk"
    disk.mkdir()
    machine.data.rename(disk / "data")
    machine.data = machine.folder / "link" / "data"
    (machine.folder / "link").symlink_to(disk)
    machine.env.write_text(
        f"TMON_HOME={machine.folder}/tmon\nTMON_DB={machine.folder}/link/data/tmon.db\n"
    )
    os.chown(disk, 0, STRANGER)
    disk.chmod(0o775)
    return f"can write in {disk}"


def a_program_that_a_group_can_write(machine: Machine) -> str:
    os.chown(machine.bin / "tmon", 0, STRANGER)
    (machine.bin / "tmon").chmod(0o775)
    return f"can write in {machine.bin / 'tmon'}"


def a_program_in_a_folder_open_to_a_group(machine: Machine) -> str:
    os.chown(machine.bin.parent, 0, STRANGER)
    machine.bin.parent.chmod(0o775)
    return f"can write in {machine.bin.parent}"


def a_program_that_everybody_can_write(machine: Machine) -> str:
    (machine.bin / "tmon").chmod(0o757)
    return f"everybody can write in {machine.bin / 'tmon'}"


def a_pipe(machine: Machine) -> str:
    machine.db.unlink()
    os.mkfifo(machine.db)
    return f"{machine.db} is not a file"


@as_root
@pytest.mark.parametrize(
    "spoil",
    [
        *(link_the_file, link_to_nothing, link_the_folder, link_further_up, a_pipe),
        *(folder_of_a_stranger_further_up, open_to_everybody, in_a_folder_open_to_everybody),
        *(open_to_a_group, in_a_folder_open_to_a_group, a_program_that_everybody_can_write),
        *(behind_a_link_of_roots_to_what_is_open_to_a_group, a_program_that_a_group_can_write),
        *(a_program_in_a_folder_open_to_a_group, behind_a_link_of_roots_to_a_strangers_folder),
    ],
)
def test_as_root_it_refuses_a_path_that_others_can_replace(
    machine: Machine, spoil: Callable[[Machine], str]
) -> None:
    told = spoil(machine)
    status, said = machine.run()
    assert (status, said.count("\n")) == (3, 1)
    assert told in said
    assert not [*machine.folder.rglob("*.called")]


@as_root
@pytest.mark.parametrize(("mode", "group"), [(0o775, 0), (0o1775, STRANGER), (0o1777, STRANGER)])
def test_it_accepts_folders_of_roots_group_and_sticky_ones_in_the_path(
    machine: Machine, mode: int, group: int
) -> None:
    os.chown(machine.folder, 0, group)
    machine.folder.chmod(mode)
    assert machine.run() == (0, "")
    assert machine.called[0] == f"{OWNER} check --notify"


@as_root
def test_it_follows_a_symbolic_link_of_roots_in_the_path(machine: Machine) -> None:
    """As where /var is on another disk."""
    (machine.folder / "var").symlink_to(machine.folder)
    machine.db = machine.folder / "var" / machine.data.name / "tmon.db"
    machine.env.write_text(f"TMON_HOME={machine.folder}/tmon\nTMON_DB={machine.db}\n")
    assert machine.run() == (0, "")
    assert machine.called[0] == f"{OWNER} check --notify"
