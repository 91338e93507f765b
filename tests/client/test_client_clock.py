"""Which time a reading gets, when a Pi's clock isn't set after a boot."""

from __future__ import annotations

import pytest

from client import client
from tests.client.harness import HOUR_MS, FakeClock, MoodyServer, Node, Once, Ran, Reply

NOON_MS = 1_795_003_200_000  # the true time when a test begins
LONG_AGO_MS = NOON_MS - 90 * 24 * HOUR_MS  # where a Pi's clock may stand after a boot


@pytest.fixture
def clock(server: MoodyServer) -> FakeClock:
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


def asked(server: MoodyServer) -> int:
    return sum(request.path == "/healthz" for request in server.requests)


def times(server: MoodyServer) -> list[int]:
    return sorted(measured_ms for _, measured_ms in server.stored)


def test_a_synchronised_clock_is_believed_and_nobody_asked(
    sense: Once, clock: FakeClock, server: MoodyServer
) -> None:
    clock.synchronised = True
    sense()
    assert times(server) == [LONG_AGO_MS + 1000]
    assert asked(server) == 0


def test_a_clock_that_is_wrong_is_put_right_before_sending(
    sense: Once, server: MoodyServer
) -> None:
    assert sense().status == 0
    assert times(server) == [NOON_MS + 1000]


def test_readings_sensed_before_the_server_could_be_asked_are_put_right_too(
    sense: Once, node: Node, server: MoodyServer
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
    sense: Once, clock: FakeClock, server: MoodyServer
) -> None:
    clock.wall_ms = NOON_MS + 1_900
    sense()
    assert times(server) == [NOON_MS + 2_900]


def test_the_server_is_asked_once_a_boot_and_again_after_six_hours(
    sense: Once, clock: FakeClock, server: MoodyServer
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
    sense: Once, clock: FakeClock, server: MoodyServer
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
    sense: Once, server: MoodyServer, health: Reply
) -> None:
    server.health = health
    ran = sense("--verbose")
    assert (ran.status, len(ran.said)) == (1, 1)
    assert server.posts == []
    server.health = None
    assert sense().status == 0
    assert times(server) == [NOON_MS + 1000, NOON_MS + 2000]


def test_what_has_a_time_goes_even_if_the_rest_must_wait(
    sense: Once, node: Node, server: MoodyServer
) -> None:
    node.fill(3)
    server.health = Reply(500)
    assert sense().status == 1
    assert len(server.stored) == 3
    assert len(node.kept()) == 1


def test_a_settled_time_is_never_changed(
    sense: Once, clock: FakeClock, server: MoodyServer
) -> None:
    server.always = Reply(500)
    sense()
    clock.pass_ms(7 * HOUR_MS)
    server.time_ms = lambda: NOON_MS + 99 * HOUR_MS
    server.always = None
    sense()
    first, again, _ = (post.readings[0]["measured_ms"] for post in server.posts)
    assert first == again == NOON_MS + 1000


def test_an_earlier_boot_that_never_learned_the_time_goes_with_its_wall_clock(
    sense: Once, clock: FakeClock, server: MoodyServer
) -> None:
    server.health = Reply(500)
    sense()
    clock.reboot("boot-2", NOON_MS)
    clock.synchronised = True
    assert sense().status == 0
    assert times(server) == [LONG_AGO_MS + 1000, NOON_MS + 1000]


def test_a_wall_clock_before_the_last_time_told_is_surely_wrong(
    sense: Once, clock: FakeClock, node: Node, server: MoodyServer
) -> None:
    sense()  # the server tells that it is noon
    server.health = Reply(500)
    clock.reboot("boot-2", LONG_AGO_MS)
    sense()
    clock.reboot("boot-3", NOON_MS + 2 * HOUR_MS)
    ran = sense()
    assert "1 readings of an earlier boot have no known time: set aside as refused" in ran.said
    clock.reboot("boot-4", NOON_MS + 3 * HOUR_MS)
    clock.synchronised = True
    assert sense().status == 0
    assert times(server) == [
        NOON_MS + 1000,
        NOON_MS + 2 * HOUR_MS + 1000,
        NOON_MS + 3 * HOUR_MS + 1000,
    ]
    assert [code for _, code, _ in node.refused()] == ["unknown_time"]


def test_what_was_told_later_does_not_count_against_an_earlier_reading(
    sense: Once, clock: FakeClock, node: Node, server: MoodyServer
) -> None:
    server.health = Reply(500)
    sense()
    clock.reboot("boot-2", NOON_MS)
    server.health = None
    assert sense().status == 0
    assert LONG_AGO_MS + 1000 in times(server)
    assert node.refused() == []


def test_an_earlier_boot_that_learned_the_time_is_put_right(
    sense: Once, clock: FakeClock, server: MoodyServer
) -> None:
    sense()
    clock.pass_ms(7 * HOUR_MS)  # by now it would have to be learned again
    server.health = Reply(500)
    sense()
    clock.reboot("boot-2", NOON_MS + 24 * HOUR_MS)
    clock.synchronised = True
    assert sense().status == 0
    assert times(server)[1] == NOON_MS + 7 * HOUR_MS + 2000


def test_more_lost_readings_than_a_batch_need_no_time_from_the_server(
    node: Node, clock: FakeClock, once: Once, server: MoodyServer
) -> None:
    with client.Spool(node.spool) as spool:
        spool.learn_time(clock.now(), NOON_MS)
        clock.boot = "boot-2"
        spool.add([client.Reading("door", 1.0, None, clock.now()) for _ in range(1100)])
    clock.reboot("boot-3", NOON_MS + HOUR_MS)
    clock.synchronised = True
    assert once().status == 0
    assert server.requests == []
    assert len(node.refused()) == client.REFUSED_MAX


def test_a_clock_said_to_be_right_but_before_the_last_time_told_is_not(
    sense: Once, clock: FakeClock, server: MoodyServer
) -> None:
    sense()
    clock.reboot("boot-2", LONG_AGO_MS)
    clock.synchronised = True
    server.time_ms = lambda: NOON_MS + HOUR_MS
    sense()
    assert times(server) == [NOON_MS + 1000, NOON_MS + HOUR_MS]


def test_an_acknowledgement_tells_the_time_too(
    sense: Once, clock: FakeClock, node: Node, server: MoodyServer
) -> None:
    clock.synchronised = True
    server.next.append(
        Reply(
            201,
            {"accepted": 1, "duplicates": 0, "rejected": []},
            {"Date": "Tue, 17 Nov 2026 12:00:00 GMT"},
        )
    )
    sense()
    assert node.query("SELECT value FROM state WHERE key = 'told_ms'") == [(1_794_916_800_000,)]


def test_two_readings_of_a_sensor_never_get_the_same_millisecond(
    node: Node, clock: FakeClock, once: Once, server: MoodyServer
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
