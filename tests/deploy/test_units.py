"""What deploy/ puts onto a machine: units that systemd takes, an installer that keeps settings."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.accounts import ROOT, UNITS

INSTALL = ROOT / "deploy" / "install"
PROGRAMS = r"/opt/tmon/\.venv/bin/tmon|/usr/bin/python3 /usr/local/lib/tmon/client\.py"


def install(root: Path, *arguments: str) -> Any:
    return subprocess.run(
        ["sh", str(INSTALL), *arguments],
        env={**os.environ, "DESTDIR": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    for unit in UNITS.glob("tmon-*"):
        (tmp_path / unit.name).write_text(re.sub(PROGRAMS, "/bin/true", unit.read_text()))
    units = sorted(str(unit) for unit in tmp_path.iterdir())
    assert len(units) == 16
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("part", "most"),
    [
        *[("ingest", 2), ("datasette", 2), ("backup", 1), ("client", 2), ("mqtt", 2)],
        *[("parquet", 2), ("sink", 2)],
    ],
)
def test_services_are_locked_in(part: str, most: float) -> None:
    ran = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(UNITS / f"tmon-{part}.service")],
        capture_output=True,
        text=True,
        check=True,
    )
    (exposure,) = re.findall(r"exposure level for \S+: ([\d.]+)", ran.stdout)
    assert float(exposure) <= most


def test_a_host_that_is_none_is_told_before_anything_is_done(tmp_path: Path) -> None:
    ran = install(tmp_path, "--host", "https://x")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("deploy/install: --host https://x: a name such as")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_what_is_installed_twice_keeps_its_settings(tmp_path: Path) -> None:
    first = install(tmp_path, "--host", "tmon.example.org")
    assert (first.returncode, "tmon-mqtt.service." in first.stdout) == (0, False)
    settings = tmp_path / "etc" / "tmon" / "tmon.env"
    assert "\nTMON_INGEST_URL=https://tmon.example.org/ingest\n" in settings.read_text()
    settings.write_text("TMON_LOG_LEVEL=info\nTMON_MQTT_URL=mqtt://localhost\n")
    caddyfile = tmp_path / "etc" / "caddy" / "Caddyfile"
    shutil.copy(INSTALL, caddyfile)  # an owner's own
    again = install(tmp_path, "--host", "tmon.example.org")
    assert again.returncode == 0
    assert "tmon-mqtt.service." in again.stdout
    assert "is yours, and stays" in again.stdout
    assert settings.read_text() == "TMON_LOG_LEVEL=info\nTMON_MQTT_URL=mqtt://localhost\n"
    assert caddyfile.read_bytes() == INSTALL.read_bytes()
    installed = tmp_path / "opt" / "tmon" / ".venv" / "bin" / "tmon"
    assert subprocess.run([installed, "check", "--help"], check=True, capture_output=True).stdout
