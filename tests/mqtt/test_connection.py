"""The bridge's connection to the broker: how it ends, and whose acknowledgements go over it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.mqtt.broker import Broker, bridge, connected, end
from tests.mqtt.test_mqtt import rows
from tests.station import Station, station_in_thread, tmon, wait_for
from tmon.db.connect import open_database
from tmon.mqtt.bridge import Bridge
from tmon.mqtt.home_assistant import HomeAssistant
from tmon.mqtt.quantities import QuantityNotes

CONNACK = b"\x20\x02\x00\x00"
CONNECT, PUBACK, SUBSCRIBE = 1, 4, 8  # kinds of packets


def made(port: int, readings_url: str) -> Bridge:
    home_assistant = HomeAssistant("0123", None, "", "1.0")
    notes = QuantityNotes(lambda _: {})
    address = f"mqtt://127.0.0.1:{port}"
    return Bridge(address, "tmon-test", readings_url, [], notes, home_assistant)


class Ended:
    """A bridge in a thread, and what its ``run`` raised."""

    def __init__(self, running: Bridge) -> None:
        self.error: BaseException | None = None
        self._running = running
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._running.run()
        except BaseException as error:
            self.error = error

    def end(self) -> None:
        self._running.stop()
        self._thread.join()


@contextmanager
def pausing_in(function: str, until: Any) -> Iterator[None]:
    """Hold each new thread within a function, behind its first line, until something is so."""

    def trace(frame: Any, event: str, _: object) -> Any:
        if frame.f_code.co_name != function:
            return None
        if event == "line" and frame.f_lineno > frame.f_code.co_firstlineno + 10:
            wait_for(until)
        return trace

    before = threading.gettrace()
    threading.settrace(trace)
    try:
        yield
    finally:
        threading.settrace(before)


def test_a_thread_of_pahos_that_ends_early_is_no_failure(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """On a busy machine it ends between the lines of the function that waits for its end."""
    running = made(broker.port, "http://127.0.0.1:1/readings")

    def has_ended() -> bool:
        return not any("tmon-test" in one.name for one in threading.enumerate())

    with pausing_in("loop_stop", has_ended):
        ended = Ended(running)
    wait_for(lambda: "connected to" in caplog.text)
    ended.end()
    assert ended.error is None


def packets(sock: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Kind and contents of the packets that come, until the sender closes."""
    with sock.makefile("rb") as stream:
        while first := stream.read(1):
            length = shift = 0
            while True:
                [byte] = stream.read(1)
                length |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            yield first[0] >> 4, stream.read(length)


def test_an_acknowledgement_is_of_its_own_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On another one the same number may be of another message, which would be lost."""
    message = b"\x00\x0btmon/shed/t" + b"\x00\x07" + b"21.5"
    with station_in_thread(tmp_path) as station, socket.create_server(("127.0.0.1", 0)) as server:
        tmon(tmp_path, "device", "adopt", "shed", "shed", "--unheard")
        key = tmon(tmp_path, "key", "get", "--gateway", "x").stdout.strip()
        running = made(server.getsockname()[1], f"{station.url}/k/{key}/readings")
        ended = Ended(running)
        first, _ = server.accept()
        with closing(open_database(station.path)) as db, first:
            received = packets(first)
            assert next(received)[0] == CONNECT
            first.sendall(CONNACK)
            kind, asked = next(received)
            assert kind == SUBSCRIBE
            first.sendall(b"\x90\x03" + asked[:2] + b"\x01")
            db.execute("begin immediate")  # ingest can't store now
            first.sendall(bytes((0x32, len(message))) + message)
            wait_for(lambda: "ingest doesn't store" in caplog.text)
            first.shutdown(socket.SHUT_RDWR)
            second, _ = server.accept()
            again = packets(second)
            assert next(again)[0] == CONNECT
            db.execute("rollback")
            wait_for(lambda: station.count() == 1)
            ended.end()
            with second:
                assert [kind for kind, _ in again if kind == PUBACK] == []
    assert ended.error is None


def test_stations_at_one_broker_have_sessions_of_their_own(tmp_path: Path, broker: Broker) -> None:
    """With one client id, each would end the other's connection, for ever."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    with station_in_thread(folders[0]) as one, station_in_thread(folders[1]) as other:
        stations: list[Station] = [one, other]
        for folder in folders:
            tmon(folder, "device", "adopt", "shed", "shed", "--unheard")
        running = [bridge(station, broker) for station in stations]
        wait_for(lambda: all(connected(station) for station in stations))
        broker.publish(("tmon/shed/t", "21.5"))
        wait_for(lambda: all(station.count() == 1 for station in stations))
        for station, process in zip(stations, running, strict=True):
            end(process, station)
            assert rows(station) == [("shed", "t", 21.5, None)]
            assert "is gone" not in (station.path.parent / "mqtt.log").read_text()
