"""The script for /etc/cron.hourly, as cron calls it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "cron" / "checktmon"
OWNER = 54_321  # nobody has that number

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
        self.env = folder / "tmon.env"
        self.env.write_text(f'# settings\nTMON_HOME={folder}/tmon\nTMON_DB="{self.db}"\n')

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
    assert machine.called[0] == f"{os.geteuid()} check --notify"


def test_it_says_that_somebody_could_not_be_told(machine: Machine) -> None:
    machine.says(2, "mailto (address 1 of TMON_NOTIFY): not told: no connection\\n")
    assert machine.run() == (1, "mailto (address 1 of TMON_NOTIFY): not told: no connection\n")


def test_it_says_that_nothing_could_be_checked(machine: Machine) -> None:
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_as_root_it_becomes_the_databases_owner_so_that_no_file_is_roots(machine: Machine) -> None:
    for path in (machine.data, machine.db):
        os.chown(path, OWNER, OWNER)
    assert machine.run() == (0, "")
    assert machine.called[0] == f"{OWNER} check --notify"
    assert {path.stat().st_uid for path in machine.data.iterdir()} == {OWNER}
    assert {path.stat().st_gid for path in machine.data.iterdir()} == {OWNER}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_as_root_with_a_database_of_roots_it_stays_root(machine: Machine) -> None:
    assert machine.run() == (0, "")
    assert machine.called[0] == "0 check --notify"
