"""Logs: a line a request at most, JSON on demand, and never a secret or a line that isn't one."""

import io
import json
import logging
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import process_time
from typing import Any

import pytest
import requests

from tests.station import Process, answers, tmon, wait_for
from tmon.core import logs

SIGNATURE = "Zk3x_9-QpLr7Vw2YtB1nMc8sDf4gHj6k"
TOKEN = f"tmon_basement.k3x9qp.1.{SIGNATURE}"


def escaped(text: str, times: int = 1) -> str:
    """Each character percent-encoded, and the percent signs again."""
    return "".join("%" + "25" * (times - 1) + f"{ord(character):02x}" for character in text)


SECRETS = [
    TOKEN,
    f"Bearer {TOKEN}",
    f"/readings/{TOKEN}?a=b",
    f"tmon%5Fbasement%2Ek3x9qp%2E1%2E{SIGNATURE}",
    f"Authorization: Bearer {SIGNATURE}",
    f"{{'Authorization': 'Basic {SIGNATURE}'}}",
    f"(b'authorization', b'Token {SIGNATURE}')",
    f"authorization={SIGNATURE}",
    f"Basic {SIGNATURE}==",
    f"/write?u=basement&p={SIGNATURE}&precision=s",
    f"/x?%74oken={SIGNATURE}",
    f"/x?password={SIGNATURE}",
    f"https://mail:{SIGNATURE}@mail.example.org/",
    f"/readings/{escaped(TOKEN)}",
    f"/readings/{escaped(TOKEN).upper()}",
    f"/readings/{escaped(TOKEN, 2)}",
    f"/readings/{escaped(TOKEN, 3)}",
    f"/readings/{escaped(escaped(TOKEN))}",
    f"/readings/tmon%255Fbasement%252Ek3x9qp%252E1%252E{SIGNATURE}",
    f"/readings/tm%6fn_basement.k3x9qp.1.{SIGNATURE}",
    f"/x?{escaped('token')}={SIGNATURE}",
    f"/x?{escaped('token', 2)}={SIGNATURE}",
    f"/x?a=1{escaped('&')}token{escaped('=')}{SIGNATURE}",
    f"/x?next=%2Fy%3Ftoken%3D{SIGNATURE}",
    f"/x?next=%252Fy%253Fpassword%253D{SIGNATURE}",
    f"/x?header=Authorization%3A%20Bearer%20{SIGNATURE}",
    f"Cookie: theme=dark; session={SIGNATURE}",
    f"(b'cookie', b'theme=dark; session={SIGNATURE}')",
    f"Set-Cookie: ds_actor={SIGNATURE}; Path=/",
    f"X-Api-Key: {SIGNATURE}",
    f"Proxy-Authorization: Basic {SIGNATURE}",
    f"Referer: https://x.example/?token={SIGNATURE}",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_taken_out(text: str) -> None:
    assert SIGNATURE not in logs.redacted(text)


@pytest.mark.parametrize("text", ["tmon_" * 3_000, "/" + "a=tmon_." * 2_000, "%25" * 5_000])
def test_a_long_text_takes_no_long_time(text: str) -> None:
    """It did with the square of the length: ten long addresses held ingest up for seconds."""
    began_s = process_time()
    logs.redacted(text)
    assert process_time() - began_s < 0.1


@pytest.mark.parametrize("dots", [2, 3])
def test_a_token_cut_short_is_taken_out(dots: int) -> None:
    assert "k3x9" not in logs.redacted(".".join(TOKEN.split(".")[:dots]) + ".Zk")


@pytest.mark.parametrize(
    "text",
    [
        "tmon_old.db failed",
        "tmon_http_requests_total 7",
        "/tmon/readings?_sort=measured_ms&sensor=1",
        "this token of basement is outdated",
        "the basic idea",
        "/tmon/-/query?sql=select+1",
        "/tmon/-/query?sql=select+%27100%25%27%2C+x+like+%27%2541%25%27",
        "/tmon/readings?unit=%C2%B0C&_where=value+%3E+1",
        "/nothing%0Ahere%2Fthere",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert logs.redacted(text) == text


def test_sql_is_public_and_cut() -> None:
    told = logs.redacted("/tmon/-/query?sql=" + "x" * 60_000 + "&_shape=array")
    assert len(told) < 300
    assert told.endswith("…&_shape=array")


@contextmanager
def logging_to(form: str, level: str = "warning") -> Iterator[io.StringIO]:
    """What a process with these settings writes; afterwards all is as it was."""
    root, ours = logging.getLogger(), logging.getLogger("tmon")
    before = (root.handlers, root.level, ours.level)
    written, stderr = io.StringIO(), sys.stderr
    sys.stderr = written
    try:
        root.handlers = []
        logs.set_up(level, form)
        yield written
    finally:
        sys.stderr = stderr
        root.handlers = before[0]
        root.setLevel(before[1])
        ours.setLevel(before[2])


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_logger_and_no_exception_tells_a_secret(form: str) -> None:
    with logging_to(form) as written:
        for name in ("tmon.app", "uvicorn.error", "somebody.elses"):
            error = ValueError(f"what of {TOKEN}?")
            error.__cause__ = KeyError(f"Bearer {TOKEN}")
            what = {"token": TOKEN}
            logging.getLogger(name).error("%s failed for %s", "it", what, exc_info=error)
    assert written.getvalue().count("failed for") == 3
    assert SIGNATURE not in written.getvalue()


def test_json_is_one_object_a_line_with_the_exception_in_it() -> None:
    with logging_to("json") as written:
        error = ValueError("one\nand two\u2028three")
        fields = {"node": "attic", "n": 3}
        logging.getLogger("tmon.x").error("bad", exc_info=error, extra={"fields": fields})
    (line,) = written.getvalue().splitlines()
    told = json.loads(line)
    assert [*told] == ["time", "level", "logger", "message", "node", "n", "exception"]
    assert told["time"].endswith("Z")
    assert (told["level"], told["logger"], told["n"]) == ("error", "tmon.x", 3)
    assert "ValueError: one\nand two" in told["exception"]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x85", "\u2028", "\x1b[2K\n"])
def test_nothing_that_is_told_can_pose_as_a_line(end: str) -> None:
    forged = f"/x{end}tmon.writer: all is well"
    with logging_to("text") as written:
        logging.getLogger("tmon.x").error("no %s", forged, exc_info=ValueError(forged))
    lines = written.getvalue().splitlines()
    assert [line for line in lines if not line.startswith("  ")] == lines[:1]
    assert "\x1b" not in written.getvalue()


def test_a_broken_call_to_the_log_fails_nobody() -> None:
    with logging_to("text"):
        logging.getLogger("tmon.x").warning("%d", "no number")


def test_what_a_library_writes_to_stderr_by_itself_is_logged_once() -> None:
    with logging_to("json") as written, logs.stderr_logged():
        print("a word", file=sys.stderr)
        try:
            int(TOKEN)
        except ValueError:
            print("a word about something else", file=sys.stderr)
            traceback.print_exc()
    told = [json.loads(line) for line in written.getvalue().splitlines()]
    words = ["a word", "a word about something else", "a library failed"]
    assert [one["message"] for one in told] == words
    assert "ValueError: invalid literal" in told[2]["exception"]
    assert SIGNATURE not in told[2]["exception"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmon(tmp_path, "token", "get", "basement")
    return tmp_path


def told_by(process: Process) -> list[dict[str, Any]]:
    process.popen.terminate()
    status, stderr = process.end()
    assert status == 0
    assert SIGNATURE not in stderr
    return [json.loads(line) for line in stderr.splitlines()]


def test_ingest_logs_a_line_a_request_with_its_node(folder: Path) -> None:
    environ = {"TMON_LOG_FORMAT": "json"}
    token = tmon(folder, "token", "get", "basement").stdout.strip()
    process = Process(
        folder, "serve", "ingest", "--port", "0", "--log-level", "info", environ=environ
    )
    url = process.addresses(1)["ingest"]
    body = [{"value": n, "measured_ms": 1_700_000_000_000 + n} for n in range(50)]
    for sent in (token, TOKEN):
        headers = {"Authorization": f"Bearer {sent}"}
        requests.post(f"{url}/readings", json=body, headers=headers, timeout=60)
    requests.get(f"{url}/nothing%0Ahere?token={SIGNATURE}&a=1", timeout=60)
    for spelled in (TOKEN, escaped(TOKEN, 2)):
        requests.post(f"{url}/readings/{spelled}", timeout=60)
    told = [one for one in told_by(process) if one["logger"] == "tmon.access"]
    assert [(one["method"], one["path"], one["status"], one.get("node")) for one in told] == [
        ("POST", "/readings", 201, "basement"),
        ("POST", "/readings", 401, None),
        ("GET", "/nothing%0Ahere?token=…&a=1", 404, None),
        ("POST", "/readings/tmon_…", 404, None),
        ("POST", "/readings/tmon_…", 404, None),
    ]
    assert all(one["ms"] >= 0 and one["bytes"] > 10 for one in told)


def test_datasette_logs_a_line_a_request(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    environ = {"TMON_LOG_LEVEL": "info", "TMON_LOG_FORMAT": "json"}
    process = Process(folder, "serve", "datasette", "--datasette-port", port, environ=environ)
    url = process.addresses(1)["datasette"]
    wait_for(lambda: answers(f"{url}/tmon.json"))
    requests.get(f"{url}/tmon/-/query.json?sql=select+'{'x' * 1000}'&p={SIGNATURE}", timeout=60)
    (told,) = [one for one in told_by(process) if "query" in one.get("path", "")]
    assert told["status"] == 200
    assert len(told["path"]) < 300
    assert told["path"].endswith("…&p=…")


def test_by_default_it_is_quiet(folder: Path) -> None:
    process = Process(folder, "serve", "ingest", "--port", "0")
    url = process.addresses(1)["ingest"]
    requests.post(f"{url}/readings", json={"value": 1}, timeout=60)
    assert told_by(process) == []


def test_who_is_refused_or_goes_away_is_logged_too(folder: Path) -> None:
    environ = {"TMON_LOG_LEVEL": "info"}
    process = Process(folder, "serve", "ingest", "--port", "0", environ=environ)
    host, port = process.addresses(1)["ingest"].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(b"no HTTP at all\r\n\r\n")
        line.recv(1000)
    with socket.create_connection((host, int(port))) as line:
        line.sendall(b"POST /readings HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        wait_for(lambda: answers(f"http://{host}:{port}/healthz"))
    wait_for(lambda: answers(f"http://{host}:{port}/healthz"))
    process.popen.terminate()
    _, stderr = process.end()
    assert "tmon.access: refused 400 invalid_http\n" in stderr
    assert stderr.count("tmon.access: POST /readings") == 1


def test_a_level_that_is_none_is_told_in_one_line(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tmon", "token", "list", "--db", "x"],
        cwd=tmp_path,
        env={"TMON_LOG_LEVEL": "loud", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "TMON_LOG_LEVEL (--log-level): 'loud'" in ended.stderr
