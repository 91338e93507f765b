"""A station behind Debian's caddy, with deploy/Caddyfile as it is and caddy's own authority."""

import http.client
import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.station import Process, answers, wait_for

CADDYFILE = Path(__file__).parents[2] / "deploy" / "Caddyfile"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def adapted(folder: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """The Caddyfile as caddy reads it; but for the ports that all caddies of a machine share."""
    made = subprocess.run(
        ["caddy", "adapt", "--config", str(CADDYFILE)],
        env={**os.environ, **environ, "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"warn"' not in made.stderr, made.stderr
    config: dict[str, Any] = json.loads(made.stdout)
    config["admin"] = {"disabled": True}
    for server in config["apps"]["http"]["servers"].values():
        server["automatic_https"] = {"disable_redirects": True}
    return config


@contextmanager
def caddy(folder: Path, environ: Mapping[str, str]) -> Iterator["Front"]:
    """Debian's caddy on a port of its own."""
    port = free_port()
    environ = {"TMON_HOST_NAME": f"localhost:{port}", **environ}
    (folder / "caddy.json").write_text(json.dumps(adapted(folder, environ)))
    with (folder / "caddy.log").open("w") as log:
        running = subprocess.Popen(
            ["caddy", "run", "--config", "caddy.json"],
            cwd=folder,
            env={**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder / "data")},
            stderr=log,
        )
    front = Front(folder, f"https://localhost:{port}")
    try:
        wait_for(front.ca_file.exists)
        wait_for(front.is_up)
        yield front
    finally:
        running.terminate()
        running.wait(timeout=60)


class Front:
    """Where caddy is, and how to trust it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.log_file = folder / "caddy.log"
        self.ca_file = folder / "data" / "caddy" / "pki" / "authorities" / "local" / "root.crt"

    def get(self, path: str, **how: Any) -> requests.Response:
        return self.ask("GET", path, **how)

    def ask(self, method: str, path: str, **how: Any) -> requests.Response:
        how = {"timeout": 20, "verify": str(self.ca_file), **how}
        return requests.request(method, self.url + path, **how)

    def raw(self, request: bytes) -> http.client.HTTPResponse:
        """The answer to bytes as they are; ``HOST`` in them is this one."""
        host, port = self.url.removeprefix("https://").split(":")
        trusted = ssl.create_default_context(cafile=self.ca_file)
        plain = socket.create_connection((host, int(port)), timeout=60)
        with trusted.wrap_socket(plain, server_hostname=host) as sock:
            sock.sendall(request.replace(b"HOST", f"{host}:{port}".encode()))
            answer = http.client.HTTPResponse(sock)
            answer.begin()
            answer.read()
        return answer

    def is_up(self) -> bool:
        try:
            return self.get("/ingest/metrics").status_code == 404
        except requests.RequestException:
            return False


class Fronted:
    """Ingest and Datasette, each a process of its own, and caddy before both."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._port = free_port()
        self._pages_port = free_port()
        self.start_ingest()
        wait_for(lambda: answers(f"http://127.0.0.1:{self._port}/healthz"))
        environ = {
            "TMON_INGEST": f"127.0.0.1:{self._port}",
            "TMON_DATASETTE": f"127.0.0.1:{self._pages_port}",
            "TMON_DATASETTE_SQL": f"localhost:{self._pages_port}",
        }
        self.front = stack.enter_context(caddy(folder, environ))
        public = ["--public-url", self.front.url, "--ingest-url", f"{self.front.url}/ingest"]
        port = ["--datasette-port", str(self._pages_port)]
        self._start("serve", "datasette", *port, *public)
        wait_for(lambda: answers(f"http://127.0.0.1:{self._pages_port}/"))

    def metrics(self) -> str:
        """What ingest itself tells Prometheus, now."""
        time.sleep(1)  # it is at most a second old
        return requests.get(f"http://127.0.0.1:{self._port}/metrics", timeout=60).text

    def start_ingest(self) -> None:
        self.ingest = self._start("serve", "ingest", "--port", str(self._port))

    def _start(self, *arguments: str) -> Process:
        process = Process(self.folder, *arguments)
        self._stack.callback(process.kill)
        return process


@contextmanager
def fronted(folder: Path) -> Iterator[Fronted]:
    with ExitStack() as stack:
        yield Fronted(folder, stack)
