"""Three NATS servers on loopback, as on three machines: to start, kill, cut off and damage."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats
import requests

from tests.station import wait_for
from tests.stream.links import Link, Network
from tmon.stream.messages import PARTITIONS, stream_name

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "deploy" / "cluster" / "nats.conf"
PROGRAM = Path(sys.executable).with_name("nats-server")
NAMES = ("a", "b", "c")
KINDS = {"nats", "cluster", "monitoring"}  # of ports
# Its runtime reserves 1.5 GB. One whose files are damaged may ask for all that there is.
MEMORY_BYTES = 4_000_000_000


class Server:
    """One NATS server with its folder; it listens on other ports each time that it starts."""

    def __init__(self, folder: Path, name: str, network: Network) -> None:
        self.name = name
        self.folder = folder
        self.store = folder / "store"
        self.routes = {other: network.link() for other in NAMES if other != name}
        self.clients = {other: network.link() for other in NAMES}  # from a machine to this server
        self.popen: subprocess.Popen[bytes] | None = None  # prlimit, which becomes the server
        self.monitor = ""
        self.log = folder / "nats.log"

    def configure(self, servers: "dict[str, Server]", sync: str, secrets: Path | None) -> None:
        """The configuration that deploy/cluster/ ships, with ports and folders of the test's.

        Args:
            servers: all three.
            sync: what stands in place of ``always``, to see what that prevents.
            secrets: what deploy/cluster/credentials made; without it neither TLS nor passwords.
        """
        routes = [f"nats://127.0.0.1:{servers[to].routes[self.name].port}" for to in self.routes]
        text = CONFIGURATION.read_text()
        self.folder.mkdir(parents=True, exist_ok=True)
        if secrets:
            (self.folder / "nats").symlink_to(secrets / "127.0.0.1")
        else:
            text = re.sub(r"tls \{[^}]*\}|include .*", "", text)
        text = text.replace("include nats/advertise.conf", "")
        text = re.sub(r"routes: \[[^]]*\]", f"routes: {json.dumps(routes)}", text)
        text = re.sub(r"(0\.0\.0\.0|127\.0\.0\.1):(4222|6222|8222)", "127.0.0.1:-1", text)
        text = text.replace("/etc/tmon", str(self.folder))
        text = text.replace("/var/lib/tmon-nats", str(self.store))
        text = text.replace("sync_interval: always", f"sync_interval: {sync}")
        # No server tells of the others' ports: all ways lead through the links.
        text = text.replace(
            "cluster {", "cluster {\n  no_advertise: true\n  advertise: 127.0.0.1:1"
        )
        (self.folder / "nats.conf").write_text(text)

    def start(self) -> None:
        """Start it, and let the links lead to its new ports."""
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [
                    "prlimit",
                    f"--as={MEMORY_BYTES}",
                    PROGRAM,
                    "--name",
                    self.name,
                    "-c",
                    "nats.conf",
                    "--ports_file_dir",
                    ".",
                ],
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        wait_for(lambda: self._ended() or self._ports().keys() >= KINDS)
        assert not self._ended(), self.log.read_text()[-2000:]
        told = self._ports()
        self.monitor = told["monitoring"][0]
        for links, kind in ((self.routes, "cluster"), (self.clients, "nats")):
            for link in links.values():
                link.target = int(told[kind][0].rpartition(":")[2])

    def _ports(self) -> dict[str, list[str]]:
        """Where it listens, as far as it has told."""
        assert self.popen is not None
        file = self.folder / f"nats-server_{self.popen.pid}.ports"
        try:
            return dict(json.loads(file.read_bytes()))
        except (FileNotFoundError, ValueError):
            return {}

    def _ended(self) -> bool:
        return self.popen is None or self.popen.poll() is not None

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        """Such as SIGSTOP, which makes it silent."""
        assert self.popen is not None
        self.popen.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        for link in (*self.routes.values(), *self.clients.values()):
            link.target = None
        if self.popen is not None:
            self.popen.send_signal(number)
            self.popen.wait(timeout=60)
            self.popen = None

    def ask(self, path: str) -> dict[str, Any]:
        """What its monitoring port answers; empty if it doesn't."""
        try:
            return dict(requests.get(f"{self.monitor}/{path}", timeout=10).json())
        except (requests.RequestException, ValueError):
            return {}

    def is_healthy(self) -> bool:
        """Whether it has all that the streams hold."""
        return self.ask("healthz").get("status") == "ok"

    def led(self) -> dict[str, int]:
        """The streams that this server leads, with the last sequence of each."""
        accounts = self.ask("jsz?streams=true").get("account_details") or []
        return {
            stream["name"]: stream["state"]["last_seq"]
            for account in accounts
            for stream in account.get("stream_detail") or []
            if stream.get("cluster", {}).get("leader") == self.name
        }


class Cluster:
    """Three servers, each on a machine of its own, as far as the links between them tell."""

    def __init__(
        self, folder: Path, network: Network, sync: str = "always", secrets: Path | None = None
    ) -> None:
        self.servers = {name: Server(folder / name / "nats", name, network) for name in NAMES}
        for server in self.servers.values():
            server.configure(self.servers, sync, secrets)

    def __getitem__(self, name: str) -> Server:
        return self.servers[name]

    def start(self) -> None:
        for server in self.servers.values():
            server.start()
        self.wait_until_healthy()

    def wait_until_healthy(self) -> None:
        for server in self.servers.values():
            wait_for(server.is_healthy, pause_s=0.1)  # it logs each time that it isn't

    @property
    def up(self) -> list[Server]:
        """The servers that take connections."""
        return [one for name, one in self.servers.items() if one.clients[name].target]

    def urls(self, machine: str) -> str:
        """The servers as a machine reaches them, its own first: for TMON_STREAM."""
        order = sorted(NAMES, key=lambda name: name != machine)
        ports = [self.servers[name].clients[machine].port for name in order]
        return ",".join(f"nats://127.0.0.1:{port}" for port in ports)

    def routes(self, machine: str) -> list[Link]:
        """The links between a machine's server and the two others."""
        others = [self.servers[name] for name in NAMES if name != machine]
        return [*self.servers[machine].routes.values(), *(one.routes[machine] for one in others)]

    def between(self, machine: str) -> list[Link]:
        """All links between a machine and the two others."""
        others = [self.servers[name] for name in NAMES if name != machine]
        return [
            *self.routes(machine),
            *(self.servers[machine].clients[other.name] for other in others),
            *(other.clients[machine] for other in others),
        ]

    def lead(self, name: str) -> None:
        """Let a server lead all streams, as far as it can."""
        asyncio.run(self._lead(self.servers[name]))

    async def _lead(self, server: Server) -> None:
        placement = json.dumps({"placement": {"preferred": server.name}}).encode()
        client = await nats.connect(self.urls(server.name).split(","))
        for _ in range(10):
            led = server.led()
            streams = [name for name in map(stream_name, range(PARTITIONS)) if name not in led]
            if not streams:
                break
            asked = [
                client.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{name}", placement, timeout=10)
                for name in streams
            ]
            await asyncio.gather(*asked, return_exceptions=True)  # it is asked again
            await asyncio.sleep(1)
        await client.close()

    def cut_off(self, machine: str) -> None:
        for link in self.between(machine):
            link.cut()

    def rejoin(self, machine: str) -> None:
        for link in self.between(machine):
            link.join()

    def close(self) -> None:
        for server in self.servers.values():
            server.kill()


@contextmanager
def three_servers(
    folder: Path, sync: str = "always", secrets: Path | None = None
) -> Iterator[Cluster]:
    """Three servers that run, and are ended."""
    network = Network()
    cluster = Cluster(folder, network, sync, secrets)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
        network.close()
