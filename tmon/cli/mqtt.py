"""`tmon mqtt`: readings from an MQTT broker, and the newest ones to Home Assistant."""

import signal
from contextlib import closing
from functools import partial
from importlib.metadata import version

import click

from tmon.cli.opening import refuse_in_cluster
from tmon.cli.options import station, takes, takes_station
from tmon.core.errors import CannotServe
from tmon.core.settings import Settings, local_url
from tmon.db import keys
from tmon.db.devices import Devices, path_beside
from tmon.db.tokens import load_or_create_secret, open_station
from tmon.maintenance.devices import set_quantities
from tmon.mqtt.home_assistant import HomeAssistant, Latest
from tmon.mqtt.latest import read_latest
from tmon.mqtt.messages import HOME_ASSISTANT
from tmon.mqtt.quantities import QuantityNotes

GATEWAY = "mqtt"  # whose devices are those of the broker


@click.command()
@takes_station
@takes("host", "port", "ingest_url", "public_url", "mqtt_url", "mqtt_topics", "mqtt_discovery")
@takes("log_level", "log_format")
def mqtt(**flags: str | None) -> None:
    """Take readings from an MQTT broker, such as mosquitto, and hand them to ingest.

    It understands Zigbee2MQTT, Tasmota, ESPHome, Shelly, OpenMQTTGateway, rtl_433, Ruuvi Gateway,
    Home Assistant's statestream, tmon/NODE/SENSOR with a number, and what TMON_MQTT_TOPICS says.
    Devices wait until `tmon device adopt` makes nodes of them. With TMON_MQTT_DISCOVERY=yes all
    sensors appear in Home Assistant.

    \b
    Examples:
      TMON_MQTT_URL=mqtt://tmon:secret@localhost tmon mqtt
      tmon mqtt --mqtt-url mqtts://broker.example.org --mqtt-topics topics.yml
    """
    settings = station(flags)
    refuse_in_cluster(settings, "mqtt")
    if not settings.mqtt_url:
        raise CannotServe("TMON_MQTT_URL is not set: the broker, like mqtt://user:password@host")
    from tmon.mqtt.bridge import Bridge  # noqa: PLC0415 - only this command needs its libraries
    from tmon.mqtt.owner_topics import load  # noqa: PLC0415

    topics = load(settings.mqtt_topics) if settings.mqtt_topics else []
    with open_station(settings) as db:
        key = keys.get_or_create_of_gateway(db, GATEWAY, names_nodes=False, adopts_all=False)
        text = keys.Keys(load_or_create_secret(settings)).make(key)
    url = settings.ingest_url or local_url(settings.host, settings.port)
    sensors = partial(_sensors, settings) if settings.mqtt_discovery else None
    home_assistant = HomeAssistant(key.id, sensors, settings.public_url, version("tmon"))
    bridge = Bridge(
        settings.mqtt_url,
        f"tmon-{key.id}",
        f"{url}/k/{text}/readings",
        topics,
        QuantityNotes(partial(set_quantities, settings)),
        home_assistant,
    )
    signal.signal(signal.SIGTERM, lambda *_: bridge.stop())
    signal.signal(signal.SIGINT, lambda *_: bridge.stop())
    bridge.run()


def _sensors(settings: Settings) -> list[Latest]:
    """The newest readings, but for those that come from Home Assistant itself."""
    path, known = path_beside(settings.db), None
    if path.exists():
        with closing(Devices(path)) as devices:
            known = devices.known(HOME_ASSISTANT)
    return read_latest(settings.db, known.node_uid if known else None)
