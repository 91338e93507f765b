"""Run ingest and Datasette, each in its own process; if one stops, so does the other."""

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

from tmon.core import signals, systemd
from tmon.core.errors import CannotServe
from tmon.core.settings import Settings
from tmon.db.connect import refuse_non_file
from tmon.db.tokens import load_or_create_secret, open_station, read_secret
from tmon.store import writer_process

STOP_S = 9.0  # then a process that still runs is killed
UNSENT_BYTES = 128 * 1024  # else the kernel buffers 4 MB of each response that isn't read


@dataclass(frozen=True)
class Service:
    """Ingest or Datasette: its name, its address, and the path of its URL."""

    name: str
    variable: str  # prefix of its settings
    host: str
    port: int
    path: str
    public_url: str = ""

    def listen(self) -> socket.socket:
        """A listening socket.

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
        # Accepted connections inherit this option.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        listening.set_inheritable(True)
        return listening

    def url(self, listening: socket.socket) -> str:
        """Its URL; of a socket on all addresses, with this machine's own."""
        if self.public_url:
            return self.public_url + self.path
        host, port = listening.getsockname()[:2]
        if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
                probe.connect(("192.0.2.1", 9))  # RFC 5737: for documentation; nothing is sent
                host = str(probe.getsockname()[0])
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{self.path}"


def services(settings: Settings) -> dict[str, Service]:
    """Both services, by name."""
    return {
        "ingest": Service(
            "ingest", "TMON", settings.host, settings.port, "/readings", settings.ingest_url
        ),
        "datasette": Service(
            "datasette",
            "TMON_DATASETTE",
            settings.datasette_host,
            settings.datasette_port,
            "/tmon/readings",
            settings.public_url,
        ),
    }


def serve_both(settings: Settings, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Run ingest in this process and Datasette in a child, until a signal.

    Args:
        settings: the station's.
        environ: the same as TMON_* variables, for the child.
        say: prints each address.

    Raises:
        CannotServe: an address is taken, or Datasette stopped by itself.
    """
    _check_station(settings)
    with ExitStack() as sockets:
        listening = {
            name: sockets.enter_context(service.listen())
            for name, service in services(settings).items()
        }
        signals.block()
        for name, service in services(settings).items():
            say(f"{name:9} {service.url(listening[name])}")
        writer = None if settings.stream else writer_process.start(settings.db)
        companions = [datasette_process(listening["datasette"], environ)]
        if settings.stream:
            companions.append(Companion("sink", ["sink"], (), environ))

        def stop() -> None:
            for companion in companions:
                companion.stop()

        try:
            _run_ingest(settings, listening["ingest"], writer, on_stop=stop)
        finally:
            stop()
            for companion in companions:
                companion.end()


def serve_one(name: str, settings: Settings, say: Callable[[str], None]) -> None:
    """Run one of the two by itself, until a signal.

    Raises:
        CannotServe: the address is taken.
        RefusedDatabase: the database to publish doesn't exist, or isn't one of ours.
    """
    if name == "ingest":
        _check_station(settings)
    elif not settings.db.exists():
        maker = "`tmon sink`" if settings.stream else "ingest"
        raise CannotServe(f"{settings.db}: no such database; {maker} makes it")
    else:
        refuse_non_file(settings.db)
    service = services(settings)[name]
    with service.listen() as listening:
        signals.block()
        say(f"{name:9} {service.url(listening)}")
        if name == "ingest":
            writer = None if settings.stream else writer_process.start(settings.db)
            _run_ingest(settings, listening, writer)
        else:
            _run_datasette(settings, listening, is_alone=True)


def serve_datasette_child(settings: Settings, socket_fd: int, lifeline_fd: int) -> None:
    """Run Datasette as the child of ingest, until a signal or the parent's end."""
    _stop_with_parent(lifeline_fd)
    _run_datasette(settings, socket.socket(fileno=socket_fd), is_alone=False)


def serve_sink(settings: Settings, lifeline_fd: int | None = None) -> None:
    """Run the sink and its writer, until a signal, or the end of the parent that has a lifeline.

    Raises:
        TmonError: the file can't go on with the streams, or the writer ended.
    """
    if not settings.stream:
        raise CannotServe("TMON_STREAM isn't set: where are the NATS servers?")
    from tmon.stream.sink import run_sink  # noqa: PLC0415 - a single machine needs no streams
    from tmon.stream.sink_writer import sink_writer  # noqa: PLC0415

    open_station(settings).close()
    signals.block()
    writer = writer_process.start(settings.db, sink_writer, in_cluster=True)
    if lifeline_fd is not None:
        _stop_with_parent(lifeline_fd)
    # Ready means that the file is there, for Datasette; it may wait for NATS for days.
    systemd.notify_ready()
    run_sink(settings, writer)


def _stop_with_parent(lifeline_fd: int) -> None:
    def stop_with_parent() -> None:
        os.read(lifeline_fd, 1)  # the parent never writes: this returns when it is gone
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=stop_with_parent, name="lifeline", daemon=True).start()


class Companion:
    """A child of this process, ``tmon`` with some arguments: when either ends, so does the other.

    It inherits ``fds``, and a lifeline: a pipe that is closed when we end, even by kill -9.
    """

    def __init__(
        self, name: str, arguments: list[str], fds: tuple[int, ...], environ: Mapping[str, str]
    ) -> None:
        self._name = name
        self._stopped_by_us = False
        lifeline, self._our_end = os.pipe()
        # -P: else Python first looks in the current directory, for a queue.py say.
        command = [sys.executable, "-P", "-m", "tmon", *arguments]
        command += ["--fds", *map(str, (*fds, lifeline))]
        self._process = subprocess.Popen(  # noqa: S603
            command, env=dict(environ), pass_fds=(*fds, lifeline)
        )
        os.close(lifeline)
        Thread(target=self._stop_with_child, name="companion", daemon=True).start()

    def stop(self) -> None:
        """Terminate it, if it hasn't ended."""
        if self._process.poll() is None:
            self._stopped_by_us = True
            self._process.terminate()

    def end(self) -> None:
        """Terminate it and wait; kill it if that takes too long.

        Raises:
            CannotServe: it failed before it was told to stop.
        """
        self.stop()
        try:
            status = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        os.close(self._our_end)
        if status and not self._stopped_by_us:
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else "failed"
            raise CannotServe(f"{self._name} {how}; so the others were stopped too")

    def _stop_with_child(self) -> None:
        with suppress(ChildProcessError):  # `end` has waited for it already
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            os.kill(os.getpid(), signal.SIGTERM)


def datasette_process(listening: socket.socket, environ: Mapping[str, str]) -> Companion:
    """Datasette as a child, which has the listening socket from then on."""
    arguments = ["serve", "datasette"]
    with listening:
        return Companion("datasette", arguments, (listening.fileno(),), environ)


def _check_station(settings: Settings) -> None:
    """Raise what would stop ingest at its start, before an address is printed."""
    if settings.stream:
        try:
            read_secret(settings)
        except FileNotFoundError:
            raise CannotServe(
                f"{settings.secret_file}: no such file: copy it from another machine of the "
                "cluster, whose tokens it signs"
            ) from None
        return
    open_station(settings).close()
    load_or_create_secret(settings)


def _run_ingest(
    settings: Settings,
    listening: socket.socket,
    writer: socket.socket | None,
    on_stop: Callable[[], object] = lambda: None,
) -> None:
    from tmon.serve import server  # noqa: PLC0415 - the writer needs no web server

    server.run_ingest(settings, writer, listening, on_stop)


def _run_datasette(settings: Settings, listening: socket.socket, *, is_alone: bool) -> None:
    from tmon.serve import server  # noqa: PLC0415 - nor does the parent of Datasette

    server.run_datasette(settings, listening, is_alone=is_alone)
