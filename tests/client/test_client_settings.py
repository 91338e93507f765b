"""Flags, environment and files; what a person sees."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from client import client
from tests.client.harness import (
    CLIENT,
    TOKEN,
    FakeClock,
    FakeServer,
    Node,
    Once,
    Ran,
    Reply,
    SysfsTree,
)


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
        ({"TMON_URL": "http://host:65536"}, "isn't like http"),
        ({"TMON_URL": "http://host:0"}, "isn't like http"),
        ({"TMON_URL": "http://a..b"}, "isn't like http"),
        ({"TMON_URL": f"http://{'a' * 64}.b"}, "isn't like http"),
        ({"TMON_CA_FILE": __file__}, "holds no certificate"),
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


def test_a_flag_goes_before_the_environment(once: Once, server: FakeServer) -> None:
    flags = ("--url", server.url, "--node", "attic", "--command", "door=echo 1")
    assert once(*flags, TMON_URL="http://127.0.0.1:1", TMON_NODE="cellar").status == 0
    assert server.posts[0].body["node"] == "attic"


def test_commands_may_come_by_the_environment(once: Once, server: FakeServer) -> None:
    once(TMON_COMMANDS="a:1=echo 1\n\nb:V=echo 2\n")
    assert [(r["sensor"], r["unit"]) for r in server.posts[0].readings] == [("a", "1"), ("b", "V")]


@pytest.mark.parametrize("commands", [["a:1=echo 1", "b=echo 2"], ("a:1=echo 1", "b=echo 2")])
def test_commands_may_be_a_list_at_the_top_of_the_file(
    node: Node, tmp_path: Path, server: FakeServer, commands: Sequence[str]
) -> None:
    text = CLIENT.read_text()
    edited = re.sub(
        "^COMMANDS: .* = \\[\\] ", f"COMMANDS = {commands!r} ", text, flags=re.MULTILINE
    )
    assert edited != text
    copy = tmp_path / "tmon-client"
    copy.write_text(re.sub("^JITTER_S = .*  #", "JITTER_S = 0  #", edited, flags=re.MULTILINE))
    environ = {**node.environ, "PATH": os.environ["PATH"], "TMON_JITTER_S": ""}
    assert subprocess.run([sys.executable, str(copy)], env=environ, check=True).returncode == 0
    assert [r["sensor"] for post in server.posts for r in post.readings] == ["a", "b"]


def test_a_scheme_in_capitals_is_one(once: Once, server: FakeServer) -> None:
    assert once("--command", "door=echo 1", TMON_URL=server.url.replace("http", "HTTP")).status == 0
    assert len(server.stored) == 1


@pytest.mark.parametrize(
    "ending",
    ["", "/", "//", "/readings", "/readings/", "/ingest", "/ingest/readings", "/a/readings"],
)
def test_the_address_may_be_what_serve_prints(once: Once, server: FakeServer, ending: str) -> None:
    assert once("--command", "door=echo 1", TMON_URL=server.url + ending).status == 0
    path = re.sub("(/readings)?/*$", "", ending)
    assert server.posts[0].path == f"{path}/readings"


# What it imports may lie in root's home.
AS_ANOTHER = """
import os, sys
import requests
from client import client
os.setgid(54_321)
os.setuid(54_321)
sys.exit(client.main(sys.argv[1:]))
"""
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


def as_another(*flags: str, **environ: str) -> Ran:
    """A run of a user who has no home, nor a name, as in a container that runs as a number."""
    ran = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER, *flags],
        cwd=CLIENT.parents[1],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture
def open_node(server: FakeServer) -> Iterator[Node]:
    """A node in a folder that others can reach, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="tmon-") as folder:
        Path(folder).chmod(0o777)
        yield Node(Path(folder), server)


@only_root
def test_a_user_without_a_home_sets_the_spool(open_node: Node, server: FakeServer) -> None:
    environ = {key: value for key, value in open_node.environ.items() if key != "HOME"}
    homeless = environ | {"TMON_SPOOL": ""}
    assert as_another("--print", "--command", "door=echo 1", **homeless).status == 0
    for flags in ((), ("--status",)):
        ran = as_another(*flags, **homeless)
        assert (ran.status, "no home folder: set TMON_SPOOL" in ran.err) == (2, True)
    assert as_another("--command", "door=echo 1", **environ) == Ran(0, "", "")
    assert len(server.stored) == 1


@pytest.mark.parametrize("path", ["~nobody-is-called-so/spool.db", "~nobody-is-called-so"])
def test_a_home_that_is_none_is_told(once: Once, path: str) -> None:
    ran = once(TMON_SPOOL=path)
    assert (ran.status, "no home folder: set TMON_SPOOL" in ran.err) == (2, True)


def test_where_only_ascii_is_written_nothing_fails(node: Node, sysfs: SysfsTree) -> None:
    sysfs.thermometer()
    ran = node.run("--print", PYTHONIOENCODING="ascii", PYTHONCOERCECLOCALE="0", LC_ALL="C")
    assert (ran.status, ran.err) == (0, "")
    assert "23.125 ?C" in ran.out
    spoken = node.run("--verbose", "--command", "é=1", PYTHONIOENCODING="ascii:strict")
    assert (spoken.status, "command '?=1'" in spoken.err) == (2, True)


@pytest.mark.parametrize("text", ["0", "-1", "often", "nan"])
def test_a_loop_needs_a_time(once: Once, text: str) -> None:
    ran = once(f"--loop={text}")
    assert ran.status == 2
    assert "--loop" in ran.err


def test_print_needs_no_token_and_sends_nothing(
    once: Once, node: Node, sysfs: SysfsTree, server: FakeServer
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
    once: Once, node: Node, clock: FakeClock, server: FakeServer
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
    when = client.iso(clock.wall_ms)
    assert f"spool     {node.spool}\nkept      1, from {when} to {when}\n" in ran.out
    assert f"last sent {client.iso(clock.wall_ms - 60_000)}\n" in ran.out
    assert "the server answered 503; backlog full" in ran.out
    assert "door 7.0  implausible no such door" in ran.out
    assert len(server.requests) == requests


def test_status_before_the_first_run_makes_nothing(once: Once, node: Node) -> None:
    ran = once("--status")
    assert ran.status == 0
    assert "there is no such file yet" in ran.out
    assert not node.spool.exists()


@only_root
def test_a_spool_of_roots_can_be_looked_at_by_others(
    open_node: Node, once: Once, clock: FakeClock
) -> None:
    once("--command", "door=echo 1", **{**open_node.environ, "TMON_URL": "http://127.0.0.1:1"})
    when = client.iso(clock.wall_ms)
    ran = as_another("--status", **open_node.environ)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"spool     {open_node.spool}\nkept      1, from {when}")
    assert f"trouble   since {when}: http://127.0.0.1:1 can't be reached" in ran.out


def test_status_shows_the_spool_of_a_service_to_a_user_who_has_none(
    node: Node, once: Once, tmp_path: Path
) -> None:
    once("--command", "door=echo 1", TMON_URL="http://127.0.0.1:1")
    copy = tmp_path / "client.py"
    paths = "/var/lib/tmon(-client)?/spool.db"
    copy.write_text(
        re.sub(f'"{paths}", "{paths}"', f'"/none/spool.db", "{node.spool}"', CLIENT.read_text())
    )

    def status(**environ: str) -> str:
        env = {"HOME": str(tmp_path), **environ}
        command = [sys.executable, str(copy), "--status"]
        ran = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        return ran.stdout.splitlines()[0].removeprefix("spool     ")

    assert status() == str(node.spool)
    assert status(TMON_SPOOL="/none/mine.db") == "/none/mine.db"


def test_verbose_counts_what_was_refused_by_itself(once: Once, server: FakeServer) -> None:
    rejected = [{"index": 0, "code": "implausible", "error": "no such door"}]
    server.next.append(Reply(201, {"accepted": 1, "duplicates": 0, "rejected": rejected}))
    ran = once("--verbose", "--command", "a=echo 1", "--command", "b=echo 2")
    assert ran.said[-1] == f"sent 1 readings to {server.url}; it refused 1"


def test_verbose_tells_that_it_waits_and_why(once: Once) -> None:
    ran = once("--verbose", "--command", "door=echo 1", TMON_JITTER_S="1000000")
    assert re.fullmatch("waiting [0-9]+ s, as not all nodes are to send at once", ran.said[0])


def test_verbose_tells_what_was_sent(once: Once, server: FakeServer) -> None:
    ran = once("--verbose", "--command", "door=echo 1")
    assert ran.said == [f"sent 1 readings to {server.url}"]


def test_a_fault_of_ours_is_one_line_and_with_verbose_its_way(once: Once, node: Node) -> None:
    with client.Spool(node.spool):
        pass
    node.query("DROP TABLE boots")
    assert once("--command", "door=echo 1") == Ran(1, "", "")  # it hasn't lasted
    ran = once("--verbose", "--command", "door=echo 1")
    assert "failed: OperationalError: no such table: boots" in ran.said[0]
    assert "Traceback" in ran.err


def test_help_has_every_setting_and_examples(node: Node) -> None:
    ran = node.run("--help")
    for name in ("URL", "TOKEN", "SPOOL", "SPOOL_MAX", "JITTER_S", "CA_FILE"):
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
