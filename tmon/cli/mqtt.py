"""`tmon mqtt`: readings from an MQTT broker."""

import signal

import click

from tmon.cli.options import station, takes, takes_station
from tmon.core.errors import CannotServe
from tmon.core.settings import local_url
from tmon.db import keys
from tmon.db.tokens import load_or_create_secret, open_station

GATEWAY = "mqtt"  # whose devices are those of the broker


@click.command()
@takes_station
@takes("host", "port", "ingest_url", "mqtt_url", "log_level", "log_format")
def mqtt(**flags: str | None) -> None:
    """Take readings from an MQTT broker, such as mosquitto, and hand them to ingest.

    It understands Zigbee2MQTT, Tasmota, ESPHome, Shelly, OpenMQTTGateway, rtl_433, Home
    Assistant's statestream, and tmon/NODE/SENSOR with a number. Devices wait until
    `tmon device adopt` makes nodes of them.

    \b
    Examples:
      TMON_MQTT_URL=mqtt://tmon:secret@localhost tmon mqtt
      tmon mqtt --mqtt-url mqtts://broker.example.org
    """
    settings = station(flags)
    if not settings.mqtt_url:
        raise CannotServe("TMON_MQTT_URL is not set: the broker, like mqtt://user:password@host")
    from tmon.mqtt.bridge import Bridge  # noqa: PLC0415 - only this command needs its libraries

    with open_station(settings) as db:
        key = keys.get_or_create_of_gateway(db, GATEWAY, names_nodes=False, adopts_all=False)
        text = keys.Keys(load_or_create_secret(settings)).make(key)
    url = settings.ingest_url or local_url(settings.host, settings.port)
    bridge = Bridge(settings.mqtt_url, url, text)
    signal.signal(signal.SIGTERM, lambda *_: bridge.stop())
    signal.signal(signal.SIGINT, lambda *_: bridge.stop())
    bridge.run()
