"""Every sensor in Home Assistant by itself: MQTT discovery, and each sensor's newest reading.

Two retained messages for a sensor: how it is shown, which Home Assistant reads from its discovery
topic, and its newest reading. What isn't a sensor of ours any more is removed.

Sources: home-assistant.io integrations/mqtt and sensor.mqtt; home-assistant/core sensor/const.py.
"""

import json
import logging
import re
from collections.abc import Callable
from threading import Event
from typing import Any, NamedTuple
from urllib.parse import quote

from tmon.core.errors import TmonError
from tmon.core.time import iso
from tmon.db.connect import sqlite3

PUBLISH_S = 15.0  # between two looks at the database
MOST_ECHOES = 1_000  # that are told, each once
PREFIX = "homeassistant"  # Home Assistant's own, unless its owner changed it
ONLINE, OFFLINE = "online", "offline"
ENTITY = "tmon_"  # the entities' ids begin with it, so that statestream's are known as ours

# Home Assistant's device class by our unit; where several share a unit, by a word in the quantity
# or name: one that doesn't fit its unit is refused there. A total only grows until it starts anew.
CLASSES: dict[str, tuple[tuple[str, str], ...]] = {
    "°C": (("", "temperature"),),
    "hPa": (("", "pressure"),),
    "lx": (("", "illuminance"),),
    "V": (("", "voltage"),),
    "A": (("", "current"),),
    "W": (("", "power"),),
    "Wh": (("", "energy"),),
    "kWh": (("", "energy"),),
    "Hz": (("", "frequency"),),
    "W/m²": (("", "irradiance"),),
    "dBm": (("", "signal_strength"),),
    "%": (("humid", "humidity"), ("batt", "battery"), ("moist", "moisture")),
    "ppm": (("co2", "carbon_dioxide"), ("carbon dioxide", "carbon_dioxide")),
    "µg/m³": (("pm25", "pm25"), ("pm2.5", "pm25"), ("pm10", "pm10"), ("pm1", "pm1")),
    "m/s": (("wind", "wind_speed"), ("", "speed")),
    "mm": (("rain", "precipitation"), ("", "distance")),
    "mm/h": (("", "precipitation_intensity"),),
    "m": (("", "distance"),),
    "km": (("", "distance"),),
}

log = logging.getLogger("tmon.mqtt")


class Latest(NamedTuple):
    """A sensor and its newest reading."""

    id: int
    node_uid: str
    node: str
    name: str
    quantity: str | None
    unit: str | None
    value: float
    measured_ms: int
    silent: bool


class HomeAssistant:
    """Owns what is published; in a thread of its own, but for ``take`` and ``publish_again``.

    Args:
        station: an id that no other station has.
        sensors: reads the newest readings; None: nothing is published, and what was is removed.
        public_url: of the pages; empty: without links to them.
        version: tmon's.
    """

    def __init__(
        self,
        station: str,
        sensors: Callable[[], list[Latest]] | None,
        public_url: str,
        version: str,
    ) -> None:
        self.is_on = sensors is not None
        self._node_id = f"tmon_{station}"
        self._own = f"{self._node_id}/"  # what comes from us never is a reading
        self._discovery = f"{PREFIX}/sensor/{self._node_id}/"
        self._sensors = sensors or list
        self._public_url = public_url
        self._version = version
        self._published: dict[str, str] = {}
        self._found: set[str] = set()  # sensors' ids in retained messages of ours
        self._entities: frozenset[str] = frozenset()
        self._echoes: set[str] = set()
        self._again = Event()
        self._wake = Event()
        self._stopped = False
        self._failed = False

    @property
    def will(self) -> tuple[str, str]:
        """What the broker publishes once we are gone: a topic and a message."""
        return f"{self._own}status", OFFLINE

    @property
    def filters(self) -> list[str]:
        """Topics to subscribe to: Home Assistant's start, and what we published before."""
        return [f"{PREFIX}/status", f"{self._discovery}+/config"]

    def take(self, topic: str, payload: bytes) -> bool:
        """Whether a message is about what we publish, and so has no reading for us."""
        if topic == f"{PREFIX}/status":
            if payload == ONLINE.encode():
                self.publish_again()
        elif topic.startswith(self._discovery):
            if payload:
                self._found.add(topic.removeprefix(self._discovery).removesuffix("/config"))
        elif not topic.startswith(self._own):
            return self._is_echo(topic)
        return True

    def _is_echo(self, topic: str) -> bool:
        """Whether statestream publishes an entity that is a sensor of ours."""
        start, _, rest = topic.removeprefix(f"{PREFIX}/").partition("/")
        entity = rest.partition("/")[0]
        is_known = entity in self._entities or (self.is_on and entity.startswith(ENTITY))
        if start != "sensor" or not topic.startswith(PREFIX) or not is_known:
            return False
        if entity not in self._echoes and len(self._echoes) < MOST_ECHOES:
            self._echoes.add(entity)
            log.warning("sensor.%s of Home Assistant is one of ours: not taken", entity)
        return True

    def publish_again(self) -> None:
        """Publish all once more: the broker or Home Assistant is new."""
        self._again.set()
        self._wake.set()

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    def run(self, publish: Callable[[str, str], bool]) -> None:
        """Publish what has changed, until ``stop``.

        ``publish`` retains a message on a topic; an empty one removes it. False: not now.
        """
        while not self._stopped:
            if self._again.is_set():
                self._again.clear()
                self._published.clear()
            if (sensors := self.know_own()) is not None:
                self._publish(sensors, publish)
            self._wake.wait(PUBLISH_S)
            self._wake.clear()
        if self.is_on:
            publish(*self.will)

    def know_own(self) -> list[Latest] | None:
        """Read the sensors, and what their entities are called; None if that can't be read now."""
        try:
            sensors = self._sensors()
        except (TmonError, OSError, sqlite3.Error) as error:
            if not self._failed:
                log.warning("Home Assistant gets nothing new, trying again: %s", error)
            self._failed = True
            return None
        self._failed = False
        self._entities = frozenset(name for one in sensors for name in _entity_ids(one))
        return sensors

    def _publish(self, sensors: list[Latest], publish: Callable[[str, str], bool]) -> None:
        """One round: what differs from what was published, and what isn't a sensor any more."""
        wanted = {self.will[0]: ONLINE} if self.is_on else {}
        for one in sensors:
            wanted[f"{self._own}{one.id}"] = self._state(one)
            wanted[f"{self._discovery}{one.id}/config"] = self._config(one)
        for found in self._found.copy():
            for topic in (f"{self._own}{found}", f"{self._discovery}{found}/config"):
                wanted.setdefault(topic, "")
        for topic in self._published:
            wanted.setdefault(topic, "")
        for topic, payload in wanted.items():
            if self._published.get(topic) != payload and publish(topic, payload):
                self._published[topic] = payload

    def _state(self, one: Latest) -> str:
        state: dict[str, Any] = {"value": one.value, "measured_at": iso(one.measured_ms)}
        if self._public_url:
            state["page"] = f"{self._page(one)}/{quote(one.name)}"
        return json.dumps({**state, "availability": OFFLINE if one.silent else ONLINE})

    def _config(self, one: Latest) -> str:
        """How Home Assistant shows a sensor."""
        topic = f"{self._own}{one.id}"
        device: dict[str, Any] = {
            "identifiers": [f"{self._node_id}_{one.node_uid}"],
            "name": one.node,
            "manufacturer": "tmon",
            "sw_version": self._version,
        }
        config: dict[str, Any] = {
            "name": one.name,
            "unique_id": f"{self._node_id}_{one.id}",
            "default_entity_id": f"sensor.{_entity_ids(one)[0]}",
            "state_topic": topic,
            "value_template": "{{ value_json.value }}",
            "json_attributes_topic": topic,
            "availability_mode": "all",
            "availability": [
                {"topic": self.will[0]},
                {"topic": topic, "value_template": "{{ value_json.availability }}"},
            ],
            "device": device,
            "origin": {"name": "tmon", "sw_version": self._version},
            **_classes(one),
        }
        if self._public_url:
            device["configuration_url"] = self._page(one)
        return json.dumps(config, ensure_ascii=False)

    def _page(self, one: Latest) -> str:
        return f"{self._public_url}/node/{quote(one.node)}"


def _entity_ids(one: Latest) -> tuple[str, str]:
    """The id of an entity: ours, and what Home Assistant makes of the names if it is older."""
    slug = "_".join(re.findall("[a-z0-9]+", f"{one.node} {one.name}".lower()))
    return ENTITY + slug, slug


def _classes(one: Latest) -> dict[str, str]:
    """Device class, state class and unit, of those that Home Assistant knows."""
    words = f"{one.quantity or ''} {one.name}".lower()
    known = CLASSES.get(one.unit or "", ())
    device_class = next((name for word, name in known if word in words), None)
    is_total = device_class == "energy" or one.name.endswith("_total")
    fields = {"state_class": "total_increasing" if is_total else "measurement"}
    if one.unit:
        fields["unit_of_measurement"] = one.unit
    if device_class and not (is_total and device_class not in ("energy", "precipitation")):
        fields["device_class"] = device_class
    return fields
