"""What deploy/cluster/ puts onto three machines: servers that trust each other, and units."""

import asyncio
import re
import ssl
import subprocess
from pathlib import Path

import nats
import nats.errors
import pytest

from tests.deploy.accounts import ROOT
from tests.stream.cluster import CONFIGURATION, PROGRAM, three_servers

CLUSTER = ROOT / "deploy" / "cluster"


def credentials(folder: Path, *hosts: str) -> "subprocess.CompletedProcess[str]":
    command = ["sh", str(CLUSTER / "credentials"), str(folder), *hosts]
    return subprocess.run(command, capture_output=True, text=True, check=False)


async def stream_as(url: str, authority: Path | None, user: str, password: str) -> str:
    """Make a stream on all three servers; returns the name of the one that leads it."""
    tls = ssl.create_default_context(cafile=authority) if authority else None
    client = await nats.connect(
        url, tls=tls, user=user, password=password, allow_reconnect=False, connect_timeout=5
    )
    try:
        stream = client.jetstream(timeout=30)
        await stream.add_stream(
            name="tmon-readings-0", subjects=["tmon.readings.0"], num_replicas=3
        )
        await stream.publish("tmon.readings.0", b"one")
        info = await stream.stream_info("tmon-readings-0")
        assert info.cluster
        assert {replica.name for replica in info.cluster.replicas or ()} < {"a", "b", "c"}
        return str(info.cluster.leader)
    finally:
        await client.close()


def test_three_servers_trust_each_other_and_who_has_the_password(tmp_path: Path) -> None:
    made = credentials(tmp_path / "secrets", "127.0.0.1")
    assert (made.returncode, made.stderr) == (0, "")
    folder = tmp_path / "secrets" / "127.0.0.1"
    user, password = (folder / "stream.credentials").read_text().strip().split(":")
    with three_servers(tmp_path / "cluster", secrets=tmp_path / "secrets") as cluster:
        url = cluster.urls("a").partition(",")[0].replace("nats:", "tls:")
        assert asyncio.run(stream_as(url, folder / "ca.pem", user, password)) in {"a", "b", "c"}
        with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
            asyncio.run(stream_as(url, folder / "ca.pem", user, "guessed"))
        with pytest.raises(ssl.SSLCertVerificationError):
            asyncio.run(stream_as(url, None, user, password))


def test_secrets_are_their_owners_and_never_made_twice(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert credentials(folder, "a.example.org", "::1").returncode == 0
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path.stat().st_mode & 0o077 for path in files} == {0}
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


def test_systemd_finds_nothing_wrong_with_the_units_of_a_cluster(tmp_path: Path) -> None:
    for unit in CLUSTER.glob("*.service"):
        program = re.sub(
            r"^ExecStart=.*", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE
        )
        (tmp_path / unit.name).write_text(program)
    units = sorted(str(unit) for unit in tmp_path.iterdir())
    assert len(units) == 2
    command = ["systemd-analyze", "verify", "--man=no", *units]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("unit", ["tmon-nats", "tmon-sink"])
def test_the_services_of_a_cluster_are_locked_in(unit: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", str(CLUSTER / f"{unit}.service")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    [exposure] = re.findall(r"exposure level for \S+: ([\d.]+)", ran.stdout)
    assert float(exposure) <= 2
