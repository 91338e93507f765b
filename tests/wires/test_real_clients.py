"""The programs themselves send to a station: `make soak`, as they must be installed first."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.station import Process, wait_for
from tests.wires.devices import Device

pytestmark = pytest.mark.soak

GLANCES = ("glances==4.5.8", "influxdb==5.3.2", "influxdb-client==1.50.0")
NODE_CLIENTS = ("@influxdata/influxdb-client@1.35.0", "influx@5.12.0")
SEND_JS = """
const [url, key] = process.argv.slice(2);
const { InfluxDB, Point } = require("@influxdata/influxdb-client");
const Influx = require("influx");
(async () => {
  const writing = new InfluxDB({ url, token: key }).getWriteApi("home", "tmon", "ns");
  writing.writePoint(new Point("room").tag("side", "north").floatField("t", 21.5));
  await writing.close();
  const { hostname, port } = new URL(url);
  const older = new Influx.InfluxDB(
    { host: hostname, port: +port, database: "x", username: "u", password: key });
  await older.writePoints([{ measurement: "shed", fields: { t: 3.5 }, timestamp: new Date() }]);
})().catch((error) => { console.error(error); process.exit(1); });
"""
COLLECTD = """
BaseDir "FOLDER"
PIDFile "FOLDER/pid"
Hostname "myhost"
Interval 1
LoadPlugin load
LoadPlugin memory
LoadPlugin write_http
<Plugin write_http>
  <Node "tmon">
    URL "ADDRESS/k/KEY/collectd"
    Format "JSON"
    StoreRates true
  </Node>
</Plugin>
"""
GLANCES_CONF = """
[influxdb]
host=127.0.0.1
port=PORT
protocol=http
user=u
password=KEY
db=glances
prefix=v1
[influxdb2]
host=127.0.0.1
port=PORT
protocol=http
org=o
bucket=glances
token=KEY
"""


def program(name: str, package: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    assert found, f"{name} isn't installed: apt install {package}"
    return found


def run(*command: str, folder: Path) -> None:
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def conf(folder: Path, text: str, device: Device) -> str:
    """A program's configuration, filled in; its path."""
    port = device.station.url.rpartition(":")[2]
    places = {"FOLDER": str(folder), "ADDRESS": device.station.url, "KEY": device.key, "PORT": port}
    for place, filled in places.items():
        text = text.replace(place, filled)
    path = folder / "program.conf"
    path.write_text(text)
    return str(path)


def runs_until(folder: Path, command: list[str], condition: Callable[[], object]) -> None:
    running = Process(folder, command=command)
    try:
        wait_for(lambda: condition() or running.popen.poll() is not None)
    finally:
        running.kill()
    assert condition()


def test_collectd(tmp_path: Path, device: Device) -> None:
    path = conf(tmp_path, COLLECTD, device)
    command = [program("collectd", "collectd-core"), "-f", "-C", path]
    runs_until(tmp_path, command, lambda: len(device.rows().get("load/load/midterm", [])) > 2)
    assert device.values()["memory/memory-free"][0] > 0
    assert device.rejected() == []


@pytest.mark.parametrize(("export", "start"), [("influxdb", "v1.load"), ("influxdb2", "load")])
def test_glances(tmp_path: Path, device: Device, export: str, start: str) -> None:
    run(sys.executable, "-m", "venv", "venv", folder=tmp_path)
    run("venv/bin/python", "-m", "pip", "install", "--quiet", *GLANCES, folder=tmp_path)
    path = conf(tmp_path, GLANCES_CONF, device)
    sensor = f"{start}/{socket.gethostname()}/min1"
    plugins = ("--disable-plugin", "all", "--enable-plugin", "load,mem")
    command = ["venv/bin/glances", "-C", path, "--export", export, "--quiet", *plugins]
    runs_until(tmp_path, command, lambda: len(device.rows().get(sensor, [])) > 1)
    assert device.rejected() == []


def test_influxdbs_clients_for_node(tmp_path: Path, device: Device) -> None:
    (tmp_path / "package.json").write_text(json.dumps({"private": True}))
    run(program("npm", "npm"), "install", "--no-audit", *NODE_CLIENTS, folder=tmp_path)
    (tmp_path / "send.js").write_text(SEND_JS)
    node = program("node", "nodejs")
    run(node, "send.js", device.station.url, device.key, folder=tmp_path)
    assert device.values() == {"room/north/t": (21.5, None), "shed/t": (3.5, None)}


def test_curl_that_would_rather_speak_http_2(tmp_path: Path, device: Device) -> None:
    url = f"{device.station.url}/k/{device.key}"
    run(program("curl", "curl"), "-sf", "--http2", "-d", "a=1", url, folder=tmp_path)
    assert device.values() == {"a": (1, None)}
