"""Runs the two processes, and watches them: if one stops, all stop."""

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Thread, Timer

from ingest import writer
from ingest.errors import CannotServe
from ingest.schema import open_database
from ingest.settings import Settings
from ingest.tokens import station_secret

STOP_S = 9.0  # then a process that still runs is killed
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Part:
    """One of the two processes, and the settings that place it."""

    name: str
    variable: str
    host: str
    port: int
    path: str
    public_url: str = ""

    def listen(self) -> socket.socket:
        """The part's socket, listening.

        Raises:
            CannotServe: the address is taken, or isn't this machine's.
        """
        try:
            family = socket.getaddrinfo(self.host, self.port)[0][0]
            listening = socket.create_server(
                (self.host, self.port),
                family=family,
                backlog=2048,
                dualstack_ipv6=self.host == "::" and socket.has_dualstack_ipv6(),
            )
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", "no such host")
            if getattr(error, "errno", 0) == errno.EADDRINUSE:
                reason = f"the port is taken; set {self.variable}_PORT to another"
            raise CannotServe(f"{self.name}: {self.host} port {self.port}: {reason}") from None
        listening.set_inheritable(True)
        return listening

    def url(self, listening: socket.socket) -> str:
        """Where others find it; of a socket on all addresses, this machine's own."""
        if self.public_url:
            return self.public_url + self.path
        host, port = listening.getsockname()[:2]
        if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            host = _own_address() or host
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{self.path}"


def parts(settings: Settings) -> dict[str, Part]:
    """The two processes, by name."""
    return {
        "ingest": Part("ingest", "TMON", settings.host, settings.port, "/readings"),
        "datasette": Part(
            "datasette",
            "TMON_DATASETTE",
            settings.datasette_host,
            settings.datasette_port,
            "/tmon/readings",
            settings.public_url,
        ),
    }


def serve_both(settings: Settings, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Bring the database up to date, run both processes until a signal, then stop them.

    Args:
        settings: the station's.
        environ: the same as TMON_* variables, for the processes.
        say: told the addresses.

    Raises:
        CannotServe: an address was taken, or one of the processes stopped by itself.
    """
    _prepare(settings)
    with ExitStack() as sockets:
        listening = {
            name: sockets.enter_context(part.listen()) for name, part in parts(settings).items()
        }
        for name, part in parts(settings).items():
            say(f"{name:9} {part.url(listening[name])}")
        # The processes hold its other end, and stop when ours is closed: even by kill -9.
        lifeline, ours = os.pipe()
        children = {
            name: _start(name, one.fileno(), lifeline, environ) for name, one in listening.items()
        }
        os.close(lifeline)
    try:
        _watch(children)
    finally:
        os.close(ours)


def serve_one(name: str, settings: Settings, say: Callable[[str], None]) -> None:
    """Run one of the two processes by itself, until a signal.

    Raises:
        CannotServe: the address is taken.
        RefusedDatabase: there is no database to publish, or none of ours.
    """
    if name == "ingest":
        _prepare(settings)
    elif not settings.db.is_file():
        raise CannotServe(f"{settings.db}: no such database; ingest makes it")
    part = parts(settings)[name]
    with part.listen() as listening:
        say(f"{name:9} {part.url(listening)}")
        _be(name, settings, listening)


def run_child(name: str, settings: Settings, socket_fd: int, lifeline_fd: int) -> None:
    """Be one of ``serve_both``'s processes, until a signal or the end of the lifeline."""
    _be(name, settings, socket.socket(fileno=socket_fd), lifeline_fd)


def _be(
    name: str, settings: Settings, listening: socket.socket, lifeline_fd: int | None = None
) -> None:
    """Be one of the two; the writer is copied off before there is a thread or a web server."""
    line = writer.start(settings.db) if name == "ingest" else None
    if lifeline_fd is not None:
        Thread(target=_stop_with, args=[lifeline_fd], name="lifeline", daemon=True).start()
    from ingest import process  # noqa: PLC0415 - who only watches needs no web server

    if line is not None:
        process.run_ingest(settings, line, listening)
    else:
        process.run_datasette(settings, listening)


def _prepare(settings: Settings) -> None:
    """Meet what would stop ingest at its start before an address is told."""
    open_database(settings.db, create=True).close()
    station_secret(settings)


def _start(
    name: str, socket_fd: int, lifeline_fd: int, environ: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ingest.cli", "serve", name]
    command += ["--fds", str(socket_fd), str(lifeline_fd)]
    return subprocess.Popen(command, env=dict(environ), pass_fds=(socket_fd, lifeline_fd))  # noqa: S603


def _watch(children: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """Wait until one child stops, by itself or because we were told to; stop the others."""
    told_to_stop = False

    def stop(*_: object) -> None:
        nonlocal told_to_stop
        told_to_stop = True
        for child in children.values():
            child.terminate()

    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    reason = None if told_to_stop else _first_to_stop(children)
    stop()
    _wait(children.values())
    if reason:
        raise CannotServe(reason)


def _first_to_stop(children: Mapping[str, subprocess.Popen[bytes]]) -> str:
    name, status = next(
        (name, child.returncode) for name, child in children.items() if child.poll() is not None
    )
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"stopped ({status})"
    return f"{name} {how}; so the other was stopped too"


def _wait(children: Collection[subprocess.Popen[bytes]]) -> None:
    patience = Timer(STOP_S, _kill, args=[children])
    patience.start()
    for child in children:
        child.wait()
    patience.cancel()


def _kill(children: Collection[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.kill()


def _stop_with(lifeline_fd: int) -> None:
    os.read(lifeline_fd, 1)  # nothing is ever written: it returns when the other end is gone
    os.kill(os.getpid(), signal.SIGTERM)


def _own_address() -> str | None:
    """This machine's address towards the network; asking sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # RFC 5737: an address for documentation
        except OSError:
            return None
        return str(probe.getsockname()[0])
