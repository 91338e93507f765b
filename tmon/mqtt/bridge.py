"""Takes messages from a broker and posts their readings to ingest.

A message is acknowledged to the broker once ingest has stored it: with a persistent session, the
broker keeps what isn't. Whichever of the three is killed, nothing is lost, and a repeat has the
times of the first attempt only if the message has times of its own.
"""

import logging
import queue
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
import requests
from paho.mqtt.enums import CallbackAPIVersion

from tmon.core.errors import TmonError
from tmon.core.time import now_ms
from tmon.mqtt.messages import FORMATS, Measured, readings, topic_filter

GATHER_S = 0.5  # messages that come within this time are one request
MOST_MESSAGES = 500  # in one request
IN_FLIGHT = 2_000  # messages that the broker sends before it waits for acknowledgements
PAUSES_S = (1.0, 5.0, 15.0, 60.0)  # between attempts while ingest can't store
REPEAT_MS = 2_000  # the same value of a sensor within this time is the same transmission
REMEMBERED = 20_000  # sensors whose last value is remembered
TIMEOUT_S = 20.0
PORTS = {"mqtt": 1883, "mqtts": 8883}

log = logging.getLogger("tmon.mqtt")


class CannotConnect(TmonError):
    """The broker's address can't be understood."""


class Received(NamedTuple):
    """A message that isn't acknowledged yet, and its readings."""

    message_id: int
    qos: int
    readings: list[Measured]
    received_ms: int


class Bridge:
    """Owns the connection to the broker; ``run`` posts what comes until it is stopped.

    Args:
        broker: ``mqtt://user:password@host:1883``, or mqtts with TLS.
        ingest_url: of the station.
        key: a gateway's.
        client_id: names the session that the broker keeps.
    """

    def __init__(self, broker: str, ingest_url: str, key: str, client_id: str = "tmon") -> None:
        parts = urlsplit(broker)
        if parts.scheme not in PORTS or not parts.hostname:
            raise CannotConnect("TMON_MQTT_URL must be like mqtt://user:password@host:1883")
        self._host, self._port = parts.hostname, parts.port or PORTS[parts.scheme]
        self._readings_url = f"{ingest_url}/k/{key}/readings"
        self._http = requests.Session()
        self._received: queue.SimpleQueue[Received | None] = queue.SimpleQueue()
        self._last: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        self._stopped = False
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=False,
            protocol=paho.MQTTv311,
            manual_ack=True,
        )
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            self._client.tls_set()
        self._client.max_inflight_messages_set(IN_FLIGHT)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_disconnect = self._on_disconnect

    def run(self) -> None:
        """Connect, and post until ``stop``; reconnects by itself."""
        self._client.connect_async(self._host, self._port)
        self._client.loop_start()
        try:
            while not self._stopped:
                self._post(self._gather())
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def stop(self) -> None:
        self._stopped = True
        self._received.put(None)

    def _on_connect(self, client: Any, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            log.error("the broker at %s:%d refuses: %s", self._host, self._port, reason)
            return
        client.subscribe([(topic_filter(pattern), 1) for pattern, _ in FORMATS])
        log.warning("connected to %s:%d", self._host, self._port)

    def _on_disconnect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if not self._stopped:
            log.warning("the broker is gone: %s; trying again", reason)

    def _on_message(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        found = readings(message.topic, bytes(message.payload))
        if message.retain:  # of an unknown age, unless it says when it was measured
            found = [one for one in found if one.measured_ms is not None]
        self._received.put(Received(message.mid, message.qos, found, now_ms()))

    def _gather(self) -> list[Received]:
        """At least one message, and what comes soon after it."""
        gathered: list[Received] = []
        until_s = None
        while len(gathered) < MOST_MESSAGES:
            try:
                wait_s = None if until_s is None else max(0.0, until_s - time.monotonic())
                one = self._received.get(timeout=1.0 if wait_s is None else wait_s)
            except queue.Empty:
                if gathered or self._stopped:
                    break
                continue
            if one is None:
                break
            gathered.append(one)
            until_s = until_s or time.monotonic() + GATHER_S
        return gathered

    def _post(self, received: Sequence[Received]) -> None:
        """Post the readings of these messages, and acknowledge all once they are stored."""
        rows = [row for one in received for row in self._rows(one)]
        if rows and not self._store(rows):
            return  # stopped meanwhile: the broker sends them again
        for one in received:
            if one.qos:
                self._client.ack(one.message_id, one.qos)

    def _rows(self, received: Received) -> list[dict[str, Any]]:
        """What is new in a message, as ``POST /readings`` takes it."""
        rows = []
        for one in received.readings:
            key, at_ms = (one.device, one.sensor), one.measured_ms or received.received_ms
            value, before_ms = self._last.pop(key, (None, 0))
            is_repeat = value == one.value and (one.may_be_old or at_ms - before_ms < REPEAT_MS)
            if not is_repeat and one.measured_ms is None:
                at_ms = max(at_ms, before_ms + 1)  # two within a millisecond are two readings
            self._last[key] = (one.value, at_ms)
            if len(self._last) > REMEMBERED:
                self._last.popitem(last=False)
            if is_repeat and one.measured_ms is None:
                continue
            row = {"node": one.device, "sensor": one.sensor, "value": one.value}
            rows.append({**row, "unit": one.unit, "measured_ms": at_ms})
        return rows

    def _store(self, rows: list[dict[str, Any]]) -> bool:
        """Post until ingest has stored these rows; False if stopped meanwhile."""
        attempt = 0
        while not self._stopped:
            try:
                answer = self._http.post(self._readings_url, json=rows, timeout=TIMEOUT_S)
                status, why = answer.status_code, answer.text[:200]
            except requests.RequestException as error:
                status, why = 0, type(error).__name__
            if status == 201:
                for each in answer.json()["rejected"]:
                    log.warning("rejected: %s: %s", rows[each["index"]], each["error"])
                return True
            if status in {400, 413} and len(rows) > 1:  # one of them: find which
                half = len(rows) // 2
                return self._store(rows[:half]) and self._store(rows[half:])
            if status in {400, 413}:
                log.error("not stored: %s: %s", rows[0], why)
                return True
            pause_s = PAUSES_S[min(attempt, len(PAUSES_S) - 1)]
            if attempt in {0, 3} or attempt % 60 == 0:
                log.warning("ingest doesn't store (%s %s); trying again", status or "", why)
            attempt += 1
            self._wait(pause_s)
        return False

    def _wait(self, seconds: float, tick_s: float = 0.2) -> None:
        until_s = time.monotonic() + seconds
        while not self._stopped and time.monotonic() < until_s:
            time.sleep(tick_s)
