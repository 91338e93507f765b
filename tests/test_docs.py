"""What README and docs say is so."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.station import Station, station_in_thread, tmon
from tmon.cli.main import main
from tmon.core import errors
from tmon.core.settings import SETTINGS
from tmon.db import tokens
from tmon.db.connect import open_database

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
API = (ROOT / "docs" / "api.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(group: click.Group, *path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield " ".join(["tmon", *path, name])


@pytest.mark.parametrize("command", [*commands(main)])
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"`{command}" in README


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.variable)
def test_every_setting_is_in_the_readme_with_its_default(setting: object) -> None:
    [row] = re.findall(rf"^\| `{setting.variable}` \|(.*)\|$", README, re.MULTILINE)  # type: ignore[attr-defined]
    assert setting.default in row or setting.name == "secret_file"  # type: ignore[attr-defined]


def test_every_setting_of_the_client_is_in_the_readme() -> None:
    variables = set(re.findall(r"TMON_[A-Z_]+", (ROOT / "client" / "client.py").read_text()))
    assert variables
    assert variables <= set(re.findall(r"TMON_[A-Z_]+", README))


def test_every_table_and_view_is_in_the_readme(tmp_path: Path) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        names = {*db.table_names(), *db.view_names()} - {"_sqlite_migrations"}
    assert {name for name in names if f"`{name}`" not in README} == set()


def source() -> str:
    """The code that accepts and refuses readings."""
    rooms = ("ingest", "tmon/core", "tmon/store")
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    return "\n".join(path.read_text() for path in files)


def refusal_codes() -> set[str]:
    """The codes of refused readings."""
    codes = set(re.findall(r'(?:Refusal|rejection)\(\s*"([a-z_]+)"', source()))
    codes |= set(re.findall(r'return "([a-z]+_[a-z]+)", ', source()))
    codes |= set(re.findall(r'": \("(invalid_[a-z]+)", ', source()))
    assert {"conflict", "unit_mismatch", "invalid_time"} <= codes
    return codes


def test_every_code_is_in_the_api_reference() -> None:
    codes = refusal_codes() | set(
        re.findall(
            r'(?:Refusal|_json_error|_refuse|_respond_and_close)\((?:\{[^}]*\}|[^"()])*"([a-z_]+)"',
            source(),
        )
    )
    codes |= {
        error.code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.ApiError)
    }
    assert {"conflict", "too_fast", "invalid_http", "not_found", "internal"} <= codes
    assert {code for code in codes - {"bad_request"} if f"`{code}`" not in API} == set()


def test_the_readmes_sql_runs(tmp_path: Path) -> None:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        queries = blocks(README, "sql")
        assert len(queries) >= 3
        for query in queries:
            db.execute(query)


def test_the_readmes_import_runs(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    [command] = [text for text in blocks(README, "sh") if text.startswith("tmon import")]
    arguments = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", command)]
    assert tmon(tmp_path, *arguments[1:]).stdout.startswith("stored               7,267")


def test_the_readmes_curl_gets_the_answer_it_shows(station: Station) -> None:
    [command] = [text for text in blocks(README, "sh") if text.startswith("curl")]
    # The day it shows may lie ahead: any clock from then on says 201 with the same receipt.
    command = command.replace("http://127.0.0.1:13117", station.url)
    command = command.replace("2026-11-22T12:00:00Z", "2025-11-22T12:00:00Z")
    ran = subprocess.run(
        ["sh", "-c", command],
        env={"PATH": "/usr/bin:/bin", "TOKEN": station.token()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"`{ran.stdout}`" in README


def test_the_api_references_examples_are_accepted(tmp_path: Path) -> None:
    with station_in_thread(tmp_path) as station:
        examples = [
            text for text in blocks(API, "json") if '"value"' in text and "index" not in text
        ]
        assert len(examples) == 2
        for example in examples:
            old = example.replace("2026-11", "2025-11").replace("1795348800000", "1763812800000")
            answer = station.post(old.encode())
            assert answer.json()["rejected"] == []


def test_manages_short_names_are_what_the_readme_says() -> None:
    shown = subprocess.run(
        ["python3", str(ROOT / "manage.py"), "--help"], capture_output=True, text=True, check=True
    )
    assert {"get_token", "list", "run"} <= set(shown.stdout.split())


def test_decisions_are_short_and_numbered() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(path.name[:4]) for path in decisions] == [*range(1, len(decisions) + 1)]
    for path in decisions:
        lines = path.read_text().splitlines()
        assert len(lines) <= 40, path
        assert lines[0].startswith(f"# {int(path.name[:4])}. "), path


def test_links_lead_somewhere() -> None:
    for text, folder in ((README, ROOT), (API, ROOT / "docs")):
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if not target.startswith("http"):
                assert (folder / target).exists(), target


def test_the_architecture_names_what_there_is() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    paths = {path for path in re.findall(r"`([a-z_./]+)`", page) if "/" in path}
    assert len(paths) > 20
    assert {path for path in paths if not (ROOT / path).exists()} == set()
    rooms = {path for path in (ROOT / "tmon").iterdir() if (path / "__init__.py").exists()}
    assert {f"tmon/{room.name}/" for room in rooms} <= paths


def test_help_works_without_a_station() -> None:
    assert CliRunner().invoke(main, ["--help"]).exit_code == 0
    assert tokens.PREFIX in README
