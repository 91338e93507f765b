"""``tmon check``, ``tmon limit`` and ``tmon mute`` as people and programs run them."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.notify.receivers import Listener, http_listener
from tests.station import Process, tmon
from tests.watch.watched import Answering, answering, tmon_says
from tmon.cli.main import main
from tmon.core.time import now_ms
from tmon.db.connect import open_database, open_for_reading
from tmon.watch.findings import CATALOGUE

ROOT = Path(__file__).parents[2]

# Modes don't hold root back.
AS_NOBODY = """
import os, sys
from tmon.cli.main import main
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
main(sys.argv[1:])
"""


@pytest.fixture
def answers() -> Iterator[Answering]:
    with answering(tmon_says(now_ms())) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a station where all is well; findings about this machine are muted."""
    with open_database(tmp_path / "tmon.db", create=True) as db:
        for node in ("basement", "attic"):
            row = {"created_ms": now_ms(), "last_received_ms": now_ms()}
            db.table("nodes").insert({"name": node, "uid": node, **row})
        db.table("sensors").insert({"node": "basement", "name": "temperature", "unit": "°C"})
        db.table("sensors").insert({"node": "basement", "name": "humidity/a", "unit": "%"})
        db.execute(
            "insert into readings (sensor, measured_ms, value) values (1, ?, 20)", [now_ms()]
        )
        db.execute("insert into mutes (finding, until_ms) values ('T08', 4e12), ('T13', 4e12)")
    (tmp_path / "tmon.db.secret").write_text("a secret of sixteen bytes")
    (tmp_path / "tmon.db.secret").chmod(0o600)
    return tmp_path


def run(folder: Path, *arguments: str, answers: Answering | None = None, **environ: str) -> Result:
    port = answers.port if answers else "0"
    ports = {"TMON_PORT": port, "TMON_DATASETTE_PORT": port}
    environ = {"TMON_DB": str(folder / "tmon.db"), **ports, **environ}
    return CliRunner().invoke(main, arguments, env=environ)


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with open_for_reading(path) as db:
        return list(db.execute(sql).fetchall())


def hot(folder: Path, value: float = 33.5) -> None:
    with open_database(folder / "tmon.db") as db:
        db.execute("insert or ignore into limits (sensor, above, created_ms) values (1, 30, 0)")
        db.execute(
            "insert into readings (sensor, measured_ms, value) values (1, ?, ?)", [now_ms(), value]
        )


def test_all_is_well(folder: Path, answers: Answering) -> None:
    done = run(folder, "check", answers=answers)
    assert (done.exit_code, done.stderr) == (0, "")
    [summary] = [line for line in done.stdout.splitlines() if "muted until" not in line]
    assert summary == "OK: 2 sensors of 1 node"


def test_a_finding_is_one_line_with_what_where_and_since_when(
    folder: Path, answers: Answering
) -> None:
    hot(folder)
    done = run(folder, "check", answers=answers)
    assert done.exit_code == 2
    [line] = [line for line in done.stdout.splitlines() if "muted until" not in line]
    assert re.fullmatch(
        r"T02 critical: basement/temperature: up to 33\.5 °C, above its limit of 30 °C,"
        r" since \d{4}-\d\d-\d\d \d\d:\d\d UTC\. Look after what it measures;.*",
        line,
    )


def test_json_has_the_same_for_programs(folder: Path, answers: Answering) -> None:
    hot(folder)
    done = run(folder, "check", "--json", answers=answers)
    told = json.loads(done.stdout)
    assert (told["status"], told["exit"], told["unknown"]) == ("critical", 2, [])
    [finding] = [one for one in told["findings"] if one["muted_until_ms"] is None]
    assert (finding["number"], finding["node"], finding["sensor"], finding["severity"]) == (
        "T02",
        "basement",
        "temperature",
        "critical",
    )
    assert finding["hint"] == CATALOGUE["T02"].remedy


def test_a_plain_check_writes_nothing(folder: Path, answers: Answering) -> None:
    hot(folder)
    with open_database(folder / "tmon.db"):  # as ingest has it
        before = {name: (folder / name).read_bytes() for name in ("tmon.db", "tmon.db-wal")}
        assert run(folder, "check", "--full", answers=answers).exit_code == 2
        assert {name: (folder / name).read_bytes() for name in before} == before


def test_a_read_only_file_is_checked(folder: Path, answers: Answering) -> None:
    hot(folder)
    with TemporaryDirectory() as kept:
        file = Path(shutil.copy(folder / "tmon.db", kept))
        file.chmod(0o444)
        Path(kept).chmod(0o555)
        port = ["--port", answers.port, "--datasette-port", answers.port]
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, "check", "--db", str(file), *port],
            capture_output=True,
            text=True,
            check=False,
        )
        assert [path.name for path in Path(kept).iterdir()] == ["tmon.db"]
        Path(kept).chmod(0o755)
    assert (done.returncode, done.stderr) == (2, "")
    assert "T02 critical: basement/temperature" in done.stdout
    assert "T16" not in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--bogus"],
        ["--port", "many"],
        ["--state", "somewhere.db"],
        ["--ingest-url", "ftp://somewhere"],
    ],
)
def test_a_wrong_flag_is_status_unknown(folder: Path, arguments: list[str]) -> None:
    done = run(folder, "check", *arguments)
    assert (done.exit_code, done.stdout) == (3, "")
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_no_database_is_critical_and_none_is_made(tmp_path: Path, answers: Answering) -> None:
    done = run(tmp_path, "check", answers=answers)
    assert done.exit_code == 2
    assert "T16 critical: database: " in done.stdout
    assert "no such database" in done.stdout
    assert not (tmp_path / "tmon.db").exists()


def messages_of(listener: Listener) -> list[str]:
    return [request.json["message"] for request in listener.requests if request.method == "POST"]


def test_a_change_is_recorded_and_sent_once(folder: Path, answers: Answering) -> None:
    with http_listener() as listener:
        notify = {"TMON_NOTIFY": f"json://{listener.address}"}
        assert run(folder, "check", "--notify", answers=answers, **notify).exit_code == 0
        hot(folder)
        for _ in range(2):
            done = run(folder, "check", "--notify", answers=answers, **notify)
            assert (done.exit_code, done.stderr) == (2, "")
        hot(folder, 20.0)
        assert run(folder, "check", "--notify", answers=answers, **notify).exit_code == 0
        began, ended = messages_of(listener)
    assert "basement/temperature: up to 33.5 °C, above its limit of 30 °C, since" in began
    assert "basement/temperature: over, from" in ended
    [(done_ms, outcome)] = query(
        folder / "tmon.db", "select done_ms, outcome from chores where name = 'check'"
    )
    assert now_ms() - done_ms < 60_000
    assert outcome == "ok"


def test_a_failed_message_is_reported_and_a_finding_of_the_next_check(
    folder: Path, answers: Answering
) -> None:
    hot(folder)
    with http_listener() as listener:
        listener.status = 500
        notify = {"TMON_NOTIFY": f"json://{listener.address}"}
        done = run(folder, "check", "--notify", answers=answers, **notify)
        assert "json (address 1 of TMON_NOTIFY): not sent" in done.stderr
        assert "T15 warning: json: 1 channel" in run(folder, "check", answers=answers).stdout


def test_a_database_that_cant_be_written_is_sent_without_being_recorded(
    folder: Path, answers: Answering
) -> None:
    hot(folder)
    with http_listener() as listener, open_database(folder / "tmon.db") as other:
        other.execute("begin immediate")
        notify = {"TMON_NOTIFY": f"json://{listener.address}"}
        done = run(folder, "check", "--notify", answers=answers, **notify)
        assert done.exit_code == 2
        assert "T16 critical: database: database is locked" in done.stdout
        [message] = messages_of(listener)
    assert "T16 critical: database: database is locked" in message
    assert "basement/temperature: up to 33.5 °C" in message
    assert query(folder / "tmon.db", "select count(*) from incidents") == [(0,)]


def test_each_run_is_pinged(folder: Path, answers: Answering) -> None:
    with http_listener() as listener:
        settings = {
            "TMON_NOTIFY": f"json://{listener.address}",
            "TMON_PING_URL": f"http://{listener.address}/ping",
        }
        run(folder, "check", "--notify", answers=answers, **settings)
        assert [one.path for one in listener.requests] == ["/ping/start", "/ping"]
        (folder / "tmon.db.secret").unlink()
        done = run(folder, "check", "--notify", answers=answers, **settings)
        assert [one.path for one in listener.requests[2:]] == ["/ping/start", "/ping/fail"]
    assert done.exit_code == 3
    assert "no notification can be sent" in done.stderr


def test_of_a_remote_station_only_the_addresses_are_checked(
    tmp_path: Path, answers: Answering
) -> None:
    state = tmp_path / "state"
    urls = ["--ingest-url", answers.url, "--datasette-url", answers.url]
    done = run(tmp_path, "check", *urls, XDG_STATE_HOME=str(state))
    assert (done.exit_code, done.stdout) == (0, "OK\n")
    assert not state.exists()
    answers.says["/healthz"] = tmon_says(now_ms() - 300_000)["/healthz"]
    with http_listener() as listener:
        environ = {"TMON_NOTIFY": f"json://{listener.address}", "XDG_STATE_HOME": str(state)}
        for _ in range(2):
            done = run(tmp_path, "check", *urls, "--notify", answers=None, **environ)
            assert (done.exit_code, done.stderr) == (1, "")
            assert f"T07 warning: {answers.url}: the server's clock is 5 min" in done.stdout
        assert len(messages_of(listener)) == 1
    secret = state / "tmon" / "check.db.secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert query(state / "tmon" / "check.db", "select finding from incidents") == [("T07",)]
    assert not (tmp_path / "tmon.db").exists()


def test_a_real_station_answers(tmp_path: Path) -> None:
    process = Process(tmp_path, "serve", "--port", "0", "--datasette-port", "0")
    try:
        urls = process.addresses(2)
        flags = ["--ingest-url", urls["ingest"], "--datasette-url", urls["datasette"]]
        done = run(tmp_path, "check", *flags)
        assert (done.exit_code, done.stdout) == (0, "OK\n")
    finally:
        process.kill()


def test_a_missing_database_is_sent_and_not_created(tmp_path: Path) -> None:
    with http_listener() as listener:
        notify = {"TMON_NOTIFY": f"json://{listener.address}"}
        done = run(tmp_path, "check", "--notify", answers=None, **notify)
        [message] = messages_of(listener)
    assert done.exit_code == 2
    assert "no such database" in message
    assert not (tmp_path / "tmon.db").exists()


def test_a_limit_is_set_changed_listed_and_removed(folder: Path) -> None:
    flags = ["--above", "30", "--below", "2", "--for", "10m", "--hysteresis", "0.5"]
    assert run(folder, "limit", "basement", "temperature", *flags).exit_code == 0
    assert run(folder, "limit", "basement", "temperature", "--above", "28").exit_code == 0
    assert json.loads(run(folder, "limit", "--list", "--json").stdout) == [
        {
            "node": "basement",
            "sensor": "temperature",
            "below": 2.0,
            "above": 28.0,
            "unit": "°C",
            "for_s": 600,
            "hysteresis": 0.5,
        }
    ]
    assert "temperature" in run(folder, "limit", "--list").stdout
    assert run(folder, "limit", "basement", "temperature", "--remove").exit_code == 0
    assert json.loads(run(folder, "limit", "--list", "--json").stdout) == []


def test_a_limit_set_again_as_it_is_counts_from_when_it_was_set_first(folder: Path) -> None:
    for _ in range(2):
        run(folder, "limit", "basement", "temperature", "--above", "30")
        with open_database(folder / "tmon.db") as db:
            db.execute("update limits set created_ms = 5 where created_ms > 5")
    run(folder, "limit", "basement", "temperature", "--above", "30")
    assert query(folder / "tmon.db", "select created_ms from limits") == [(5,)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere", "temperature", "--above", "3"], "no node is called 'nowhere'"),
        (["basement", "pressure", "--above", "3"], "has no sensor called 'pressure'"),
        (["basement", "temperature", "--above", "3", "--below", "5"], "leave nothing between"),
        (["basement", "temperature", "--above", "5", "--below", "5"], "leave nothing between"),
        (
            ["basement", "temperature", "--above", "6", "--below", "5", "--hysteresis", "1"],
            "leave nothing between",
        ),
        (["basement", "temperature", "--for", "10m"], "has no limit yet"),
        (["basement", "temperature", "--remove"], "has no limit"),
        (["basement", "temperature", "--below", "-300"], "must be -273.15 to 2000 °C"),
        (["basement", "humidity/a", "--above", "120"], "must be 0 to 100 %"),
        (["basement", "humidity/a", "--above", "10", "--hysteresis", "20"], "must be 0 to 100 %"),
        (["basement", "temperature", "--above", "nan"], "must be -273.15 to 2000 °C"),
        (["basement", "temperature", "--above", "inf"], "must be -273.15 to 2000 °C"),
        (["basement", "temperature", "--above", "3", "--hysteresis", "-1"], "0 or more"),
        (["basement", "temperature", "--above", "3", "--hysteresis", "nan"], "0 or more"),
        (["basement", "temperature", "--above", "warm"], "'warm' is not a valid float"),
        (["basement", "temperature", "--above", "3", "--for", "soon"], "a length of time"),
        (["basement", "temperature"], "say what the limit is"),
        (["basement", "--above", "3"], "say a node and its sensor"),
        (["basement", "temperature", "--list"], "say a node and its sensor"),
    ],
)
def test_a_limit_that_cant_be_is_refused_in_a_line(
    folder: Path, arguments: list[str], told: str
) -> None:
    done = run(folder, "limit", *arguments)
    assert done.exit_code != 0
    assert told in done.stderr.splitlines()[-1]
    assert query(folder / "tmon.db", "select count(*) from limits") == [(0,)]


def test_a_mute_is_set_replaced_listed_and_ended(folder: Path) -> None:
    for what, length in (
        ("basement", "2h"),
        ("basement", "3h"),
        ("basement/humidity/a", "1d"),
        ("T01", "10y"),
    ):
        assert run(folder, "mute", what, length).exit_code == 0
    shown = json.loads(run(folder, "mute", "--list", "--json").stdout)
    assert {row["what"] for row in shown} == {
        *("basement", "basement/humidity/a", "T01", "T08", "T13"),
    }
    assert len(shown) == 5
    assert run(folder, "mute", "--end", "basement").exit_code == 0
    assert "basement\n" not in run(folder, "mute", "--list").stdout
    assert len(json.loads(run(folder, "mute", "--list", "--json").stdout)) == 4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere", "2h"], "no node is called 'nowhere'"),
        (["T99", "2h"], "no node is called 'T99'"),
        (["basement/pressure", "2h"], "has no sensor called 'pressure'"),
        (["basement", "soon"], "a length of time"),
        (["basement", "0h"], "a length of time"),
        (["basement"], "say what and for how long"),
        (["--end", "basement"], "basement is not muted"),
        (["--end"], "say what and for how long"),
        (["--list", "basement"], "say what and for how long"),
        ([], "say what and for how long"),
    ],
)
def test_a_mute_that_cant_be_is_refused_in_a_line(
    folder: Path, arguments: list[str], told: str
) -> None:
    done = run(folder, "mute", *arguments)
    assert done.exit_code != 0
    assert told in done.stderr.splitlines()[-1]
    assert query(folder / "tmon.db", "select count(*) from mutes") == [(2,)]


def test_a_locked_database_is_reported(folder: Path) -> None:
    with open_database(folder / "tmon.db") as other:
        other.execute("begin immediate")
        done = tmon(folder, "mute", "basement", "2h")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: database is locked; another program writes")


def test_every_number_is_documented_with_its_title_and_remedy() -> None:
    text = (ROOT / "docs" / "watching.md").read_text()
    sections = dict(re.findall(r"^### (T\d\d) (.*)$", text, re.MULTILINE))
    assert sections == {number: kind.title for number, kind in CATALOGUE.items()}
    for number in CATALOGUE:
        section = text.partition(f"### {number} ")[2].partition("\n### ")[0]
        assert "**What to do.**" in section, number
    assert {kind.remedy[-1] for kind in CATALOGUE.values()} == {"."}
