"""Flags, environment and files; what a person sees."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from client import client
from tests.client.harness import CLIENT, TOKEN, FakeClock, MoodyServer, Node, Once, Reply, SysfsTree


def test_all_problems_are_told_at_once_in_words(once: Once) -> None:
    ran = once(
        "--command=load",
        TMON_URL="server:13117",
        TMON_TOKEN="a b",
        TMON_JITTER_S="soon",
        TMON_SPOOL_MAX="0",
        TMON_CA_FILE="/nowhere.pem",
    )
    assert ran.status == 2
    said = "\n".join(ran.said)
    for name in ("TMON_URL", "TMON_TOKEN", "TMON_JITTER_S", "TMON_SPOOL_MAX", "TMON_CA_FILE"):
        assert name in said
    assert "command 'load'" in said


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"TMON_URL": ""}, "no server: set TMON_URL"),
        ({"TMON_URL": "ftp://host"}, "isn't like http"),
        ({"TMON_URL": "http://"}, "isn't like http"),
        ({"TMON_URL": "http://host:port"}, "isn't like http"),
        ({"TMON_URL": "http://me:secret@host"}, "user name or password"),
        ({"TMON_TOKEN": ""}, "no token: set TMON_TOKEN to what `tmon token get NAME` prints"),
        ({"TMON_TOKEN": "tmon_cellar.u1d"}, "isn't a whole token"),
    ],
)
def test_what_is_missing_or_wrong_is_told_with_what_to_do(
    once: Once, environ: dict[str, str], words: str
) -> None:
    ran = once(**environ)
    assert ran.status == 2
    assert words in ran.err
    assert "secret" not in ran.err


def test_a_flag_goes_before_the_environment(once: Once, server: MoodyServer) -> None:
    flags = ("--url", server.url, "--node", "attic", "--command", "door=echo 1")
    assert once(*flags, TMON_URL="http://127.0.0.1:1", TMON_NODE="cellar").status == 0
    assert server.posts[0].body["node"] == "attic"


def test_commands_may_come_by_the_environment(once: Once, server: MoodyServer) -> None:
    once(TMON_COMMANDS="a:1=echo 1\n\nb:V=echo 2\n")
    assert [(r["sensor"], r["unit"]) for r in server.posts[0].readings] == [("a", "1"), ("b", "V")]


@pytest.mark.parametrize("text", ["0", "-1", "often", "nan"])
def test_a_loop_needs_a_time(once: Once, text: str) -> None:
    ran = once(f"--loop={text}")
    assert ran.status == 2
    assert "--loop" in ran.err


def test_print_needs_no_token_and_sends_nothing(
    once: Once, node: Node, sysfs: SysfsTree, server: MoodyServer
) -> None:
    sysfs.thermometer()
    sysfs.zone(0, "cpu-thermal", 48312)
    ran = once("--print", "--command", "door=echo 1", TMON_URL="", TMON_TOKEN="")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "temperature:28-0316a2f2c3ff      23.125 °C",
        "temperature:cpu-thermal          48.312 °C",
        "door                                1.0",
    ]
    assert server.requests == []
    assert not node.spool.exists()


def test_print_with_nothing_to_show_says_so(once: Once) -> None:
    ran = once("--print")
    assert (ran.status, ran.out) == (1, "")
    assert "no readings" in ran.err


def test_status_tells_what_is_kept_and_why(
    once: Once, node: Node, clock: FakeClock, server: MoodyServer
) -> None:
    rejected = [{"index": 0, "code": "implausible", "error": "no such door"}]
    server.next.append(Reply(201, {"accepted": 0, "duplicates": 0, "rejected": rejected}))
    once("--command", "door=echo 7")
    server.always = Reply(503, {"error": "backlog full", "code": "overloaded"})
    clock.pass_ms(60_000)
    once("--command", "door=echo 1")
    requests = len(server.requests)
    ran = once("--status", TMON_URL="", TMON_TOKEN="")
    assert (ran.status, ran.err) == (0, "")
    when = client.at(clock.wall_ms)
    assert f"spool     {node.spool}\nkept      1, from {when} to {when}\n" in ran.out
    assert f"last sent {client.at(clock.wall_ms - 60_000)}\n" in ran.out
    assert "the server answered 503; backlog full" in ran.out
    assert "door 7.0  implausible no such door" in ran.out
    assert len(server.requests) == requests


def test_status_before_the_first_run_makes_nothing(once: Once, node: Node) -> None:
    ran = once("--status")
    assert ran.status == 0
    assert "there is no such file yet" in ran.out
    assert not node.spool.exists()


def test_verbose_tells_what_was_sent(once: Once, server: MoodyServer) -> None:
    ran = once("--verbose", "--command", "door=echo 1")
    assert ran.said == [f"sent 1 readings to {server.url}"]


def test_a_fault_of_ours_is_one_line_and_with_verbose_its_way(once: Once, node: Node) -> None:
    with client.Spool(node.spool):
        pass
    node.query("DROP TABLE boots")
    ran = once("--command", "door=echo 1")
    assert (ran.status, ran.said) == (1, ["failed: OperationalError: no such table: boots"])
    assert "Traceback" in once("--verbose", "--command", "door=echo 1").err


def test_help_has_every_setting_and_examples(node: Node) -> None:
    ran = node.run("--help")
    for name in ("URL", "TOKEN", "NODE", "SYSFS", "SPOOL", "SPOOL_MAX", "JITTER_S", "CA_FILE"):
        assert f"[TMON_{name}]" in ran.out.replace("\n" + " " * 24, " ")
    assert "TMON_COMMANDS" in ran.out
    assert "ps" in ran.out
    assert "examples:" in ran.out


def test_the_spools_place_is_where_services_or_people_keep_state(
    node: Node, tmp_path: Path
) -> None:
    ran = node.run("--status", TMON_SPOOL="", XDG_STATE_HOME=str(tmp_path))
    assert "spool     /var/lib/tmon/spool.db" in ran.out or str(tmp_path) in ran.out


def test_the_file_runs_as_it_is_copied() -> None:
    text = CLIENT.read_text()
    assert text.startswith("#!/usr/bin/env python3\n# /// script\n# requires-python")
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", text, re.MULTILINE))
    assert imported - sys.stdlib_module_names == {"requests"}
    assert TOKEN.count(".") == 3
