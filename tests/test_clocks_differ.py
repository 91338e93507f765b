"""Readings ahead of the server's clock, and a sender whose own clock says the same."""

import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import requests

from client import client
from tests.client.harness import FakeClock
from tests.station import Station, station_in_thread, tmon
from tmon.db.connect import open_for_reading

MINUTE_MS = 60_000
AHEAD_MS = 10 * MINUTE_MS


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def reading(ahead_ms: int, value: float = 20.0, **fields: Any) -> dict[str, Any]:
    return {"value": value, "measured_ms": now_ms() + ahead_ms, **fields}


def post(
    station: Station, body: Any, date_ahead_ms: int | None, node: str = "basement", **kwargs: Any
) -> requests.Response:
    """As a sender whose clock is so far ahead of the server's; None: it tells no time."""
    if date_ahead_ms is None:
        return station.post(body, node=node, **kwargs)
    date = formatdate((now_ms() + date_ahead_ms) / 1000, usegmt=True)
    return station.post(body, node=node, headers={"Date": date}, **kwargs)


def rejected(answer: requests.Response) -> list[str]:
    assert answer.status_code == 201, answer.text
    return [told["code"] for told in answer.json()["rejected"]]


@pytest.mark.parametrize("ahead_ms", [15 * MINUTE_MS, 7_200_000, 10 * 365 * 86_400_000])
def test_where_both_are_ahead_nothing_is_refused_for_good(shared: Station, ahead_ms: int) -> None:
    node = f"ahead-{ahead_ms}"
    batch = [reading(0), reading(ahead_ms), reading(-1)]
    answer = post(shared, batch, ahead_ms, node)
    assert (answer.status_code, answer.json()["code"]) == (503, "clock_differs")
    assert 60 <= int(answer.headers["Retry-After"]) <= 600
    assert "nothing was stored" in answer.json()["error"]
    assert shared.query("select count(*) from sensors where node = ?", [node]) == [(0,)]
    assert shared.query("select count(*) from rejected where node = ?", [node]) == [(0,)]
    assert rejected(post(shared, [batch[0], batch[2]], ahead_ms, node)) == []


@pytest.mark.parametrize("form", ["one", "list", "envelope", "ndjson", "measured_at", "float"])
def test_in_any_form(shared: Station, form: str) -> None:
    ahead = reading(7_200_000)
    body: Any = {
        "one": ahead,
        "list": [reading(0), ahead],
        "envelope": {"readings": [ahead]},
        "ndjson": b'{"value": 1}\n{"value": 1, "measured_ms": %d}\n' % ahead["measured_ms"],
        "measured_at": {"value": 1, "measured_at": client.iso(ahead["measured_ms"])},
        "float": {"value": 1, "measured_ms": float(ahead["measured_ms"])},
    }[form]
    headers = {"Date": formatdate(time.time() + 7200, usegmt=True)}
    if form == "ndjson":
        headers["Content-Type"] = "application/x-ndjson"
    answer = shared.post(body, node=f"form-{form}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "clock_differs")


@pytest.mark.parametrize("date_ahead_ms", [None, 0, -7_200_000, 60_000, 3_600_000])
def test_readings_ahead_of_the_senders_own_clock_are_refused(
    shared: Station, date_ahead_ms: int | None
) -> None:
    node = f"own-{date_ahead_ms}"
    answer = post(shared, [reading(7_200_000), reading(0)], date_ahead_ms, node)
    assert rejected(answer) == ["implausible_time"]


def test_a_date_that_is_none_tells_nothing(shared: Station) -> None:
    for date in ("soon", "", "Thu, 99 Nov 2026 00:00:00 GMT", "9" * 400):
        answer = shared.post(reading(7_200_000), headers={"Date": date})
        assert rejected(answer) == ["implausible_time"]


def test_a_reading_that_says_how_old_it_is_needs_no_clock(shared: Station) -> None:
    """An age below 0 is never right, whatever the clocks say."""
    answer = post(shared, {"value": 1, "age_s": -7200}, 7_200_000)
    assert rejected(answer) == ["implausible_time"]
    assert rejected(post(shared, {"value": 1, "age_s": 60}, 7_200_000)) == []


def test_what_is_refused_for_something_else_is_refused_still(shared: Station) -> None:
    sent = [reading(7_200_000, sensor="a b"), {"value": 1, "measured_ms": 1}]
    assert rejected(post(shared, sent, 7_200_000)) == ["invalid_sensor", "implausible_time"]


def test_the_past_is_as_welcome_as_ever(shared: Station) -> None:
    """A backlog of months, from a sender whose clock is right, ahead or behind."""
    for place, date_ahead_ms in enumerate((0, 7_200_000, -7_200_000, None)):
        old = [reading(-day * 86_400_000) for day in range(1, 200)]
        assert rejected(post(shared, old, date_ahead_ms, f"past-{place}")) == []


def test_how_far_the_clock_is_off_is_written_down_all_the_same(tmp_path: Path) -> None:
    """By the minute's flush, not by each request: nothing is committed for them."""
    with station_in_thread(tmp_path) as station:
        assert post(station, reading(7_200_000), 7_200_000).status_code == 503
        with open_for_reading(station.path) as db:
            before = db.execute("pragma data_version").fetchone()
            for _ in range(20):
                assert post(station, reading(7_200_000), 7_200_000).status_code == 503
            assert db.execute("pragma data_version").fetchone() == before
    [(received_ms, skew_s)] = station.query("select last_received_ms, clock_skew_s from nodes")
    assert received_ms == pytest.approx(now_ms(), abs=20_000)
    assert skew_s == pytest.approx(7200, abs=5)
    assert station.count("sensors") == station.count("readings") == station.count("rejected") == 0


def test_check_names_the_servers_clock_and_prune_doesnt_run(tmp_path: Path) -> None:
    """Two nodes that only ever heard 503 tell enough."""
    with station_in_thread(tmp_path) as station:
        station.post(reading(-100 * 86_400_000), node="old")
        for node in ("attic", "cellar"):
            assert post(station, reading(7_230_000), 7_230_000, node).status_code == 503
    done = tmon(tmp_path, "check", "--port", "0", "--datasette-port", "0")
    assert "T20 critical: server: clock 2 h behind what 2 of 2 nodes say" in done.stdout
    assert "T07" not in done.stdout
    pruned = tmon(tmp_path, "prune", "--raw-older-than", "30d")
    assert pruned.returncode == 1
    assert "clock 2 h behind what 2 of 2 nodes say; put it right first" in pruned.stderr
    assert station.count() == 1


class NodeWithClient:
    """The real client, by a clock of the test's, against a real station."""

    def __init__(self, folder: Path, station: Station) -> None:
        self.spool = folder / "spool.db"
        self.clock = FakeClock(now_ms())
        self._environ = {
            "TMON_URL": station.url,
            "TMON_TOKEN": station.token(),
            "TMON_SPOOL": str(self.spool),
            "TMON_SYSFS": str(folder / "sys"),
            "TMON_JITTER_S": "0",
            "HOME": str(folder),
        }

    def keep(self, *wall_ms: int) -> None:
        """Readings that it settled at these times, in this order, in a boot that knew no better."""
        with client.Spool(self.spool) as spool:
            instants = [client.Instant(at, at, "boot", synchronised=True) for at in wall_ms]
            spool.learn_time(instants[0], wall_ms[0])
            spool.add([client.Reading("door", 1.0, None, instant) for instant in instants])
            spool.learn_time(self.clock.now(), self.clock.wall_ms)

    def send(self, *flags: str) -> int:
        flags = ("--strict", "--verbose", "--command", "load=echo 1", *flags)
        return client.main(flags, self._environ, self.clock)

    def status(self, capfd: pytest.CaptureFixture[str]) -> str:
        client.main(["--status"], self._environ, self.clock)
        return capfd.readouterr().out

    def waits(self) -> list[int]:
        with client.Spool(self.spool) as spool:
            return [one.measured_ms for one in spool.batch()]


@pytest.fixture
def node(tmp_path: Path, station: Station) -> NodeWithClient:
    return NodeWithClient(tmp_path, station)


def test_the_client_keeps_what_is_ahead_and_sends_the_rest(
    node: NodeWithClient, station: Station, capfd: pytest.CaptureFixture[str]
) -> None:
    right_ms = now_ms()
    ahead = [right_ms + hours * 3_600_000 for hours in (1, 2)]
    old = [right_ms - 60_000 * place for place in range(1, 1200)]
    node.keep(old[0], *ahead, *old[1:])
    assert node.send() == client.KEPT
    assert len(station.query("select 1 from readings")) == len(old) + 1
    assert node.waits() == ahead
    assert "2 readings are from a clock that was wrong" in capfd.readouterr().err
    node.clock.pass_ms(1000)
    assert node.send() == client.KEPT
    capfd.readouterr()
    told = node.status(capfd)
    assert "refused   0" in told
    assert "2 readings are from a clock that was wrong" in told
    assert station.count("rejected") == 0


@pytest.mark.parametrize("off_ms", [7_200_000, -7_200_000, 9 * MINUTE_MS])
def test_a_node_whose_clock_is_off_is_put_right(
    node: NodeWithClient, station: Station, off_ms: int
) -> None:
    """NTP says that it is right; the server is believed."""
    node.clock.wall_ms = now_ms() + off_ms
    assert node.send() == client.SENT
    assert node.waits() == []
    [(measured_ms,)] = station.query("select measured_ms from readings")
    assert measured_ms == pytest.approx(now_ms(), abs=30_000)
    assert station.count("rejected") == 0


def test_a_clock_that_goes_ahead_after_the_server_was_asked_costs_nothing(
    node: NodeWithClient, station: Station
) -> None:
    assert node.send() == client.SENT
    node.clock.pass_ms(1000)
    node.clock.wall_ms += 7_200_000
    assert node.send() == client.SENT
    first_ms, second_ms = (ms for (ms,) in station.query("select measured_ms from readings"))
    assert second_ms - first_ms == pytest.approx(1000, abs=30_000)


def test_once_the_servers_clock_has_come_so_far_nothing_is_lost(
    node: NodeWithClient, station: Station
) -> None:
    node.keep(now_ms() + AHEAD_MS + 1500)
    node.clock.wall_ms = now_ms()
    assert node.send() == client.KEPT
    assert station.count() == 1
    time.sleep(2)
    node.clock.pass_ms(2000)
    assert node.send() == client.SENT
    assert station.count() == 3
    assert station.count("rejected") == 0


@pytest.mark.parametrize("first_ms", [0, 86_400_000, 946_684_799_000, 1_577_836_799_999])
def test_while_the_servers_clock_was_never_set_nothing_is_stored(
    tmp_path: Path, first_ms: int
) -> None:
    """It would be stored with a time of 1970, or refused for good as from the future."""
    clock_ms = [first_ms]
    with station_in_thread(tmp_path, wall_clock=lambda: clock_ms[0]) as station:
        timed = reading(0)
        for body in ({"value": 1}, {"value": 1, "age_s": 5}, timed, [timed, {"value": "x"}], b"{"):
            answer = post(station, body, 0)
            assert (answer.status_code, answer.json()["code"]) == (503, "clock_differs")
            assert int(answer.headers["Retry-After"]) == 300
            assert "nothing was stored" in answer.json()["error"]
        answer = station.http.post(f"{station.url}/readings", json={"value": 1}, timeout=60)
        assert answer.status_code == 401
        assert station.count() + station.count("rejected") + station.count("sensors") == 0
        clock_ms[0] = now_ms()
        assert rejected(post(station, [timed, reading(-1)], 0)) == []
        assert rejected(post(station, {"value": 1}, 0)) == []
        assert station.count() == 3
