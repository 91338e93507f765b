"""One NATS server on a port that the system picks."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.station import wait_for

PROGRAM = Path(sys.executable).with_name("nats-server")


@contextmanager
def one_server(folder: Path, port: int = -1) -> Iterator[str]:
    folder.mkdir(exist_ok=True)
    command = [
        str(PROGRAM),
        "-a",
        "127.0.0.1",
        "-p",
        str(port),
        "-js",
        "-sd",
        str(folder / "store"),
        "--ports_file_dir",
        str(folder),
        "-l",
        str(folder / "log"),
    ]
    process = subprocess.Popen(command)
    ports = folder / f"nats-server_{process.pid}.ports"
    try:
        wait_for(lambda: ports.exists() and ports.stat().st_size > 0)
        yield json.loads(ports.read_text())["nats"][0]
    finally:
        process.terminate()
        process.wait()
