"""Takes messages from a broker and posts their readings to ingest.

A message is acknowledged to the broker once ingest has stored it: with a persistent session, the
broker keeps what isn't. Whichever of the three is killed, nothing is lost, and a repeat has the
times of the first attempt only if the message has times of its own.
"""

import logging
import queue
import time
from collections.abc import Sequence
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
import requests
from paho.mqtt.enums import CallbackAPIVersion

from tmon.core.errors import TmonError
from tmon.core.time import now_ms
from tmon.mqtt.formats import PATTERNS, read_message
from tmon.mqtt.home_assistant import HomeAssistant
from tmon.mqtt.messages import Measured, UnitOf
from tmon.mqtt.news import News, with_plausible_time
from tmon.mqtt.owner_topics import OwnerTopic
from tmon.mqtt.quantities import QuantityNotes

GATHER_S = 0.5  # messages that come within this time are one request
MOST_MESSAGES = 500  # in one request
IN_FLIGHT = 2_000  # messages that the broker sends before it waits for acknowledgements
PAUSES_S = (1.0, 5.0, 15.0, 60.0)  # between attempts while ingest can't store
UNIT_WAIT_MS = 5_000  # for the unit of an entity that is new, which comes on its own
TIMEOUT_S = 20.0
PORTS = {"mqtt": 1883, "mqtts": 8883}

log = logging.getLogger("tmon.mqtt")


class CannotConnect(TmonError):
    """The broker's address can't be understood."""


class Received(NamedTuple):
    """A message that isn't acknowledged yet, with its readings, or the units of others.

    ``connection``: the number of ours that it came by. By another, its id is another message's.
    """

    connection: int
    message_id: int
    qos: int
    readings: list[Measured]
    units: list[UnitOf]
    received_ms: int


class Bridge:
    """Owns the connection to the broker; ``run`` posts what comes until it is stopped.

    Args:
        broker: ``mqtt://user:password@host:1883``, or mqtts with TLS.
        client_id: names the session that the broker keeps; no other client has it.
        readings_url: of ingest, with a gateway's key.
        topics: the owner's own.
        quantities: what these say that sensors measure.
        home_assistant: what is published.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is another side of it
        self,
        broker: str,
        client_id: str,
        readings_url: str,
        topics: Sequence[OwnerTopic],
        quantities: QuantityNotes,
        home_assistant: HomeAssistant,
    ) -> None:
        parts = _broker(broker)
        self._host, self._port = parts.hostname, parts.port or PORTS[parts.scheme]
        self._readings_url = readings_url
        self._http = requests.Session()
        self._topics = topics
        self._quantities = quantities
        self._home_assistant = home_assistant
        self._received: queue.SimpleQueue[Received | None] = queue.SimpleQueue()
        self._without_unit: list[Received] = []
        self._news = News()
        self._connections = 0
        self._filters: list[str] = []
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
        if home_assistant.is_on:
            self._client.will_set(*home_assistant.will, qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_disconnect = self._on_disconnect

    def run(self) -> None:
        """Connect, and post until ``stop``; reconnects by itself."""
        self._home_assistant.know_own()  # before anything of it can come back
        self._client.connect_async(str(self._host), self._port)
        self._client.loop_start()
        publisher = Thread(target=self._home_assistant.run, args=[self._publish])
        publisher.start()
        try:
            while not self._stopped:
                self._post(self._gather())
        finally:
            self._stopped = True
            self._home_assistant.stop()
            publisher.join()
            self._client.disconnect()
            self._client.loop_stop()

    def stop(self) -> None:
        self._stopped = True
        self._received.put(None)

    def _publish(self, topic: str, payload: str) -> bool:
        """Publish a retained message; False while there is no connection."""
        if not self._client.is_connected():
            return False
        self._client.publish(topic, payload, qos=1, retain=True)
        return True

    def _on_connect(self, client: Any, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            log.error("the broker at %s:%d refuses: %s", self._host, self._port, reason)
            return
        filters = [one.pattern.filter for one in self._topics]
        filters += [pattern.filter for pattern, _ in PATTERNS]
        filters += self._home_assistant.filters
        self._connections += 1
        self._filters = [*dict.fromkeys(filters)]
        client.subscribe([(one, 1) for one in self._filters])
        self._home_assistant.publish_again()

    def _on_subscribe(self, _: Any, __: Any, ___: Any, reasons: Any, ____: Any) -> None:
        for topic_filter, reason in zip(self._filters, reasons, strict=False):
            if reason.is_failure:
                log.error("the broker doesn't let us read %s: %s", topic_filter, reason)
        log.warning("connected to %s:%d", self._host, self._port)

    def _on_disconnect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if not self._stopped:
            log.warning("the broker is gone: %s; trying again", reason)

    def _on_message(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        received_ms = now_ms()
        try:
            found = self._read(message.topic, bytes(message.payload))
        except Exception:  # all others wait behind it, so the thread must go on
            log.exception("a message on %s can't be read: it is left out", message.topic)
            found = []
        readings = [
            with_plausible_time(one, received_ms) for one in found if isinstance(one, Measured)
        ]
        if message.retain:  # of an unknown age, unless it says when it was measured
            readings = [one for one in readings if one.measured_ms is not None]
        units = [one for one in found if isinstance(one, UnitOf)]
        self._received.put(
            Received(self._connections, message.mid, message.qos, readings, units, received_ms)
        )

    def _read(self, topic: str, payload: bytes) -> list[Measured | UnitOf]:
        if self._home_assistant.take(topic, payload):
            return []
        own = [one for one in self._topics if one.pattern.match(topic) is not None]
        if not own:
            return read_message(topic, payload)
        text = payload.decode(errors="replace")
        return [reading for one in own for reading in one.readings(topic, text)]

    def _gather(self) -> list[Received]:
        """What comes soon after another; nothing if nothing comes for a second."""
        gathered: list[Received] = []
        until_s = None
        while len(gathered) < MOST_MESSAGES:
            try:
                wait_s = 1.0 if until_s is None else max(0.0, until_s - time.monotonic())
                one = self._received.get(timeout=wait_s)
            except queue.Empty:
                break
            if one is None:
                break
            gathered.append(one)
            until_s = until_s or time.monotonic() + GATHER_S
        return gathered

    def _post(self, gathered: Sequence[Received]) -> None:
        """Post the readings of these messages, and acknowledge all once they are stored."""
        received = self._with_unit(gathered)
        rows = [row for one in received for row in self._news.rows(one.readings, one.received_ms)]
        if rows and not self._store(rows):
            return  # stopped meanwhile: the broker sends them again
        for one in received:
            if one.qos and one.connection == self._connections:
                self._client.ack(one.message_id, one.qos)
        self._quantities.note(reading for one in received for reading in one.readings)

    def _with_unit(self, gathered: Sequence[Received]) -> list[Received]:
        """Those that can be stored; others wait a little, as their unit comes behind them."""
        latest_ms = now_ms() - UNIT_WAIT_MS
        for unit in (unit for one in gathered for unit in one.units):
            self._news.learn_unit(unit)
        ready: list[Received] = []
        waiting: list[Received] = []
        for one in [*self._without_unit, *gathered]:
            is_ready = one.received_ms < latest_ms or self._news.knows_units(one.readings)
            (ready if is_ready else waiting).append(one)
        self._without_unit = waiting
        return ready

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


def _broker(text: str) -> Any:
    """The parts of the broker's address.

    Raises:
        CannotConnect: it is none.
    """
    parts = urlsplit(text)
    try:
        is_broker = parts.scheme in PORTS and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none
        is_broker = False
    if not is_broker:
        raise CannotConnect("TMON_MQTT_URL must be like mqtt://user:password@host:1883")
    return parts
