"""Caddy in front: one address with TLS, for the real client and a real browser."""

import base64
import hashlib
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright

from ingest.http import HttpConnection
from tests.deploy.front import CADDYFILE, Front, Fronted, caddy, free_port, fronted
from tests.publish.browsing import ARGS, CHROMIUM, visit
from tests.station import running, tmon, wait_for
from tests.test_logs import SIGNATURE, TOKEN, escaped
from tests.test_sending import large

CLIENT = Path(__file__).parents[2] / "client" / "client.py"
SECURITY = (
    "strict-transport-security",
    "content-security-policy",
    "x-frame-options",
    "x-content-type-options",
    "referrer-policy",
    "cross-origin-opener-policy",
)


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fronted]:
    with fronted(tmp_path_factory.mktemp("fronted")) as running:
        yield running


def token(station: Fronted, node: str) -> str:
    return str(tmon(station.folder, "token", "get", node).stdout.strip())


def client(station: Fronted, node: str, value: float) -> Any:
    """The real client's one run, with a sensor that says ``value``."""
    environ = {
        "PATH": os.environ["PATH"],
        "TMON_URL": f"{station.front.url}/ingest",
        "TMON_TOKEN": token(station, node),
        "TMON_CA_FILE": str(station.front.ca_file),
        "TMON_SPOOL": str(station.folder / f"{node}.spool"),
        "TMON_SYSFS": str(station.folder / "nothing"),
        "TMON_COMMANDS": f"temperature:°C=echo {value}",
        "TMON_JITTER_S": "0",
    }
    return subprocess.run(
        [sys.executable, str(CLIENT), "--strict", "--verbose"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


def values(station: Fronted, node: str) -> list[float]:
    sql = "select value from readings r join sensors s on s.id = r.sensor where s.node = :node"
    answer = station.front.get(
        "/tmon/-/query.json", params={"sql": sql + " order by measured_ms", "node": node}
    )
    return [row["value"] for row in answer.json()["rows"]]


def test_the_client_sends_through_it_and_its_reading_is_seen(station: Fronted) -> None:
    sent = client(station, "basement", 21.5)
    assert sent.returncode == 0
    assert values(station, "basement") == [21.5]


def test_a_client_that_does_not_know_the_authority_sends_nothing(station: Fronted) -> None:
    environ = {
        "TMON_URL": f"{station.front.url}/ingest",
        "TMON_TOKEN": token(station, "wary"),
        "TMON_SPOOL": str(station.folder / "wary.spool"),
        "TMON_COMMANDS": "x=echo 1",
        "TMON_JITTER_S": "0",
        "PATH": os.environ["PATH"],
    }
    sent = subprocess.run(
        [sys.executable, str(CLIENT), "--strict", "--verbose"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert sent.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in sent.stderr


def test_ingest_restarted_behind_it_loses_nothing(station: Fronted) -> None:
    assert client(station, "attic", 1).returncode == 0
    station.ingest.popen.terminate()
    assert station.ingest.end()[0] == 0
    kept = client(station, "attic", 2)
    assert kept.returncode == 1
    assert "503" in kept.stderr
    assert "ingest doesn't answer now" in kept.stderr
    station.start_ingest()
    wait_for(lambda: station.front.get("/ingest/healthz").status_code == 200)
    assert client(station, "attic", 3).returncode == 0
    assert values(station, "attic") == [1, 2, 3]


def leaf_key(station: Fronted) -> str:
    """What identifies the certificate's key, as chromium's flag wants it."""
    host, port = station.front.url.removeprefix("https://").split(":")
    pem = ssl.get_server_certificate((host, int(port)), ca_certs=str(station.front.ca_file))
    key = subprocess.run(
        ["sh", "-c", "openssl x509 -pubkey -noout | openssl pkey -pubin -outform der"],
        input=pem.encode(),
        capture_output=True,
        check=True,
    ).stdout
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


def test_a_browser_sees_the_reading_and_finds_nothing_to_complain_of(station: Fronted) -> None:
    client(station, "kitchen", 19.5)
    args = [*ARGS.split(), f"--ignore-certificate-errors-spki-list={leaf_key(station)}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=args)
        with visit(browser) as page:
            page.goto(f"{station.front.url}/")
            shown = " ".join(page.inner_text("main").split())
            assert "kitchen temperature 19.5 °C" in shown
            page.goto(f"{station.front.url}/node/kitchen")
            page.wait_for_selector(".uplot")
            assert page.evaluate("isSecureContext")
        browser.close()


def test_security_headers_are_there_once(station: Fronted) -> None:
    for path in ("/", "/tmon/readings", "/node/none"):
        headers = station.front.get(path, stream=True).raw.headers
        assert {name: len(headers.getlist(name)) for name in SECURITY} == dict.fromkeys(SECURITY, 1)
        assert "server" not in headers


def test_a_page_is_compressed_once(station: Fronted) -> None:
    answer = station.front.get("/tmon/readings", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert "<html" in answer.text


@pytest.mark.parametrize("headers", [{}, {"X-Forwarded-Proto": "http", "X-Forwarded-Host": "evil"}])
def test_whole_addresses_are_the_public_ones(station: Fronted, headers: dict[str, str]) -> None:
    told = station.front.get("/sitemap.xml", headers=headers).text
    assert f"<loc>{station.front.url}/</loc>" in told
    assert "http://localhost" not in told
    assert "evil" not in told
    listed = station.front.get("/tmon/nodes.json?_extra=table_urls,next_url", headers=headers).text
    assert "http://" not in listed


@pytest.mark.parametrize("path", ["metrics", "metrics/", "%6detrics", "/metrics", "nothing"])
def test_metrics_are_not_for_everybody(station: Fronted, path: str) -> None:
    answer = station.front.get(f"/ingest/{path}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


@pytest.mark.parametrize(
    ("size", "chunked"),
    [(2**20 + 1, False), (1_100_000, False), (1_100_000, True)],
)
def test_a_body_over_the_limit_is_answered_413(station: Fronted, size: int, chunked: bool) -> None:
    headers = {"Authorization": f"Bearer {token(station, 'large')}"}
    body: Any = iter([b" " * 65536] * (size // 65536 + 1)) if chunked else b" " * size
    answer = station.front.ask("POST", "/ingest/readings", data=body, headers=headers)
    assert answer.status_code == 413
    assert answer.json()["code"] == "too_large"


def test_the_log_tells_no_secret(station: Fronted) -> None:
    secrets = [f"Hush{n}hush" for n in range(5)]
    station.front.get(
        f"/seen?token={secrets[0]}&p={secrets[1]}&password={secrets[2]}",
        headers={"Authorization": f"Bearer {secrets[3]}", "Referer": f"https://x/?p={secrets[4]}"},
    )
    wait_for(lambda: "/seen" in station.front.log_file.read_text())
    log = station.front.log_file.read_text()
    assert [secret for secret in secrets if secret in log] == []


SPELLED = [
    f"/ingest/readings/{TOKEN}",
    f"/{TOKEN}?a=b",
    f"//ingest//{TOKEN}",
    *(f"/ingest/readings/{escaped(TOKEN, times)}" for times in (1, 2, 3)),
    f"/ingest/readings/{escaped(TOKEN).upper()}",
    f"/ingest/readings/{escaped(escaped(TOKEN))}",
    f"/ingest/readings/tmon%255Fbasement%252Ek3x9qp%252E1%252E{SIGNATURE}",
    f"/x?a=1&{escaped('token')}={SIGNATURE}&b=2",
    f"/x?{escaped('token', 2)}={SIGNATURE}",
    f"/x?a=1{escaped('&')}token{escaped('=')}{SIGNATURE}",
    f"/x?next=%2Fy%3Ftoken%3D{SIGNATURE}",
    f"/x?next=%252Fy%253Fpassword%253D{SIGNATURE}",
    *(f"/x?{name}={SIGNATURE}" for name in ("TOKEN", "p", "passwd", "pw", "secret", "api_key")),
]
HEADERS = "".join(
    f"{name}: {SIGNATURE}\r\n"
    for name in ("Authorization", "Proxy-Authorization", "Cookie", "Referer", "X-Api-Key", "X-Any")
)


def told_of(front: Front, host: str) -> str:
    """What the log says when each spelling was asked for, in lower case."""
    for target in [*SPELLED, "/last?sql=select+1"]:
        length = "Content-Length: 0\r\n\r\n"
        front.raw(f"POST {target} HTTP/1.1\r\nHost: {host}\r\n{HEADERS}{length}".encode())
    wait_for(lambda: "/last?sql=select+1" in front.log_file.read_text())
    log = front.log_file.read_text()
    assert log.count('"handled request"') > len(SPELLED)
    return log.lower()


def holds_no_secret(log: str) -> bool:
    spelled = [escaped(SIGNATURE, times) for times in (1, 2, 3)]
    spelled.append(escaped(escaped(SIGNATURE)))
    return not [one for one in ("k3x9qp", SIGNATURE, *spelled) if one.lower() in log]


@pytest.mark.parametrize("host", ["HOST", "elsewhere.example"])
def test_the_log_tells_no_token_however_it_is_spelled_and_whoever_is_asked(
    station: Fronted, host: str
) -> None:
    assert holds_no_secret(told_of(station.front, host))


def test_the_log_tells_no_token_when_nobody_answers(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    with caddy(tmp_path, {"TMON_INGEST": nobody, "TMON_DATASETTE": nobody}) as front:
        log = told_of(front, "HOST")
    assert '"status":503' in log
    assert holds_no_secret(log)


@pytest.mark.parametrize("path", ["/ingest/readings", "/"])
@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\nabc\r\n0\r\n\r\n",
        b"-3\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabc\r\nzz\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\nabc\n0\n\n",
        b"f" * 17 + b"\r\nabc",
        b"1;" + b"a" * 5_000 + b"\r\n",
        b"3\r\nabc\r\n0\r\nno colon\r\n\r\n",
    ],
)
def test_malformed_chunks_are_400_so_that_nobody_sends_them_for_ever(
    station: Fronted, chunks: bytes, path: str
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n"
    head += f"Authorization: Bearer {token(station, 'chunky')}\r\n\r\n"
    answer = station.front.raw(head.encode() + chunks)
    # What pages take is known before the body is read: no POST.
    assert answer.status == 400 or (path == "/" and answer.status == 405)
    assert answer.getheader("Retry-After") is None


SMUGGLED = b"DELETE /readings HTTP/1.1\r\nHost: x\r\nX: "  # ingest alone would say 405
TWO_ENDS = {
    "length and chunks": b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n",
    "a blank before the colon": b"Content-Length : %d\r\n\r\n",
    "a tab": b"Content-Length: %d\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
    "two codings": b"Content-Length: %d\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an underscore": b"Content-Length: 0\r\nTransfer_Encoding: chunked\r\nX: %d\r\n\r\n",
    "a folded length": b"Content-Length:\r\n %d\r\n\r\n",
    "a bare newline": b"X: y\nContent-Length: %d\r\n\r\n",
}


def test_no_request_is_hidden_from_caddy_in_another(station: Fronted) -> None:
    """What caddy takes for a body never reaches ingest as a request of its own."""
    for name, headers in TWO_ENDS.items():
        head = b"POST /ingest/readings HTTP/1.1\r\nHost: HOST\r\n" + headers % len(SMUGGLED)
        assert station.front.raw(head + SMUGGLED).status >= 400, name
        assert station.front.get("/ingest/healthz").json()["status"] == "ok"
    assert 'tmon_http_requests_total{status="401"}' in station.metrics()
    assert 'tmon_http_requests_total{status="405"}' not in station.metrics()


def test_who_sends_slowly_is_let_go(station: Fronted) -> None:
    config = json.loads((station.folder / "caddy.json").read_text())
    for server in config["apps"]["http"]["servers"].values():
        assert server["read_header_timeout"] == 10 * 10**9
        assert server["read_timeout"] == 60 * 10**9


class Slow(BaseHTTPRequestHandler):
    """Takes its time for questions, and counts how many it has at once; pages come by fours."""

    now = most = 0
    lock = threading.Lock()
    four = threading.Barrier(4, timeout=60)

    def do_GET(self) -> None:
        if self.path.startswith("/tmon/-/query"):
            self._take_time()
        else:
            Slow.four.wait()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _take_time(self) -> None:
        with Slow.lock:
            Slow.now += 1
            Slow.most = max(Slow.most, Slow.now)
        time.sleep(0.2)
        with Slow.lock:
            Slow.now -= 1

    def log_message(self, *_: object) -> None:
        """Nothing: tests are quiet."""


def test_questions_in_sql_are_asked_two_at_a_time_and_pages_do_not_wait(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever).start()
    port = server.server_port
    environ = {"TMON_DATASETTE": f"127.0.0.1:{port}", "TMON_DATASETTE_SQL": f"localhost:{port}"}
    try:
        with caddy(tmp_path, environ) as front, ThreadPoolExecutor(8) as pool:
            asked = list(pool.map(front.get, ["/tmon/-/query?sql=select+1"] * 8))
            assert {answer.status_code for answer in asked} == {200}
            # caddy looks before it counts, so two that come at the same instant may both pass.
            assert 2 <= Slow.most <= 3
            pages = list(pool.map(front.get, ["/"] * 8))  # unanswered unless four come together
            assert {answer.status_code for answer in pages} == {200}
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_a_line_of_5_kb_a_second_is_not_cut_off_behind_caddy(tmp_path: Path) -> None:
    """Caddy takes megabytes ahead, and then nothing for minutes."""
    with running(large, HttpConnection) as url:
        port = urlsplit(url).port
        with caddy(tmp_path, {"TMON_DATASETTE": f"127.0.0.1:{port}"}) as front:
            answer = front.get("/40000", stream=True)
            size = 0
            for _ in range(1_500):
                size += len(answer.raw.read(500))
                time.sleep(0.1)
            size += sum(len(part) for part in answer.iter_content(2**16))
    assert size == 40_000 * 1024


def test_the_caddyfile_is_as_caddy_formats_it() -> None:
    told = subprocess.run(
        ["caddy", "fmt", str(CADDYFILE)], capture_output=True, text=True, check=True
    )
    assert told.stdout == CADDYFILE.read_text()
