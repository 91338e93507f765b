"""Runs ingest and Datasette, each in a process: if one stops, so does the other."""

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from threading import Thread

from tmon.core.errors import CannotServe
from tmon.core.settings import Settings
from tmon.db.connect import refuse_non_file
from tmon.db.tokens import load_or_create_secret, open_station
from tmon.serve import signals
from tmon.store import writer_process

STOP_S = 9.0  # then a process that still runs is killed
UNSENT_BYTES = 128 * 1024  # the system would hold 4 MB of each answer that isn't read


@dataclass(frozen=True)
class Part:
    """One of the two, and the settings that place it."""

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
        # What is accepted here inherits it.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
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
    """The two, by name."""
    return {
        "ingest": Part(
            "ingest", "TMON", settings.host, settings.port, "/readings", settings.ingest_url
        ),
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
    """Run ingest in this process and Datasette in one beside it, until a signal.

    Args:
        settings: the station's.
        environ: the same as TMON_* variables, for the other process.
        say: told the addresses.

    Raises:
        CannotServe: an address was taken, or Datasette stopped by itself.
    """
    _prepare(settings)
    with ExitStack() as sockets:
        listening = {
            name: sockets.enter_context(part.listen()) for name, part in parts(settings).items()
        }
        signals.hold()
        for name, part in parts(settings).items():
            say(f"{name:9} {part.url(listening[name])}")
        line = writer_process.start(settings.db)
        datasette = Companion(listening["datasette"], environ)
        try:
            _take_readings(settings, listening["ingest"], line, on_stop=datasette.stop)
        finally:
            datasette.end()


def serve_one(name: str, settings: Settings, say: Callable[[str], None]) -> None:
    """Run one of the two by itself, until a signal.

    Raises:
        CannotServe: the address is taken.
        RefusedDatabase: there is no database to publish, or none of ours.
    """
    if name == "ingest":
        _prepare(settings)
    elif not settings.db.exists():
        raise CannotServe(f"{settings.db}: no such database; ingest makes it")
    else:
        refuse_non_file(settings.db)
    part = parts(settings)[name]
    with part.listen() as listening:
        signals.hold()
        say(f"{name:9} {part.url(listening)}")
        if name == "ingest":
            _take_readings(settings, listening, writer_process.start(settings.db))
        else:
            _publish(settings, listening, is_alone=True)


def publish_beside(settings: Settings, socket_fd: int, lifeline_fd: int) -> None:
    """Be the process beside ingest's, until a signal or the end of the lifeline."""
    Thread(target=_stop_with, args=[lifeline_fd], name="lifeline", daemon=True).start()
    _publish(settings, socket.socket(fileno=socket_fd), is_alone=False)


class Companion:
    """Datasette in a process beside this one: when either ends, so does the other."""

    def __init__(self, listening: socket.socket, environ: Mapping[str, str]) -> None:
        self._stopped_by_us = False
        # It holds one end, and stops when the other is closed: even by kill -9.
        lifeline, self._ours = os.pipe()
        # -P: or Python would first look in the folder we are started in, for a queue.py say.
        command = [sys.executable, "-P", "-m", "tmon", "serve", "datasette"]
        command += ["--fds", str(listening.fileno()), str(lifeline)]
        fds = (listening.fileno(), lifeline)
        self._process = subprocess.Popen(command, env=dict(environ), pass_fds=fds)  # noqa: S603
        os.close(lifeline)
        listening.close()
        Thread(target=self._stop_with_it, name="companion", daemon=True).start()

    def stop(self) -> None:
        """Ask it to end, if it hasn't."""
        if self._process.poll() is None:
            self._stopped_by_us = True
            self._process.terminate()

    def end(self) -> None:
        """Have it ended.

        Raises:
            CannotServe: it failed before it was asked to.
        """
        self.stop()
        try:
            status = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        os.close(self._ours)
        if status and not self._stopped_by_us:
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else "failed"
            raise CannotServe(f"datasette {how}; so ingest was stopped too")

    def _stop_with_it(self) -> None:
        with suppress(ChildProcessError):  # `end` has waited for it already
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            os.kill(os.getpid(), signal.SIGTERM)


def _prepare(settings: Settings) -> None:
    """Meet what would stop ingest at its start before an address is told."""
    open_station(settings).close()
    load_or_create_secret(settings)


def _take_readings(
    settings: Settings,
    listening: socket.socket,
    line: socket.socket,
    on_stop: Callable[[], object] = lambda: None,
) -> None:
    from tmon.serve import server as process  # noqa: PLC0415 - the writer needs no web server

    process.run_ingest(settings, line, listening, on_stop)


def _publish(settings: Settings, listening: socket.socket, *, is_alone: bool) -> None:
    from tmon.serve import server as process  # noqa: PLC0415 - nor does who only starts it

    process.run_datasette(settings, listening, is_alone=is_alone)


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
