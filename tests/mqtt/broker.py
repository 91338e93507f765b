"""A real broker, and what a test asks of it."""

import getpass
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.station import Process, Station, wait_for


class Broker:
    """mosquitto with a file of its own, so that a restart has what isn't acknowledged."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        (folder / "mosquitto.conf").write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"user {getpass.getuser()}\n"  # as root it becomes another, who can't read our files
            f"persistence_location {folder}/\nautosave_interval 0\nmax_queued_messages 0\n"
        )
        self._folder = folder
        self.start()

    def start(self) -> None:
        command = [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", "mosquitto.conf"]
        self.process = subprocess.Popen(command, cwd=self._folder, stderr=subprocess.DEVNULL)

    def client(self) -> paho.Client:
        """A connected client, whose loop isn't started."""
        client = paho.Client(CallbackAPIVersion.VERSION2)
        wait_for(lambda: _connects(client, self.port))
        return client

    def publish(self, *messages: tuple[str, str], retain: bool = False) -> None:
        client = self.client()
        client.loop_start()
        for topic, payload in messages:
            client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(20)
        client.disconnect()
        client.loop_stop()

    def kill(self) -> None:
        """End it as a power cut does, with what it had at this moment on disk."""
        saved = self._folder / "mosquitto.db"
        before = saved.stat().st_mtime_ns if saved.exists() else 0
        self.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: saved.exists() and saved.stat().st_mtime_ns > before)
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()


def _connects(client: paho.Client, port: int) -> bool:
    try:
        client.connect("127.0.0.1", port)
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def bridge(station: Station, broker: Broker, *flags: str) -> Process:
    folder = station.path.parent
    url = f"mqtt://127.0.0.1:{broker.port}"
    command = ("mqtt", "--mqtt-url", url, "--ingest-url", station.url, *flags)
    with (folder / "mqtt.log").open("ab") as stderr:
        return Process(folder, *command, stderr=stderr)


def connected(station: Station, times: int = 1) -> bool:
    return (station.path.parent / "mqtt.log").read_text().count("connected to") >= times


def end(running: Process, station: Station) -> None:
    """End the bridge, as systemd does; its log says why if it ends in any other way."""
    running.popen.terminate()
    assert running.end()[0] == 0, (station.path.parent / "mqtt.log").read_text()
