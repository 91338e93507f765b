"""What deploy/cluster/ puts onto three machines: servers that trust each other, and units."""

import re
import subprocess
from pathlib import Path

from nats.aio.client import Client

from tests.deploy.accounts import ROOT
from tests.station import tmon
from tests.stream.cluster import CONFIGURATION, PROGRAM, three_servers
from tmon.core.settings import Settings
from tmon.stream.connection import ask

CLUSTER = ROOT / "deploy" / "cluster"


def credentials(folder: Path, *hosts: str) -> "subprocess.CompletedProcess[str]":
    command = ["sh", str(CLUSTER / "credentials"), str(folder), *hosts]
    return subprocess.run(command, capture_output=True, text=True, check=False)


async def leader_of_a_stream(client: Client) -> str:
    """Make a stream on all three servers; returns the name of the one that leads it."""
    stream = client.jetstream(timeout=30)
    await stream.add_stream(name="t", subjects=["t"], num_replicas=3)
    await stream.publish("t", b"one")
    info = await stream.stream_info("t")
    assert info.cluster
    return str(info.cluster.leader)


def test_three_servers_trust_each_other_and_who_has_the_password(tmp_path: Path) -> None:
    made = credentials(tmp_path / "secrets", "127.0.0.1")
    assert (made.returncode, made.stderr) == (0, "")
    folder = tmp_path / "secrets" / "127.0.0.1"
    with three_servers(tmp_path / "cluster", secrets=tmp_path / "secrets") as cluster:
        environ = {
            "TMON_STREAM": cluster.urls("a").replace("nats:", "tls:"),
            "TMON_STREAM_CREDENTIALS": str(folder / "stream.credentials"),
            "TMON_STREAM_CA": str(folder / "ca.pem"),
        }
        assert ask(Settings.load(environ), "test", leader_of_a_stream) in {"a", "b", "c"}
        (missing,) = tmon(tmp_path, "stream", "status", environ=environ).stderr.splitlines()
        assert "the NATS servers have no streams of tmon" in missing
        (tmp_path / "guessed").write_text("tmon:guessed")
        environ["TMON_STREAM_CREDENTIALS"] = str(tmp_path / "guessed")
        refused = tmon(tmp_path, "stream", "status", environ=environ)
        assert refused.returncode == 1
        assert "refuses the password" in refused.stderr
        assert "guessed" not in refused.stderr
        assert credentials(tmp_path / "others", "127.0.0.1").returncode == 0
        environ["TMON_STREAM_CA"] = str(tmp_path / "others" / "127.0.0.1" / "ca.pem")
        refused = tmon(tmp_path, "stream", "status", environ=environ)
        assert refused.returncode == 1
        assert "certificate isn't accepted" in refused.stderr


def test_secrets_are_their_owners_and_never_made_twice(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert credentials(folder, "a.example.org", "::1").returncode == 0
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path.stat().st_mode & 0o077 for path in files} == {0}
    for host, address in (("a.example.org", "a.example.org"), ("::1", "[::1]")):
        advertised = (folder / host / "advertise.conf").read_text()
        assert advertised == f'advertise: "{address}:6222"\n'
    again = credentials(folder, "a.example.org", "d.example.org")
    assert again.stdout.splitlines() == [
        f"{folder}/a.example.org exists, and stays",
        f"{folder}/d.example.org",
    ]
    changed = {path for path in files if files[path] != path.read_bytes()}
    assert changed <= {folder / "ca.srl"}
    refused = credentials(folder, "https://x")
    assert (refused.returncode, refused.stderr) == (1, "https://x: a machine's name is needed\n")


def test_the_server_takes_the_configuration_as_it_is_shipped(tmp_path: Path) -> None:
    credentials(tmp_path / "secrets", "a.example.org")
    (tmp_path / "nats").symlink_to(tmp_path / "secrets" / "a.example.org")
    text = CONFIGURATION.read_text().replace("/etc/tmon", str(tmp_path))
    (tmp_path / "nats.conf").write_text(text)
    ran = subprocess.run(
        [PROGRAM, "-t", "-c", tmp_path / "nats.conf"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "sync_interval: always" in text


def test_systemd_finds_nothing_wrong_with_the_unit_of_nats(tmp_path: Path) -> None:
    for unit in CLUSTER.glob("*.service"):
        program = re.sub(
            r"^ExecStart=.*", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE
        )
        (tmp_path / unit.name).write_text(program)
    units = sorted(str(unit) for unit in tmp_path.iterdir())
    assert len(units) == 1
    command = ["systemd-analyze", "verify", "--man=no", *units]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_service_of_nats_is_locked_in() -> None:
    command = ["systemd-analyze", "security", "--offline=true", str(CLUSTER / "tmon-nats.service")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    [exposure] = re.findall(r"exposure level for \S+: ([\d.]+)", ran.stdout)
    assert float(exposure) <= 2
