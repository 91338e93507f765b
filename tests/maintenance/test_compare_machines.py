"""`tmon compare` of two machines of one station, and what `tmon check` says of it (T29)."""

import itertools
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.publish.published import fill, served
from tests.watch.watched import NOW_MS, NOWHERE
from tmon.cli.main import main
from tmon.core.settings import Settings
from tmon.core.time import DAY_MS, now_ms
from tmon.db.connect import open_database
from tmon.maintenance import compare_streams
from tmon.maintenance.compare import compare
from tmon.maintenance.compare_pair import Pair
from tmon.maintenance.compare_stations import CannotCompare
from tmon.maintenance.compare_streams import behind, catch_up
from tmon.watch.check import CheckOptions, Report, run_checks

ALL_MS = 1 << 60
POSITIONS = """
insert into stream_positions (partition, snapshot, created, sequence, next_sensor, next_rejected)
"""

Two = tuple[Path, Path]


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Two:
    """The files of two machines that have stored the same; the first is this machine's."""
    first, second = tmp_path / "a.db", tmp_path / "b.db"
    with open_database(first, create=True) as db:
        fill(db)
    shutil.copy(first, second)
    at_positions((first, second), (10, 5), (10, 5))
    monkeypatch.setenv("TMON_DB", str(first))
    monkeypatch.setattr(compare_streams, "ASK_AGAIN_S", 0)
    return first, second


def at_positions(two: Two, *positions: tuple[int, ...], made: tuple[str, str] = ("", "")) -> None:
    """Let them have stored two streams, as far as given."""
    for path, both, when in zip(two, positions, made, strict=True):
        change(path, "delete from stream_positions")
        rows = [f"({n}, '', '{when}', {at}, 1, 1)" for n, at in enumerate(both)]
        change(path, f"{POSITIONS} values {', '.join(rows)}")


def change(path: Path, sql: str) -> None:
    with open_database(path, in_cluster=True) as db:
        db.execute(sql)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def found(path: Path, at_ms: int) -> list[str]:
    """What `tmon check` says of the file's equality, while NATS can't be asked."""
    report = Report()
    settings = Settings.load({"TMON_DB": str(path)})
    run_checks(CheckOptions(settings, NOWHERE, at_ms), report, lambda _: None)
    return [line for line in report.lines() if line.startswith("T29")]


def test_a_machine_that_is_behind_is_waited_for(two: Two) -> None:
    """Until each has what either had at first, not what came since."""
    at_positions(two, (10, 5), (7, 6))
    told: list[str] = []
    later = iter([((15, 5), (8, 9)), ((19, 5), (12, 9)), ((25, 9), (12, 9))])
    with Pair(*map(str, two)) as pair:
        catch_up(pair, told.append, lambda _: at_positions(two, *next(later)))
    assert told == [
        f"{two[1]} is 3 messages behind {two[0]}",
        f"{two[1]} is 2 messages behind {two[0]}",
        f"{two[0]} is 1 message behind {two[1]}",
    ]
    assert next(later, None) is None


def test_a_machine_that_stores_nothing_is_waited_for_ten_seconds(two: Two) -> None:
    at_positions(two, (10, 5), (10, 3))
    pauses: list[float] = []
    with (
        Pair(*map(str, two)) as pair,
        pytest.raises(CannotCompare, match=r"b\.db is 2 messages behind .*, and stores nothing"),
    ):
        catch_up(pair, pause=pauses.append)
    assert len(pauses) == compare_streams.STOPPED_AFTER


def test_a_machine_that_takes_too_long_is_named(two: Two) -> None:
    at_positions(two, (10_000, 5), (10, 5))
    at = itertools.count(11)
    with (
        Pair(*map(str, two)) as pair,
        pytest.raises(CannotCompare, match=r"b\.db is 9,\d+ messages behind .*; compare again"),
    ):
        catch_up(pair, pause=lambda _: at_positions(two, (10_000, 5), (next(at), 5)))


def test_files_of_other_streams_are_not_waited_for(two: Two) -> None:
    at_positions(two, (10, 5), (1, 1), made=("2026-11-01", "2026-11-02"))
    with Pair(*map(str, two)) as pair:
        catch_up(pair, pause=lambda _: pytest.fail("waited"))
        assert behind(pair) == []


def test_the_command_compares_no_machine_that_is_behind_unless_told_until_when(two: Two) -> None:
    at_positions(two, (10, 5), (10, 3))
    ran = run(*two)
    assert ran.exit_code == 2
    assert "is 2 messages behind" in ran.output
    assert run(*two, "--until", "2026-11-25").exit_code == 0
    change(two[1], "delete from notes")
    change(two[1], "update nodes set description = 'another'")
    ran = run(*two, "--until", "2026-11-25")
    assert ran.exit_code == 1
    assert "the stream: A is 0 messages behind B, and B 2 messages behind A" in ran.output


def test_how_far_both_are_behind_is_known(two: Two) -> None:
    at_positions(two, (10, 5), (7, 6))
    change(two[1], "update nodes set description = 'another'")
    with Pair(*map(str, two)) as pair:
        assert compare(pair, ALL_MS, pause=lambda _: None).lag == [1, 3]


def test_check_says_that_the_files_differ_until_they_were_equal_again(two: Two) -> None:
    with served(two[1]) as site:
        assert run(two[0], site.url, "--remember").exit_code == 0
        assert found(two[0], now_ms()) == []
        change(two[1], "update nodes set description = 'another'")
        assert run(two[0], site.url, "--remember").exit_code == 1
        [line] = found(two[0], now_ms())
        assert line.startswith(f"T29 critical: files: {site.url} has other data: ")
        assert " rows of nodes (compared 20" in line
        assert line.endswith("`tmon compare` says where: docs/cluster.md.")
        change(two[0], "update nodes set description = 'another'")
        assert run(two[0], site.url, "--remember").exit_code == 0
        assert found(two[0], now_ms()) == []


def test_check_says_that_the_files_were_not_compared_for_two_days(two: Two) -> None:
    assert run(*two, "--remember").exit_code == 0
    at_ms = now_ms()
    at_positions(two, (10, 5), (10, 3))  # what can't be compared is no result
    assert run(*two, "--remember").exit_code == 2
    assert found(two[0], at_ms + 2 * DAY_MS - 60_000) == []
    [line] = found(two[0], at_ms + 2 * DAY_MS)
    assert line.startswith("T29 warning: files: last compared 20")


def test_check_says_that_the_files_were_never_compared(two: Two) -> None:
    """Of a station of a week or more; not on a single machine."""
    change(two[0], f"update nodes set created_ms = {NOW_MS}")
    assert found(two[0], NOW_MS + 7 * DAY_MS) == []
    [line] = found(two[0], NOW_MS + 7 * DAY_MS + 1)
    assert line.startswith("T29 warning: files: never compared with another machine's, since ")
    change(two[0], "delete from stream_positions")
    assert found(two[0], NOW_MS + 8 * DAY_MS) == []


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ("b.db", "a.db", "A must be this station's file, "),
        ("none.db", "a.db", "A must be this station's file, "),
        ("http://127.0.0.1:1", "a.db", "A must be this station's file, "),
        ("a.db", "", "A or B is empty"),
    ],
)
def test_only_into_the_stations_own_file_the_result_is_written(
    two: Two, monkeypatch: pytest.MonkeyPatch, a: str, b: str, says: str
) -> None:
    monkeypatch.chdir(two[0].parent)
    ran = run(a, b, "--remember")
    assert ran.exit_code == 2
    assert says in ran.output


def test_without_a_file_of_its_own_nothing_is_remembered(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMON_DB", str(two[0].with_name("none.db")))
    ran = run(*two, "--remember")
    assert ran.exit_code == 2
    assert "A must be this station's file, " in ran.output


def test_only_what_is_remembered_needs_the_stations_settings(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMON_PORT", "none")
    assert run(*two).exit_code == 0
    assert run(*two, "--remember").exit_code == 2
