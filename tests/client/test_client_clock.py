"""Which time a reading gets, when a Pi's clock isn't set after a boot."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from client import client
from tests.client.harness import HOUR_MS, MINUTE_MS, FakeClock, FakeServer, Node, Once, Ran, Reply

NOON_MS = 1_795_003_200_000  # the true time when a test begins
LONG_AGO_MS = NOON_MS - 90 * 24 * HOUR_MS  # where a Pi's clock may stand after a boot


@pytest.fixture
def clock(server: FakeServer) -> FakeClock:
    clock = FakeClock(LONG_AGO_MS, synchronised=False)
    start_ms = clock.monotonic_ms
    server.time_ms = lambda: NOON_MS + clock.monotonic_ms - start_ms
    return clock


@pytest.fixture
def sense(once: Once, clock: FakeClock) -> Once:
    """A run a second after the last, with one sensor."""

    def run(*flags: str, **environ: str) -> Ran:
        clock.pass_ms(1000)
        return once("--command", "door=echo 1", *flags, **environ)

    return run


def asked(server: FakeServer) -> int:
    return sum(request.path == "/healthz" for request in server.requests)


def times(server: FakeServer) -> list[int]:
    return sorted(measured_ms for _, measured_ms in server.stored)


@pytest.mark.parametrize("off_ms", [5 * HOUR_MS, -5 * HOUR_MS, 9 * MINUTE_MS, -9 * MINUTE_MS])
def test_a_clock_that_is_wrong_although_synchronised_is_put_right_before_sending(
    sense: Once, clock: FakeClock, server: FakeServer, off_ms: int
) -> None:
    clock.wall_ms, clock.synchronised = NOON_MS + off_ms, True
    assert sense() == Ran(0, "", "")
    assert times(server) == [NOON_MS + 1000]


@pytest.mark.parametrize("off_ms", [0, 30_000, -30_000])
def test_a_synchronised_clock_is_left_alone_where_the_two_nearly_agree(
    sense: Once, clock: FakeClock, server: FakeServer, off_ms: int
) -> None:
    clock.wall_ms, clock.synchronised = NOON_MS + off_ms, True
    sense()
    assert times(server) == [clock.wall_ms]


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_synchronised_clock_is_believed_where_only_readings_pass_the_proxy(
    sense: Once, clock: FakeClock, server: FakeServer, status: int
) -> None:
    clock.wall_ms, clock.synchronised = NOON_MS, True
    server.health = Reply(status)
    assert sense().status == 0
    assert times(server) == [clock.wall_ms]


@pytest.mark.parametrize("off_ms", [3 * HOUR_MS, -3 * HOUR_MS])
def test_a_server_whose_clock_jumps_moves_no_reading_of_a_synchronised_node(
    sense: Once, clock: FakeClock, server: FakeServer, off_ms: int
) -> None:
    """Two of three agree: the node's clock, and what the server told before."""
    clock.wall_ms, clock.synchronised = NOON_MS, True
    sense()
    right = server.time_ms
    server.time_ms = lambda: right() + off_ms
    for _ in range(3):
        clock.pass_ms(7 * HOUR_MS)
        sense()
    server.time_ms = right
    clock.pass_ms(7 * HOUR_MS)
    assert sense().status == 0
    assert times(server) == [NOON_MS + n * 1000 + (n - 1) * 7 * HOUR_MS for n in range(1, 6)]


def test_a_node_whose_clock_jumps_is_put_right_although_synchronised(
    sense: Once, clock: FakeClock, server: FakeServer
) -> None:
    clock.wall_ms, clock.synchronised = NOON_MS, True
    sense()
    clock.wall_ms += 5 * HOUR_MS
    sense()
    clock.pass_ms(7 * HOUR_MS)
    sense()
    assert times(server) == [NOON_MS + 1000, NOON_MS + 2000, NOON_MS + 7 * HOUR_MS + 3000]


def test_a_server_that_is_behind_what_it_told_is_not_believed_over_a_synchronised_clock(
    sense: Once, clock: FakeClock, server: FakeServer
) -> None:
    """A power cut at home: both start again, and the server has no clock with a battery."""
    sense()
    clock.reboot("boot-2", NOON_MS + HOUR_MS)
    clock.synchronised = True
    server.time_ms = lambda: NOON_MS - HOUR_MS
    sense()
    assert times(server) == [NOON_MS + 1000, NOON_MS + HOUR_MS + 1000]


def test_a_wrong_time_is_corrected_as_soon_as_the_server_is(
    sense: Once, server: FakeServer
) -> None:
    """An answer's Date that isn't what was expected is reason to ask anew, before it is due."""
    right = server.time_ms
    server.time_ms = lambda: right() + 3 * HOUR_MS
    sense()
    server.time_ms = right
    server.dated = True
    sense()  # is told by the answer
    sense()
    first_ms, second_ms, third_ms = sorted(times(server), key=lambda ms: ms % HOUR_MS)
    assert (first_ms, second_ms) == (NOON_MS + 3 * HOUR_MS + 1000, NOON_MS + 3 * HOUR_MS + 2000)
    assert third_ms == NOON_MS + 3000


def test_readings_that_wait_since_the_clock_was_wrong_are_put_right(
    once: Once, node: Node, clock: FakeClock, server: FakeServer
) -> None:
    """Ahead of the server's clock, they can't have been stored with that time."""
    clock.wall_ms, clock.synchronised = NOON_MS + 5 * HOUR_MS, True
    with node.first_version() as db:
        for _ in range(3):
            clock.pass_ms(1000)
            now = (clock.wall_ms, clock.monotonic_ms, clock.boot, 0, clock.wall_ms)
            db.execute("INSERT INTO readings VALUES (NULL, 'door', 1.0, NULL, ?, ?, ?, ?, ?)", now)
    ahead = {"error": "readings are ahead", "code": "clock_differs"}
    server.next.append(Reply(503, ahead, {"Date": formatdate(NOON_MS / 1000, usegmt=True)}))
    clock.pass_ms(1000)
    once("--command", "door=echo 1")
    assert once().status == 0
    assert times(server) == [NOON_MS + n * 1000 for n in (1, 2, 3, 4)]


def test_a_clock_that_is_wrong_is_put_right_before_sending(sense: Once, server: FakeServer) -> None:
    assert sense().status == 0
    assert times(server) == [NOON_MS + 1000]


def test_readings_sensed_before_the_server_could_be_asked_are_put_right_too(
    sense: Once, node: Node, server: FakeServer
) -> None:
    server.health = Reply(502)
    for _ in range(3):
        assert sense().status == 1
    assert server.posts == []
    assert node.query("SELECT count(*) FROM readings WHERE measured_ms IS NULL") == [(3,)]
    server.health = None
    assert sense().status == 0
    assert times(server) == [NOON_MS + n * 1000 for n in (1, 2, 3, 4)]


def test_a_clock_that_is_nearly_right_is_left_alone(
    sense: Once, clock: FakeClock, server: FakeServer
) -> None:
    clock.wall_ms = NOON_MS + 1_900
    sense()
    assert times(server) == [NOON_MS + 2_900]


def test_the_server_is_asked_once_a_boot_and_again_after_six_hours(
    sense: Once, clock: FakeClock, server: FakeServer
) -> None:
    for _ in range(3):
        sense()
    assert asked(server) == 1
    clock.pass_ms(6 * HOUR_MS)
    sense()
    assert asked(server) == 2
    clock.reboot("boot-2", LONG_AGO_MS)
    sense()
    assert asked(server) == 3


def test_the_time_is_taken_from_the_middle_of_the_question(
    sense: Once, clock: FakeClock, server: FakeServer
) -> None:
    def slow() -> int:
        clock.pass_ms(4_000)
        told_ms = NOON_MS + 500_000
        clock.pass_ms(4_000)
        return told_ms

    server.time_ms = slow
    sense()
    assert times(server) == [NOON_MS + 500_000 - 4_000]


@pytest.mark.parametrize(
    "health",
    [
        Reply(200, "<html>Please log in</html>"),
        Reply(200, {"status": "ok"}),
        Reply(200, {"status": "ok", "time_ms": "1795003200000"}),
        Reply(200, {"status": "ok", "time_ms": True}),
        Reply(200, {"status": "ok", "time_ms": 1_500_000_000_000}),
        Reply(200, {"time_ms": NOON_MS}),
        Reply(302, {"status": "ok", "time_ms": NOON_MS}, {"Location": "/"}),
        Reply(503, {"status": "ok", "time_ms": NOON_MS}),
        Reply(200, [NOON_MS]),
    ],
)
def test_a_login_page_does_not_set_the_clock(
    sense: Once, server: FakeServer, health: Reply
) -> None:
    server.health = health
    ran = sense("--verbose")
    assert (ran.status, len(ran.said)) == (1, 1)
    assert server.posts == []
    server.health = None
    assert sense().status == 0
    assert times(server) == [NOON_MS + 1000, NOON_MS + 2000]


def test_what_has_a_time_goes_even_if_the_rest_must_wait(
    sense: Once, node: Node, server: FakeServer
) -> None:
    node.fill(3)
    server.health = Reply(500)
    assert sense().status == 1
    assert len(server.stored) == 3
    assert len(node.kept()) == 1


def test_a_settled_time_is_never_changed(sense: Once, clock: FakeClock, server: FakeServer) -> None:
    server.always = Reply(500)
    sense()
    clock.pass_ms(7 * HOUR_MS)
    server.time_ms = lambda: NOON_MS + 99 * HOUR_MS
    server.always = None
    sense()
    first, again, _ = (post.readings[0]["measured_ms"] for post in server.posts)
    assert first == again == NOON_MS + 1000


def test_an_earlier_boot_that_never_learned_the_time_goes_with_its_wall_clock(
    sense: Once, clock: FakeClock, server: FakeServer
) -> None:
    server.health = Reply(500)
    for _ in range(3):
        sense()
    clock.reboot("boot-2", NOON_MS)
    server.health = None
    ran = sense()
    assert ran.status == 0
    assert ran.said == ["3 readings were sent with the time of a clock that nobody had checked"]
    assert times(server)[:3] == [LONG_AGO_MS + n * 1000 for n in (1, 2, 3)]


def test_of_a_clock_that_was_synchronised_nothing_is_said(
    sense: Once, clock: FakeClock, server: FakeServer
) -> None:
    clock.wall_ms, clock.synchronised = NOON_MS - HOUR_MS, True
    server.health = Reply(500)
    sense()
    clock.reboot("boot-2", NOON_MS)
    server.health = None
    assert sense() == Ran(0, "", "")
    assert times(server)[0] == NOON_MS - HOUR_MS + 1000


@pytest.mark.parametrize("synchronised", [False, True])
def test_a_wall_clock_after_the_start_of_the_next_boot_is_surely_wrong(
    sense: Once, clock: FakeClock, node: Node, server: FakeServer, synchronised: bool
) -> None:
    server.health = Reply(500)
    clock.wall_ms, clock.synchronised = NOON_MS + HOUR_MS, synchronised
    sense()
    clock.reboot("boot-2", LONG_AGO_MS)
    server.health = None
    assert sense().said == [
        "1 readings of an earlier boot have no known time: set aside as refused"
    ]
    assert times(server) == [NOON_MS + 1000]
    assert [code for _, code, _ in node.refused()] == ["unknown_time"]


def test_a_wall_clock_before_the_last_time_told_is_surely_wrong(
    sense: Once, clock: FakeClock, node: Node, server: FakeServer
) -> None:
    sense()  # the server tells that it is noon
    server.health = Reply(500)
    clock.reboot("boot-2", LONG_AGO_MS)
    sense()
    clock.reboot("boot-3", NOON_MS + 2 * HOUR_MS)
    server.health = None
    server.time_ms = lambda: NOON_MS + 2 * HOUR_MS + 1000
    ran = sense()
    assert "1 readings of an earlier boot have no known time: set aside as refused" in ran.said
    assert times(server) == [NOON_MS + 1000, NOON_MS + 2 * HOUR_MS + 1000]
    assert [code for _, code, _ in node.refused()] == ["unknown_time"]


def test_a_clock_that_ntp_had_set_before_the_last_time_told_is_no_sure_one(
    sense: Once, clock: FakeClock, node: Node, server: FakeServer
) -> None:
    sense()  # the server tells that it is noon
    server.health = Reply(500)
    clock.reboot("boot-2", NOON_MS - HOUR_MS)
    clock.synchronised = True
    sense()
    clock.reboot("boot-3", NOON_MS + 2 * HOUR_MS)
    server.health = None
    server.time_ms = lambda: NOON_MS + 2 * HOUR_MS + 1000
    ran = sense()
    assert "1 readings were sent with the time of a clock that nobody had checked" in ran.said
    assert NOON_MS - HOUR_MS + 1000 in times(server)
    assert node.refused() == []


@pytest.mark.parametrize("paused_ms", [3 * HOUR_MS, 48 * HOUR_MS])
@pytest.mark.parametrize("away", [False, True])
def test_a_machine_that_was_paused_asks_for_the_time_again(
    sense: Once, clock: FakeClock, server: FakeServer, paused_ms: int, away: bool
) -> None:
    """Its monotonic clock stood still meanwhile, and NTP has set the other one."""
    clock.wall_ms, clock.synchronised = NOON_MS, True
    sense()
    clock.wall_ms += paused_ms
    right = server.time_ms
    server.time_ms = lambda: right() + paused_ms
    server.health = Reply(500) if away else None
    sense()
    server.health = None
    sense()
    sense()
    assert times(server) == [NOON_MS + 1000, *(NOON_MS + paused_ms + n * 1000 for n in (2, 3, 4))]
    assert asked(server) == 2 + away


def test_what_was_told_later_does_not_count_against_an_earlier_reading(
    sense: Once, clock: FakeClock, node: Node, server: FakeServer
) -> None:
    server.health = Reply(500)
    sense()
    clock.reboot("boot-2", NOON_MS)
    server.health = None
    assert sense().status == 0
    assert LONG_AGO_MS + 1000 in times(server)
    assert node.refused() == []


def test_an_earlier_boot_that_learned_the_time_is_put_right(
    sense: Once, clock: FakeClock, server: FakeServer
) -> None:
    sense()
    clock.pass_ms(7 * HOUR_MS)  # by now it would have to be learned again
    server.health = Reply(500)
    sense()
    clock.reboot("boot-2", NOON_MS + 24 * HOUR_MS)
    clock.synchronised = True
    server.health = None
    server.time_ms = lambda: clock.wall_ms
    assert sense().status == 0
    assert times(server)[1] == NOON_MS + 7 * HOUR_MS + 2000


def test_more_lost_readings_than_a_batch_are_all_set_aside(
    node: Node, clock: FakeClock, once: Once, server: FakeServer
) -> None:
    with client.Spool(node.spool) as spool:
        spool.learn_time(clock.now(), NOON_MS)
        clock.boot = "boot-2"
        spool.add([client.Reading("door", 1.0, None, clock.now()) for _ in range(1100)])
    clock.reboot("boot-3", NOON_MS + HOUR_MS)
    assert once().said == [
        "1100 readings of an earlier boot have no known time: set aside as refused"
    ]
    assert server.posts == []
    assert len(node.refused()) == client.REFUSED_MAX


def test_a_clock_said_to_be_right_but_before_the_last_time_told_is_not(
    sense: Once, clock: FakeClock, server: FakeServer
) -> None:
    sense()
    clock.reboot("boot-2", LONG_AGO_MS)
    clock.synchronised = True
    server.time_ms = lambda: NOON_MS + HOUR_MS
    sense()
    assert times(server) == [NOON_MS + 1000, NOON_MS + HOUR_MS]


def test_an_acknowledgement_moves_the_last_time_known(
    sense: Once, clock: FakeClock, node: Node
) -> None:
    sense()
    clock.pass_ms(HOUR_MS)
    sense()
    told_ms = NOON_MS + HOUR_MS + 2000
    assert node.query("SELECT value FROM state WHERE key = 'told_ms'") == [(told_ms,)]


AHEAD = {"index": 0, "code": "implausible_time", "error": "measured_ms is in the future"}


def test_what_the_server_takes_to_be_in_the_future_is_sent_again_at_the_next_run(
    sense: Once, node: Node, server: FakeServer
) -> None:
    server.next.append(Reply(201, {"accepted": 2, "duplicates": 0, "rejected": [AHEAD]}))
    ran = sense("--verbose", "--command", "window=echo 1", "--command", "roof=echo 1")
    assert "1 readings are ahead of the server's clock" in ran.err
    assert len(node.kept()) == 1
    assert node.refused() == []
    assert sense().status == 0
    assert node.kept() == []


def test_a_time_before_2000_is_refused_for_good(
    sense: Once, clock: FakeClock, node: Node, server: FakeServer
) -> None:
    clock.wall_ms, clock.synchronised = 0, True
    server.health = Reply(404)
    server.next.append(Reply(201, {"accepted": 0, "duplicates": 0, "rejected": [AHEAD]}))
    assert sense().status == 0
    assert [code for _, code, _ in node.refused()] == ["implausible_time"]


def test_readings_from_a_time_to_come_wait_until_then(
    sense: Once, clock: FakeClock, node: Node, server: FakeServer
) -> None:
    """The server's clock was ahead too, in a boot that it told the time."""
    ahead_ms = NOON_MS + HOUR_MS
    wrong = client.Instant(ahead_ms, 50_000, "boot-0", synchronised=True)
    with client.Spool(node.spool) as spool:
        spool.learn_time(wrong, ahead_ms)
        spool.add([client.Reading("door", 1.0, None, wrong)])
        spool.learn_time(clock.now(), NOON_MS)
    said = "1 readings are from a clock that was wrong: their time is to come"
    assert said in sense("--verbose").err
    assert times(server) == [NOON_MS + 1000]
    clock.pass_ms(HOUR_MS)
    assert sense().status == 0
    assert ahead_ms in times(server)


@pytest.mark.parametrize("code", ["conflict", "implausible_value", "unit_mismatch"])
def test_what_was_refused_can_be_sent_again(
    sense: Once, node: Node, server: FakeServer, code: str
) -> None:
    rejected = [{"index": n, "code": code, "error": "no"} for n in (0, 1)]
    server.next.append(Reply(201, {"accepted": 0, "duplicates": 0, "rejected": rejected}))
    sense("--command", "load=echo 1")
    assert len(node.refused()) == 2
    ran = sense("--retry-refused")
    assert (ran.status, ran.out) == (0, "2 refused readings are sent again\n")
    assert node.refused() == node.kept() == []
    assert len(server.stored) == 3
    assert sense("--retry-refused").out == "0 refused readings are sent again\n"


def test_of_what_was_refused_it_is_said_what_still_has_no_known_time(
    sense: Once, clock: FakeClock, node: Node, server: FakeServer
) -> None:
    server.health = Reply(500)
    clock.wall_ms = NOON_MS + HOUR_MS
    sense()
    clock.reboot("boot-2", NOON_MS)
    server.health = None
    rejected = [{"index": 0, "code": "conflict", "error": "no"}]
    server.next.append(Reply(201, {"accepted": 0, "duplicates": 0, "rejected": rejected}))
    sense()
    assert [code for _, code, _ in node.refused()] == ["unknown_time", "conflict"]
    server.always = Reply(503)
    ran = sense("--retry-refused")
    assert ran.out.splitlines() == [
        "1 refused readings wait to be sent again",
        "1 still have no known time, and stay refused",
    ]
    server.always = None
    assert sense("--retry-refused").out.splitlines() == [
        "0 refused readings are sent again",
        "1 still have no known time, and stay refused",
    ]


def test_what_was_refused_for_an_unknown_time_is_judged_anew(
    sense: Once, clock: FakeClock, node: Node, server: FakeServer
) -> None:
    """Here the server's clock was behind when the reading was set aside."""
    server.health = Reply(500)
    clock.wall_ms = NOON_MS - HOUR_MS
    sense()
    clock.reboot("boot-2", NOON_MS)
    server.health = None
    server.time_ms = lambda: NOON_MS - 2 * HOUR_MS
    sense()
    assert [code for _, code, _ in node.refused()] == ["unknown_time"]
    clock.reboot("boot-3", NOON_MS + HOUR_MS)
    server.time_ms = lambda: NOON_MS + HOUR_MS
    sense("--retry-refused")
    assert node.refused() == []
    assert NOON_MS - HOUR_MS + 1000 in times(server)


def test_a_reading_that_a_sensor_has_again_stays_refused(node: Node) -> None:
    now = client.Instant(NOON_MS, 1000, "boot", synchronised=True)
    with client.Spool(node.spool) as spool:
        spool.learn_time(now, NOON_MS)
        spool.add([client.Reading("door", 1.0, None, now)])
        spool.close_batch([], [(1, "conflict", "no")], now)
        spool.add([client.Reading("door", 2.0, None, now)])
        assert spool.retry_refused() == 0
    assert node.refused() == [("door", "conflict", "no")]


def test_status_tells_of_the_clock(sense: Once, clock: FakeClock, server: FakeServer) -> None:
    server.health = Reply(500)
    sense()
    out = sense("--status").out
    assert f"clock     {client.iso(clock.wall_ms)}, not set by NTP\n" in out
    assert "1 of them get their time when the server has told it" in out
    server.health = None
    sense()
    behind_s = (NOON_MS - LONG_AGO_MS) // 1000
    assert f"{behind_s} s behind the server's: readings are put right" in sense("--status").out


def test_two_readings_of_a_sensor_never_get_the_same_millisecond(
    node: Node, clock: FakeClock, once: Once, server: FakeServer
) -> None:
    with client.Spool(node.spool) as spool:
        for value in (1.0, 2.0, 3.0):
            spool.add([client.Reading("door", value, None, clock.now())])
    assert once().status == 0
    assert times(server) == [NOON_MS, NOON_MS + 1, NOON_MS + 2]


def test_this_machines_clock_goes_on_and_knows_its_boot() -> None:
    clock = client.Clock()
    first, second = clock.now(), client.Clock().now()
    assert first.wall_ms <= second.wall_ms
    assert first.monotonic_ms <= second.monotonic_ms
    assert first.boot == second.boot
