"""``tmon note``: what people write about a node or a sensor."""

import json
from pathlib import Path

import pytest

from tests.station import tmon
from tmon.db.connect import open_database
from tmon.maintenance import names, notes
from tmon.maintenance.notes import LONGEST


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with open_database(tmp_path / "tmon.db", create=True) as db:
        for node in ("attic", "attic-north"):
            db.execute("insert into nodes (name, uid, created_ms) values (?, ?, 0)", [node, node])
            db.execute("insert into sensors (node, name) values (?, 'temperature')", [node])
    return tmp_path


def listed(folder: Path, *about: str) -> list[tuple[str, str, str]]:
    found = json.loads(tmon(folder, "note", "list", *about, "--json").stdout)
    return [(one["about"], one["at"], one["text"]) for one in found]


def test_a_note_is_about_a_node_or_a_sensor_and_can_be_removed(folder: Path) -> None:
    at = ("--at", "2026-03-01T14:00+01:00")
    answer = tmon(folder, "note", "attic", "window replaced", *at)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "attic: note 1, at 2026-03-01T13:00:00Z\n"
    assert tmon(folder, "note", "add", "attic/temperature", "moved").returncode == 0
    assert tmon(folder, "note", "attic-north", "painted", "--at", "2026-02-01").returncode == 0
    assert listed(folder)[:2] == [
        ("attic-north", "2026-02-01T00:00:00Z", "painted"),
        ("attic", "2026-03-01T13:00:00Z", "window replaced"),
    ]
    assert [about for about, *_ in listed(folder, "attic")] == ["attic", "attic/temperature"]
    assert [text for *_, text in listed(folder, "attic/temperature")] == ["moved"]
    assert tmon(folder, "note", "remove", "1").stdout == "removed: window replaced\n"
    assert [text for *_, text in listed(folder)] == ["painted", "moved"]


def test_a_note_without_a_date_is_of_now(folder: Path) -> None:
    before_ms = notes_now(folder)
    assert tmon(folder, "note", "attic", "now").returncode == 0
    with open_database(folder / "tmon.db") as db:
        [[at_ms, created_ms]] = db.execute("select at_ms, created_ms from notes").fetchall()
    assert before_ms <= at_ms <= created_ms


def notes_now(folder: Path) -> int:
    with open_database(folder / "tmon.db") as db:
        [now_ms] = db.execute("select unixepoch() * 1000").fetchone()
    return int(now_ms)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nobody", "x"), "nobody"),
        (("attic/wind", "x"), "attic has no sensor called 'wind'; it has temperature"),
        (("attic", "  "), "a note needs a TEXT: everybody is shown it"),
        (("attic", "x" * (LONGEST + 1)), f"TEXT may have at most {LONGEST} characters"),
        (("attic", "x", "--at", "yesterday"), "must be like 2026-11-22"),
        (("attic",), "Missing argument 'TEXT'"),
        (("remove", "7"), "there is no note 7; `tmon note list` shows all"),
        (("list", "nobody"), "nobody"),
        (("list", "attic/wind"), "it has temperature"),
    ],
)
def test_what_is_wrong_with_a_note_is_told(
    folder: Path, arguments: tuple[str, ...], told: str
) -> None:
    answer = tmon(folder, "note", *arguments)
    assert answer.returncode != 0
    assert told in answer.stderr
    assert listed(folder) == []


def test_notes_follow_what_they_are_about(folder: Path) -> None:
    with open_database(folder / "tmon.db") as db:
        notes.add_note(db, "attic", "of the node", 1, 1)
        notes.add_note(db, "attic/temperature", "of the sensor", 2, 2)
        names.rename_node(db, "attic", "roof", 3)
        names.move_sensor(db, "roof", "temperature", "attic-north", "t", 4)
        found = [(one["about"], one["text"]) for one in notes.listed(db)]
    assert found == [("roof", "of the node"), ("attic-north/t", "of the sensor")]
