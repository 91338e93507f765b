"""A station's folder as deploy/ makes it, and processes of its two users beside each other."""

import atexit
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy" / "systemd"
IDS = {"tmon": 64_101, "tmon-datasette": 64_102}  # nobody's, on any machine that runs tests


def of_unit(unit: str, name: str) -> str:
    """What a unit says, such as its UMask."""
    (told,) = re.findall(rf"^{name}=(.*)$", (UNITS / f"{unit}.service").read_text(), re.MULTILINE)
    return str(told)


@contextmanager
def made() -> Iterator["Station"]:
    """What tmpfiles.conf makes, under a root that other users can reach, unlike pytest's."""
    root = Path(tempfile.mkdtemp(prefix="tmon-"))
    root.chmod(0o755)
    (root / "etc").mkdir()
    for file, rest in (("passwd", ":{0}::/:/bin/false"), ("group", ":")):
        lines = [f"{name}:x:{number}{rest.format(number)}\n" for name, number in IDS.items()]
        (root / "etc" / file).write_text("".join(lines))
    command = ["systemd-tmpfiles", f"--root={root}", "--create", str(UNITS / "tmpfiles.conf")]
    subprocess.run(command, check=True)
    station = Station(root)
    try:
        yield station
    finally:
        station.end()
        shutil.rmtree(root)


class Station:
    """The folder, and what its users do there; each with the user, group and umask of its unit."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "var" / "lib" / "tmon"
        self.db = self.folder / "tmon.db"
        self._running: list[subprocess.Popen[str]] = []

    def start(self, unit: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """``tmon`` as a unit would start it."""
        started = subprocess.Popen(
            [python(), "-m", "tmon", *arguments],
            user=IDS[of_unit(unit, "User")],
            group=IDS[of_unit(unit, "Group")],
            extra_groups=[],
            umask=int(of_unit(unit, "UMask"), 8),
            cwd="/",
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": os.pathsep.join(map(str, code())),
                "PYTHONDONTWRITEBYTECODE": "1",
                "TMON_DB": str(self.db),
                **environ,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._running.append(started)
        return started

    def run(self, unit: str, *arguments: str) -> tuple[int, str, str]:
        """To its end: exit status, stdout and stderr."""
        ran = self.start(unit, *arguments)
        out, error = ran.communicate(timeout=60)
        return ran.returncode, out, error

    def modes(self) -> dict[str, tuple[str, int, int]]:
        """Mode, owner and group of what lies in the folder, and of the folder."""
        found: dict[str, Any] = {path.name: path.stat() for path in self.folder.iterdir()}
        found["."] = self.folder.stat()
        return {k: (f"{v.st_mode & 0o7777:o}", v.st_uid, v.st_gid) for k, v in found.items()}

    def end(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=60)


@cache
def python() -> str:
    """A Python of this version that the users may run; root's own may lie in root's home."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        try:
            subprocess.run([candidate, "-c", ""], user=IDS["tmon"], extra_groups=[], check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    raise AssertionError(f"no {name} that other users may run: install Debian's python3")


@cache
def code() -> tuple[Path, Path]:
    """Where tmon is, and what it needs; linked to a place where the users can read them."""
    folders = ROOT, Path(sysconfig.get_path("purelib"))
    script = " && ".join(f"test -r '{folder}/.' && test -x '{folder}/.'" for folder in folders)
    if (
        subprocess.run(
            ["sh", "-c", script], check=False, user=IDS["tmon"], extra_groups=[]
        ).returncode
        == 0
    ):
        return folders
    copy = Path(tempfile.mkdtemp(prefix="tmon-code-"))
    atexit.register(shutil.rmtree, copy)
    copy.chmod(0o755)
    for part in ("ingest", "tmon", "plugins", "metadata.yml", "datasette.yml"):
        _link(folders[0] / part, copy / "tmon" / part)
    _link(folders[1], copy / "libraries")
    return copy / "tmon", copy / "libraries"


def _link(there: Path, here: Path) -> None:
    """The same files by other names, or copies on another disk."""
    here.parent.mkdir(exist_ok=True)
    command = ["cp", "--recursive", "--link", str(there), str(here)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        shutil.rmtree(here, ignore_errors=True)
        subprocess.run(["cp", "--recursive", str(there), str(here)], check=True)


def token_of(station: Station) -> str:
    """A node's token, as `sudo tmon token get` prints it."""
    return station.run("tmon-ingest", "token", "get", "basement")[1].strip()


def as_reader(station: Station, script: str) -> "subprocess.CompletedProcess[str]":
    """A shell script, run by the user that only reads."""
    return subprocess.run(
        ["sh", "-c", script],
        user=IDS["tmon-datasette"],
        group=IDS["tmon"],
        extra_groups=[],
        cwd=station.folder,
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
