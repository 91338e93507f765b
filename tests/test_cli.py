"""The commands: stdout is the answer, stderr is the talk, errors are one line."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tests.station import tmon
from tmon.cli.main import main

ROOT = Path(__file__).parent.parent


def run(folder: Path, *command: str) -> Any:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_token_get_prints_the_token_alone(tmp_path: Path) -> None:
    first = tmon(tmp_path, "token", "get", "basement", "attic")
    assert first.returncode == 0
    tokens = first.stdout.splitlines()
    assert [token.split(".")[0] for token in tokens] == ["tmon_basement", "tmon_attic"]
    again = tmon(tmp_path, "token", "get", "basement")
    assert (again.stdout.splitlines(), again.stderr) == (tokens[:1], "")


def test_three_ways_give_the_same_token(tmp_path: Path) -> None:
    by_tmon = tmon(tmp_path, "token", "get", "basement")
    by_manage = run(tmp_path, sys.executable, str(ROOT / "manage.py"), "get_token", "basement")
    sqlite_utils = [sys.executable, "-m", "sqlite_utils", "token", "insert", "tmon.db", "basement"]
    by_sqlite_utils = run(tmp_path, *sqlite_utils)
    assert by_tmon.stdout == by_manage.stdout == by_sqlite_utils.stdout != ""


def test_manage_lists_and_runs_through_the_same_code(tmp_path: Path) -> None:
    tmon(tmp_path, "token", "get", "basement")
    manage = [sys.executable, str(ROOT / "manage.py")]
    assert run(tmp_path, *manage, "list").stdout == tmon(tmp_path, "token", "list").stdout
    assert "--datasette-port" in run(tmp_path, *manage, "run", "--help").stdout


@pytest.mark.parametrize(
    "program", [["-m", "tmon"], [str(Path(sys.executable).with_name("tmon"))], ["manage.py"]]
)
@pytest.mark.parametrize("slow", ["click", "signal"])
def test_a_ctrl_c_while_modules_are_loaded_leaves_no_traceback(
    tmp_path: Path, program: list[str], slow: str
) -> None:
    text = "import time\nprint('loading', flush=True)\ntime.sleep(60)\n"
    (tmp_path / f"{slow}.py").write_text(text)
    process = subprocess.Popen(
        [sys.executable, *program, "imports"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert process.stdout
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (-signal.SIGINT, "")


def test_tokens_are_listed_but_not_shown(tmp_path: Path) -> None:
    token = tmon(tmp_path, "token", "get", "basement").stdout.strip()
    tmon(tmp_path, "token", "revoke", "basement")
    listed = tmon(tmp_path, "token", "list", "--json").stdout
    [row] = json.loads(listed)
    assert (row["node"], row["generation"]) == ("basement", 1)
    assert row["revoked_at"].endswith("Z")
    assert token not in listed
    assert token.rpartition(".")[2] not in tmon(tmp_path, "token", "list").stdout


def test_rotate_gives_another_token(tmp_path: Path) -> None:
    old = tmon(tmp_path, "token", "get", "basement").stdout
    new = tmon(tmp_path, "token", "rotate", "basement").stdout
    assert old != new == tmon(tmp_path, "token", "get", "basement").stdout


def test_a_node_is_described_and_listed(tmp_path: Path) -> None:
    tmon(tmp_path, "token", "get", "basement")
    place = ["--description", "by the boiler", "--latitude", "52.5", "--longitude", "-13.4"]
    assert tmon(tmp_path, "node", "set", "basement", *place).returncode == 0
    tmon(tmp_path, "node", "set", "basement", "--silent-after", "7200")
    [row] = json.loads(tmon(tmp_path, "node", "list", "--json").stdout)
    assert (row["description"], row["latitude"], row["longitude"], row["silent_after_s"]) == (
        "by the boiler",
        52.5,
        -13.4,
        7200,
    )


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["token", "get", "a/b"], "a/b"),
        (["token", "rotate", "cellar"], "cellar"),
        (["token", "revoke", "cellar"], "cellar"),
        (["node", "set", "cellar", "--latitude", "1"], "cellar"),
        (["node", "set", "basement", "--latitude", "91"], "latitude"),
        (["node", "set", "basement", "--latitude", "nan"], "latitude"),
        (["node", "set", "basement", "--silent-after", "0"], "silent_after_s"),
        (["token", "list", "--db", "missing.db"], "missing.db"),
        (["token", "get", "x", "--db", "no/such/folder.db"], "folder.db"),
        (["token", "get", "x", "--secret-file", "no/such/secret"], "secret"),
        (["token", "get", "x", "--db", str(ROOT / "LICENSE")], "LICENSE"),
        (["serve", "--port", "http"], "TMON_PORT"),
        (["serve", "--host", "no.such.host.invalid"], "no.such.host"),
        (["serve", "ingest", "--secret-file", "."], "directory"),
        (["serve", "--db", "."], "TMON_DB"),
        (["serve", "--db", ":memory:"], "TMON_DB"),
        (["serve", "--host", "a..b"], "a..b"),
        (["serve", "datasette", "--db", "missing.db"], "missing.db"),
    ],
)
def test_an_error_is_one_line_that_names_the_cause(
    tmp_path: Path, arguments: list[str], names: str
) -> None:
    tmon(tmp_path, "token", "get", "basement")
    failed = tmon(tmp_path, *arguments)
    assert failed.returncode == 1
    assert names in failed.stderr
    assert len(failed.stderr.splitlines()) == 1, failed.stderr
    assert failed.stdout == ""


def commands(group: click.Group, *path: str) -> Iterator[list[str]]:
    """The way to each command that isn't a group."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield [*path, name]


@pytest.mark.parametrize("command", [*commands(main)], ids=" ".join)
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    shown = CliRunner().invoke(main, [*command, "--help"]).output
    assert f"tmon {' '.join(command)}" in shown.partition("Example")[2]


def test_a_missing_installation_is_told(tmp_path: Path) -> None:
    (tmp_path / "manage.py").write_text((ROOT / "manage.py").read_text())
    alone = subprocess.run(
        [sys.executable, "-S", "manage.py", "list"],  # -S: without site-packages
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert alone.returncode == 1
    assert "make install" in alone.stderr


def test_serving_does_not_load_what_only_checks_need() -> None:
    script = "import sys, tmon.cli.main; print({'apprise', 'requests'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
