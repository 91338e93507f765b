"""The client with what Debian 11 has: Python 3.9 and requests 2.25."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.client.harness import CLIENT, FakeServer, Node, Ran, Reply

OLD_PACKAGES = CLIENT.parents[1] / ".venv" / "debian-11"


@cache
def oldest_python() -> str:
    """Python 3.9 where there is one, else this one: the packages are old ones all the same."""
    found = [shutil.which("python3.9"), *Path.home().glob(".pyenv/versions/3.9.*/bin/python")]
    for python in map(str, filter(None, found)):
        asked = subprocess.run([python, "-c", "import sqlite3"], capture_output=True, check=False)
        if asked.returncode == 0:
            return python
    return sys.executable


def run(node: Node, *flags: str, **environ: str) -> Ran:
    ran = subprocess.run(
        [oldest_python(), str(CLIENT), "--strict", "--verbose", *flags],
        env={
            **node.environ,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(OLD_PACKAGES),
            "PYTHONDONTWRITEBYTECODE": "1",
            **environ,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def test_it_sends_over_connections_that_are_closed_in_between(
    node: Node, server: FakeServer
) -> None:
    node.fill(1200)
    server.closes_late = True
    ran = run(node, "--command", "door=echo 1")
    assert (ran.status, ran.said) == (0, [f"sent 1201 readings to {server.url}"])
    assert server.posts[0].headers["User-Agent"].startswith("tmon-client/")
    assert len(server.stored) == 1201
    assert server.requests_lost >= 2


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(503, {"error": "backlog full", "code": "overloaded"}), "answered 503; backlog full"),
        (Reply(302, "", {"Location": "http://login.test/"}), "redirects to http://login.test/"),
        (Reply(200, "<html>"), "it wasn't tmon that answered"),
        (Reply(201, "{}", cut=1), "answered 201 without a receipt"),
    ],
)
def test_it_keeps_what_is_not_acknowledged(
    node: Node, server: FakeServer, reply: Reply, words: str
) -> None:
    node.fill(2)
    server.always = reply
    ran = run(node)
    assert (ran.status, words in ran.err) == (1, True)
    assert len(node.kept()) == 2


def test_it_shows_what_it_senses_and_keeps(node: Node) -> None:
    node.sysfs.thermometer()
    assert "23.125 °C" in run(node, "--print").out
    assert run(node, TMON_URL="http://127.0.0.1:1").status == 1
    assert "\ntrouble   since " in run(node, "--status").out


def test_it_uses_nothing_that_came_with_a_later_python() -> None:
    vermin = [sys.executable, str(OLD_PACKAGES / "bin" / "vermin")]
    ran = subprocess.run(
        [*vermin, "--target=3.9-", "--no-tips", "--violations", str(CLIENT)],
        env={"PYTHONPATH": str(OLD_PACKAGES)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
