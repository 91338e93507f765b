"""What becomes of the readings, whatever the server answers."""

from __future__ import annotations

import json
import signal
import socket
import time
from dataclasses import replace
from email.utils import parsedate_to_datetime
from itertools import pairwise
from pathlib import Path

import pytest

from client import client
from tests.client.harness import (
    TOKEN,
    FakeClock,
    FakeServer,
    Node,
    Once,
    Ran,
    Reply,
    Request,
    SysfsTree,
    wait_until,
)

TMON_400 = Reply(400, {"error": "the body isn't JSON", "code": "malformed"})


def test_a_reading_travels_from_the_sensor_to_the_server(
    node: Node, sysfs: SysfsTree, server: FakeServer
) -> None:
    sysfs.thermometer()
    before_ms = server.time_ms()
    ran = node.run()
    assert ran == Ran(0, "", "")
    (post,) = server.posts
    (reading,) = post.readings
    assert post.path == "/readings"
    assert post.body["node"] == "cellar"
    assert post.headers["Authorization"] == f"Bearer {TOKEN}"
    assert post.headers["User-Agent"].startswith("tmon-client/")
    assert before_ms - 2_000 <= reading.pop("measured_ms") <= server.time_ms() + 2_000
    assert reading == {"sensor": "temperature:28-0316a2f2c3ff", "value": 23.125, "unit": "°C"}
    assert node.kept() == []


def test_the_date_header_is_the_nodes_clock(
    once: Once, clock: FakeClock, sysfs: SysfsTree, server: FakeServer
) -> None:
    sysfs.thermometer()
    clock.wall_ms = 1_700_000_000_000
    once()
    date = parsedate_to_datetime(server.posts[0].headers["Date"])
    assert date.timestamp() == 1_700_000_000


def test_a_unit_nobody_knows_is_left_out(once: Once, server: FakeServer) -> None:
    once("--command", "door=echo 1")
    assert set(server.posts[0].readings[0]) == {"sensor", "value", "measured_ms"}


def test_the_server_may_live_under_a_path(once: Once, server: FakeServer) -> None:
    assert once("--command", "door=echo 1", TMON_URL=f"{server.url}/ingest/").status == 0
    assert server.posts[0].path == "/ingest/readings"


def test_many_readings_go_in_batches_oldest_first(
    node: Node, once: Once, server: FakeServer
) -> None:
    node.fill(1201)
    assert once().status == 0
    assert [len(post.readings) for post in server.posts] == [500, 500, 201]
    values = [reading["value"] for post in server.posts for reading in post.readings]
    assert values == [float(n) for n in range(1201)]


def test_a_netrc_does_not_take_the_tokens_place(node: Node, server: FakeServer) -> None:
    netrc = Path(node.environ["HOME"]) / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    assert node.run("--command", "door=echo 1").status == 0
    assert server.posts[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_a_proxy_is_used(node: Node, server: FakeServer) -> None:
    ran = node.run("--command", "door=echo 1", TMON_URL="http://far.test", http_proxy=server.url)
    assert ran.status == 0
    assert server.posts[0].path == "http://far.test/readings"


FULL = {"accepted": 1, "duplicates": 0, "rejected": []}
NO_RECEIPTS = {
    "a café's login page": Reply(200, "<html>Welcome! Please log in.</html>"),
    "200 with a receipt": Reply(200, FULL),
    "204": Reply(204),
    "a redirect": Reply(302, "", {"Location": "http://login.test/"}),
    "a permanent redirect": Reply(308, "", {"Location": "/elsewhere"}),
    "201 with a page": Reply(201, "<html>"),
    "201 with nothing": Reply(201),
    "a receipt cut short": Reply(201, FULL, cut=10),
    "truncated JSON": Reply(201, '{"accepted": 1, "dupl'),
    "a list": Reply(201, [FULL]),
    "a receipt for none": Reply(201, {**FULL, "accepted": 0}),
    "a receipt for two": Reply(201, {**FULL, "accepted": 2}),
    "counts that are text": Reply(201, {**FULL, "accepted": "1"}),
    "counts that are below nothing": Reply(201, {**FULL, "accepted": 2, "duplicates": -1}),
    "no rejected": Reply(201, {"accepted": 1, "duplicates": 0}),
    "rejected of another batch": Reply(
        201, {**FULL, "accepted": 0, "rejected": [{"index": 1, "code": "x", "error": "y"}]}
    ),
    "rejected without a code": Reply(201, {**FULL, "accepted": 0, "rejected": [{"index": 0}]}),
    "rejected with a number": Reply(
        201, {**FULL, "accepted": 0, "rejected": [{"index": 0, "code": 5, "error": "y"}]}
    ),
    "a proxy's 400": Reply(400, "<html>The plain HTTP request was sent to HTTPS port</html>"),
    "404": Reply(404, {"error": "not found", "code": "not_found"}),
    "415": Reply(415, {"error": "unknown encoding", "code": "unsupported"}),
    "429": Reply(429, {"error": "too fast", "code": "rate"}),
    "500": Reply(500, "oops"),
    "503": Reply(503, {"error": "disk full", "code": "disk_full"}),
}


@pytest.mark.parametrize("name", NO_RECEIPTS)
def test_only_a_receipt_deletes(node: Node, once: Once, server: FakeServer, name: str) -> None:
    node.fill(1)
    kept = node.kept()
    server.always = NO_RECEIPTS[name]
    ran = once("--verbose")
    assert ran.status == 1
    assert len(ran.said) == 1
    assert node.kept() == kept
    assert node.refused() == []
    assert len(server.requests) == 1


def test_what_was_kept_is_sent_the_same_to_the_byte(
    once: Once, clock: FakeClock, sysfs: SysfsTree, server: FakeServer
) -> None:
    sysfs.thermometer()
    server.next.append(Reply(503))
    assert once().status == 1
    sysfs.thermometer().unlink()
    clock.pass_ms(20 * 60_000)
    ran = once()
    assert (ran.status, ran.said) == (0, [])
    first, second = (json.dumps(post.body) for post in server.posts)
    assert first == second


def test_nobody_there_is_kept_and_told_in_one_line(node: Node, once: Once) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        ran = once("--verbose", "--command", "door=echo 1", TMON_URL=url)
    assert ran.status == 1
    assert len(node.kept()) == 1
    assert "can't be reached: ConnectionRefusedError" in ran.err
    assert len(ran.said) == 1


def test_a_server_that_hangs_up_is_kept(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        port = silent.getsockname()[1]
        process = node.start("--command", "door=echo 1", TMON_URL=f"http://127.0.0.1:{port}")
        with process:
            silent.accept()[0].close()
            process.communicate(timeout=60)
    assert process.returncode == 1
    assert len(node.kept()) == 1


def test_a_file_without_a_certificate_is_a_set_up_problem(node: Node, tmp_path: Path) -> None:
    pem = tmp_path / "not-a-certificate.pem"
    pem.write_text("nothing")
    flags = ("--verbose", "--command", "door=echo 1")
    ran = node.run(*flags, TMON_URL="https://127.0.0.1:1", TMON_CA_FILE=str(pem))
    assert ran.status == 2
    assert f"TMON_CA_FILE '{pem}' holds no certificate" in ran.err


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_loses_nothing_and_says_what_to_do(
    node: Node, once: Once, server: FakeServer, status: int
) -> None:
    server.always = Reply(status)
    ran = once("--verbose", "--command", "door=echo 1")
    assert ran.status == 1
    assert "tmon token get" in ran.err
    assert TOKEN not in ran.err
    assert len(node.kept()) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 415])
def test_where_tmon_says_what_to_do_the_client_adds_nothing(
    node: Node, once: Once, server: FakeServer, status: int
) -> None:
    node.fill(1)
    server.always = Reply(status, {"error": "this is what to do", "code": "any"})
    (said,) = once("--verbose").said
    kept = "the readings are kept and sent later"
    assert said == f"the server answered {status}; this is what to do; {kept}"


@pytest.mark.parametrize("status", [200, 202, 204, 404])
def test_an_answer_that_is_not_tmons_asks_for_a_login_page(
    node: Node, once: Once, server: FakeServer, status: int
) -> None:
    node.fill(1)
    server.always = Reply(status, "<html>Welcome!" if status != 204 else "")
    (said,) = once("--verbose").said
    assert "it wasn't tmon that answered: is TMON_URL right, is there a login page" in said


def test_a_run_from_cron_always_tries(node: Node, once: Once, server: FakeServer) -> None:
    node.fill(1)
    server.next.append(Reply(503, "", {"Retry-After": "300"}))
    assert once().status == 1
    assert once().status == 0


def test_what_the_server_rejects_is_set_aside_with_its_reason(
    node: Node, once: Once, server: FakeServer
) -> None:
    rejected = [{"index": 1, "code": "implausible", "error": "2 is\nno door"}]
    server.next.append(Reply(201, {"accepted": 1, "duplicates": 1, "rejected": rejected}))
    node.fill(3)
    ran = once()
    assert ran.status == 0
    assert "the server refused load (implausible): 2 is no door" in ran.err
    assert node.kept() == []
    assert node.refused() == [("load", "implausible", "2 is no door")]


def bad_one(server: FakeServer, reply: Reply, *values: float) -> None:
    def respond(request: Request) -> Reply:
        bad = any(reading["value"] in values for reading in request.readings)
        return reply if bad else server.store(request)

    server.always = respond


def test_a_400_is_bisected_to_the_one_bad_reading(
    node: Node, once: Once, server: FakeServer
) -> None:
    node.fill(600)
    bad_one(server, TMON_400, 77.0)
    assert once().status == 0
    assert sorted(server.stored.values()) == [float(n) for n in range(600) if n != 77]
    assert node.refused() == [("load", "400", "the body isn't JSON")]
    assert node.kept() == []


def test_a_413_is_split(node: Node, once: Once, server: FakeServer) -> None:
    node.fill(100)

    def respond(request: Request) -> Reply:
        return server.store(request) if len(request.readings) <= 10 else Reply(413, "<html>")

    server.always = respond
    assert once().status == 0
    assert len(server.stored) == 100


def test_one_reading_that_is_too_large_is_set_aside(
    node: Node, once: Once, server: FakeServer
) -> None:
    node.fill(8)
    bad_one(server, Reply(413, {"error": "it is too large", "code": "too_large"}), 3.0)
    assert once().status == 0
    assert len(server.stored) == 7
    assert [code for _, code, _ in node.refused()] == ["413"]


def test_a_413_that_is_not_tmons_refuses_no_reading(
    node: Node, once: Once, server: FakeServer
) -> None:
    node.fill(8)
    server.always = lambda _: Reply(413, "<html>")
    assert once().status == 1
    assert len(node.kept()) == 8
    assert node.refused() == []


def test_the_refused_are_few(node: Node, once: Once, server: FakeServer) -> None:
    node.fill(client.REFUSED_MAX + 200)

    def respond(request: Request) -> Reply:
        words = [
            {"index": index, "code": "implausible", "error": str(reading["value"])}
            for index, reading in enumerate(request.readings)
        ]
        return Reply(201, {"accepted": 0, "duplicates": 0, "rejected": words})

    server.always = respond
    ran = once()
    assert len(ran.said) == 1
    assert len(node.refused()) == client.REFUSED_MAX
    assert node.refused()[-1][2] == "1199.0"


def test_readings_wait_for_a_server_that_is_slow(
    node: Node, once: Once, server: FakeServer
) -> None:
    node.fill(1)
    server.next.append(lambda request: replace(server.store(request), delay_s=0.5))
    assert once().status == 0
    assert node.kept() == []


def test_jitter_comes_after_sensing_and_before_sending(
    node: Node, sysfs: SysfsTree, server: FakeServer
) -> None:
    sysfs.thermometer()
    with node.start(TMON_JITTER_S="3600") as process:
        wait_until(lambda: len(node.kept()) == 1)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (1, "", "")
    assert server.requests == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_loop_goes_on_until_it_is_asked_to_stop(
    node: Node, server: FakeServer, number: signal.Signals
) -> None:
    with node.start("--loop", "0.5", "--command", "door=echo 1") as process:
        wait_until(lambda: len(server.posts) >= 3)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
    assert len(node.kept()) <= client.RUNS_AT_ONCE  # asked between keeping and sending
    assert node.run().status == 0
    assert node.kept() == []
    assert server.conflicts == []


def longest_gap_s(times_ms: list[int]) -> float:
    assert len(times_ms) >= 3
    return max(b - a for a, b in pairwise(sorted(times_ms))) / 1000


def test_a_server_that_never_answers_stops_neither_the_beat_nor_the_end(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # its backlog accepts
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with node.start("--loop", "0.5", "--command", "door=echo 1", TMON_URL=url) as process:
            wait_until(lambda: len(node.kept()) >= 3)
            asked_s = time.monotonic()
            process.terminate()
            out, err = process.communicate(timeout=60)
        assert time.monotonic() - asked_s < client.READ_TIMEOUT_S
        silent.settimeout(0.1)
        silent.accept()[0].close()
        with pytest.raises(TimeoutError):  # one run sends, however many beats go by
            silent.accept()
    assert (process.returncode, out, err) == (0, "", "")
    times_ms = [wall_ms for (wall_ms,) in node.query("SELECT wall_ms FROM readings")]
    assert longest_gap_s(times_ms) < client.READ_TIMEOUT_S


def test_sending_much_does_not_stop_the_beat(node: Node, server: FakeServer) -> None:
    node.fill(20_000)
    server.always = lambda request: replace(server.store(request), delay_s=0.1)
    with node.start("--loop", "0.5", "--command", "door=echo 1") as process:
        wait_until(lambda: len(server.stored) > 20_005)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    times_ms = [ms for sensor, ms in server.stored if sensor == "door"]
    assert longest_gap_s(times_ms) < (max(times_ms) - min(times_ms)) / 2000
    assert len(server.posts) == len({json.dumps(post.body) for post in server.posts})


@pytest.mark.parametrize("runs", [8, pytest.param(40, marks=pytest.mark.soak)])
def test_runs_at_once_do_not_collide(node: Node, server: FakeServer, runs: int) -> None:
    node.fill(700)
    started = [node.start("--command", f"door{n}=echo {n}") for n in range(runs)]
    for process in started:
        with process:
            _, err = process.communicate(timeout=60)
        assert process.returncode in {0, 1}, err  # 1: another one was sending
        assert err == ""
    assert node.run().status == 0
    assert len(server.stored) == 700 + runs
    assert len([reading for post in server.posts for reading in post.readings]) == 700 + runs
    assert node.kept() == []


@pytest.mark.parametrize("flags", [(), ("--loop", "0.5")])
def test_without_requests_readings_are_kept_and_the_package_is_named(
    node: Node, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    (tmp_path / "requests.py").write_text("raise ImportError")
    ran = node.run("--command", "door=echo 1", *flags, PYTHONPATH=str(tmp_path))
    assert ran.status == 2
    assert "sudo apt install python3-requests" in ran.err
    assert node.kept()


def test_no_answer_brings_the_token_to_light(node: Node, server: FakeServer) -> None:
    signature = TOKEN.rsplit(".", 1)[1]
    server.always = Reply(500, "oops")
    runs = [
        node.run("--verbose", "--command", "door=echo 1"),
        node.run("--verbose", TMON_TOKEN=f"{TOKEN}\n{TOKEN}"),
        node.run("--verbose", TMON_TOKEN=f"x{TOKEN}"),
        node.run("--status"),
        node.run("--print", "--verbose"),
        node.run("--help"),
    ]
    assert [run for run in runs if signature in run.out + run.err] == []
    assert signature.encode() not in node.spool.read_bytes()


@pytest.mark.parametrize("date", ["Thu, 01 Jan 2099 00:00:00 GMT", "soon", None])
def test_clocks_that_are_said_to_differ_for_no_reason_end_the_run(
    node: Node, server: FakeServer, date: str | None
) -> None:
    node.fill(1200)
    said = {"error": "readings are ahead", "code": "clock_differs"}
    server.always = Reply(503, said, {"Date": date} if date else {})
    assert node.run().status == 1
    assert len(server.posts) == 1
    assert len(node.kept()) == 1200
