"""One reading a request, durable: tmon beside Datasette's own insert API, in one run.

Needs wrk (Debian: `apt install wrk`). Rounds alternate; what counts is the ratio.

    .venv/bin/python bench/inserts.py
"""

import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.request import urlopen

from sqlite_utils import Database

CONNECTIONS = 64
SECONDS = 5
ROUNDS = 3
BIN = Path(sys.executable).parent

SCRIPT = """
wrk.method = "POST"
wrk.headers["Authorization"] = "Bearer {token}"
wrk.headers["Content-Type"] = "application/json"
local i = 0
request = function()
  i = i + 1
  return wrk.format(nil, nil, nil, string.format('{body}', i % 500, {first_ms} + i))
end
"""
TMON = '{"sensor": "s%d", "measured_ms": %d, "value": 21.5, "unit": "°C"}'
DATASETTE = '{"row": {"sensor": "s%d", "measured_ms": %d, "value": 21.5, "unit": "°C"}}'


@contextmanager
def running(*command: str | Path, folder: Path, ready: str) -> Iterator[None]:
    """A server for as long as the block runs."""
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as server:
        try:
            wait_for(ready)
            yield
        finally:
            server.terminate()


def wait_for(url: str) -> None:
    for _ in range(100):
        try:
            urlopen(url, timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(url)


def requests_a_second(url: str, token: str, body: str, folder: Path) -> float:
    """What wrk says; any answer but 2xx is an error."""
    script = folder / "load.lua"
    now_ms = time.time_ns() // 1_000_000
    fields = {"{token}": token, "{body}": body, "{first_ms}": str(now_ms - 10_000_000)}
    script.write_text(re.sub(r"\{\w+\}", lambda name: fields[name[0]], SCRIPT))
    wrk = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(script), url]
    said = subprocess.run(wrk, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said:
        raise RuntimeError(said)
    return float(re.findall(r"Requests/sec:\s+([\d.]+)", said)[0])


def tmon_round(folder: Path) -> float:
    get = subprocess.run(
        [BIN / "tmon", "token", "get", "bench"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    serve = (BIN / "tmon", "serve", "ingest", "--port", "13917")
    with running(*serve, folder=folder, ready="http://127.0.0.1:13917/healthz"):
        return requests_a_second(
            "http://127.0.0.1:13917/readings", get.stdout.strip(), TMON, folder
        )


def datasette_round(folder: Path) -> float:
    secret = secrets.token_hex()
    with Database(folder / "peer.db") as db:
        columns = {"sensor": str, "measured_ms": int, "value": float, "unit": str}
        db.table("readings").create(columns, if_not_exists=True)
        db.enable_wal()
    token = subprocess.run(
        [BIN / "datasette", "create-token", "root", "--secret", secret],
        capture_output=True,
        text=True,
        check=True,
    )
    serve = (BIN / "datasette", "peer.db", "--port", "13918", "--secret", secret, "--root")
    with running(*serve, folder=folder, ready="http://127.0.0.1:13918/peer.json"):
        url = "http://127.0.0.1:13918/peer/readings/-/insert"
        return requests_a_second(url, token.stdout.strip(), DATASETTE, folder)


def main() -> None:
    rates: dict[str, list[float]] = {"tmon": [], "datasette": []}
    with tempfile.TemporaryDirectory() as name:
        for number in range(ROUNDS):
            rates["tmon"].append(tmon_round(Path(name)))
            rates["datasette"].append(datasette_round(Path(name)))
            print(*(f"{who} {rate[number]:,.0f}/s" for who, rate in rates.items()), sep="  ")
    ratio = median(rates["tmon"]) / median(rates["datasette"])
    print(f"tmon stores {ratio:.1f} times as many (medians of {ROUNDS} rounds)")


if __name__ == "__main__":
    main()
