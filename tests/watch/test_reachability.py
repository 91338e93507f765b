"""T04, T05, T21 and remote T07 and T24, with real servers and other programs at their address."""

import json
import socket
import threading
import time

import pytest

from tests.watch.watched import NOW_MS, answering, tmon_says
from tmon.core.settings import Settings
from tmon.watch.checks import reachability
from tmon.watch.checks.reachability import Addresses
from tmon.watch.findings import Finding

AT_ONCE = (0.0, 0.0, 0.0)


def ask(ingest: str = "", datasette: str = "", *, remote: bool = False) -> list[Finding]:
    return [*reachability.check(Addresses(ingest, datasette, remote), NOW_MS, AT_ONCE)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def test_both_that_answer_are_no_finding() -> None:
    with answering(tmon_says()) as server:
        assert ask(server.url, server.url) == []
        assert sorted(server.asked) == ["/-/versions.json", "/healthz"]


def test_each_that_doesnt_answer_is_critical() -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    findings = ask(dead, dead)
    assert [(one.number, str(one.severity), one.subject) for one in findings] == [
        ("T04", "critical", dead),
        ("T05", "critical", dead),
    ]
    assert findings[0].reason == "ingest doesn't answer: connection refused"
    assert findings[1].reason == "Datasette doesn't answer: connection refused"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ((500, b"{}"), "it answered 500"),
        ((503, b'{"error": "no server is available", "code": "bad_gateway"}'), "it answered 503"),
        ((503, b"<html>Service Unavailable"), "it answered 503"),
        ((302, b""), "it answered 302"),
        ((200, b"<html>Please log in to our Wi-Fi"), "something else answers there"),
        ((200, b'["time_ms", "datasette"]'), "something else answers there"),
        ((200, b'{"hello": 1}'), "something else answers there"),
    ],
)
def test_an_answer_that_isnt_tmons_is_no_answer(said: tuple[int, bytes], why: str) -> None:
    with answering({"/healthz": said, "/-/versions.json": said}) as server:
        findings = ask(server.url, server.url)
    assert [one.number for one in findings] == ["T04", "T05"]
    assert all(one.reason.endswith(why) for one in findings)


def test_a_remote_ingest_without_a_majority_of_its_servers_is_critical() -> None:
    said = {"error": "no stream has a majority", "code": "unavailable", "time_ms": NOW_MS}
    with answering(tmon_says() | {"/healthz": (503, json.dumps(said).encode())}) as server:
        assert ask(server.url, server.url) == []  # T24 says more
        [finding] = ask(server.url, server.url, remote=True)
        assert (finding.number, finding.reason) == (
            "T24",
            "ingest answers, but no stream has a majority",
        )


def test_an_ingest_that_commits_nothing_is_critical_and_answers_all_the_same() -> None:
    stuck = {"error": "nothing is committed", "code": "stuck", "time_ms": NOW_MS}
    for oldest_s, told in (({"oldest_waiting_s": 25.4}, " for 25 s"), ({}, "")):
        said = (503, json.dumps(stuck | oldest_s).encode())
        with answering(tmon_says() | {"/healthz": said}) as server:
            [finding] = ask(server.url, server.url)
            assert (finding.number, str(finding.severity)) == ("T21", "critical")
            assert finding.reason == (
                f"ingest answers, but readings wait{told} and none is committed"
            )
            assert [one.number for one in ask(server.url, remote=True)] == ["T21"]


def test_a_restart_is_no_finding() -> None:
    """It is down for a second, and asked again after that."""
    port = free_port()
    addresses = Addresses(f"http://127.0.0.1:{port}", "", remote=False)
    with answering(tmon_says()) as server:
        findings: list[Finding] = []

        def check() -> None:
            findings.extend(reachability.check(addresses, NOW_MS, (0.0, 0.5, 1.0, 5.0, 10.0)))

        checking = threading.Thread(target=check)
        checking.start()
        time.sleep(0.3)
        with socket.create_server(("127.0.0.1", port)) as restarted:
            client, _ = restarted.accept()
            with socket.create_connection(("127.0.0.1", int(server.port))) as behind, client:
                behind.sendall(client.recv(65_536))
                client.sendall(behind.recv(65_536) + behind.recv(65_536))
        checking.join()
    assert findings == []


def test_the_clock_of_a_remote_server_is_compared_with_ours() -> None:
    for skew_s, enough in ((29, None), (-45, False), (75, True)):
        with answering(tmon_says(NOW_MS + skew_s * 1000)) as server:
            findings = ask(server.url, remote=True)
            assert [one.meets_threshold for one in findings] == ([] if enough is None else [enough])
    assert findings[0].number == "T07"
    assert findings[0].reason.startswith("the server's clock is 1 min 1")
    assert findings[0].reason.endswith("s ahead of this machine's")
    with answering(tmon_says(NOW_MS + 600_000)) as server:
        assert ask(server.url) == []  # the same machine has the same clock


def test_an_address_is_shown_without_its_password() -> None:
    [finding] = ask(f"http://me:hidden@127.0.0.1:{free_port()}/ingest", remote=True)
    assert "hidden" not in repr(finding)
    assert finding.subject.endswith("/ingest")


def test_an_unknown_host_is_reported_without_the_address() -> None:
    [finding] = ask("http://nowhere.invalid", remote=True)
    assert finding.reason.startswith("ingest doesn't answer: ")
    assert "nowhere" not in finding.reason


@pytest.mark.parametrize(
    ("environ", "ingest", "datasette"),
    [
        ({}, "http://127.0.0.1:13117", "http://127.0.0.1:8001"),
        ({"TMON_HOST": "0.0.0.0"}, "http://127.0.0.1:13117", "http://127.0.0.1:8001"),
        ({"TMON_HOST": "::", "TMON_PORT": "1"}, "http://[::1]:1", "http://127.0.0.1:8001"),
        ({"TMON_DATASETTE_HOST": "10.0.0.1"}, "http://127.0.0.1:13117", "http://10.0.0.1:8001"),
        ({"TMON_PORT": "0", "TMON_DATASETTE_PORT": "0"}, "", ""),
    ],
)
def test_local_addresses_come_from_the_settings(
    environ: dict[str, str], ingest: str, datasette: str
) -> None:
    assert reachability.local_addresses(Settings.load(environ)) == Addresses(
        ingest, datasette, remote=False
    )
