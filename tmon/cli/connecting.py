"""What to type into a device so that it sends here: `tmon key get NODE --for DEVICE`."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from textwrap import dedent
from urllib.parse import urlsplit

from tmon.core.settings import LOOPBACK, Settings

# {url}: ingest's address; {host}, {port} and {path}: its parts; {key}: the node's key.
INSTRUCTIONS: Mapping[str, str] = {
    "ecowitt": """
        In the console's app: Weather Services, Customized. Protocol Type: Ecowitt
          Server IP / Hostname  {host}
          Path                  {path}/k/{key}/data/report/
          Port                  {port}
          Upload Interval       60
    """,
    "ambient": """
        In the awnet app: Customized. Protocol Type: Same as Ambient Weather
          Server IP / Hostname  {host}
          Path                  {path}/k/{key}/data/report/?
          Port                  {port}
          Upload Interval       60
    """,
    "weather-underground": """
        In the console's app: Weather Services, Customized. Protocol Type: Wunderground
          Server IP / Hostname  {host}
          Path                  {path}/weatherstation/updateweatherstation.php?
          Port                  {port}
          Station ID            any
          Station Key           {key}
    """,
    "weewx": """
        In weewx.conf:
          [StdRESTful]
              [[Wunderground]]
                  enable = true
                  station = any
                  password = {key}
                  server_url = {url}/weatherstation/updateweatherstation.php
    """,
    "airrohr": """
        On the box's page, More settings, Send data to own API:
          Server  {host}
          Path    {path}/k/{key}/airrohr
          Port    {port}
    """,
    "shelly": """
        In the device's page, Actions (webhooks): one for each value, with the address
          {url}/k/{key}?temperature=${{ev.tC}}
          {url}/k/{key}?humidity=${{ev.rh}}
        A first-generation H&T, set to °C: I/O URL Actions, Report sensor values, with the address
          {url}/k/{key}
    """,
    "tasmota": """
        In the device's console, where the firmware has InfluxDB:
          Backlog IfxHost {host}; IfxPort {port}; IfxDatabase tmon; IfxUser tmon
          IfxPassword {key}
          Ifx 1
        In any other, one rule for each value (a plug's power: tele-ENERGY#Power), on one line:
          Rule1 ON tele-DS18B20#Temperature DO \
WebSend [{host}:{port}] {path}/k/{key}?temperature=%value% ENDON
          Rule1 1
    """,
    "influxdb": """
        In whatever writes to InfluxDB version 2:
          URL           {url}
          token         {key}
          organization  tmon
          bucket        tmon
        version 1: the same URL, database tmon, any user, the key as password
    """,
    "telegraf": """
        In telegraf.conf:
          [[outputs.influxdb_v2]]
            urls = ["{url}"]
            token = "{key}"
            organization = "tmon"
            bucket = "tmon"
    """,
    "collectd": """
        In collectd.conf:
          LoadPlugin write_http
          <Plugin write_http>
            <Node "tmon">
              URL "{url}/k/{key}/collectd"
              Format "JSON"
            </Node>
          </Plugin>
    """,
    "home-assistant": """
        In configuration.yaml:
          influxdb:
            api_version: 2
            ssl: {ssl}
            host: {host}
            port: {port}
            path: {path}/
            token: {key}
            organization: tmon
            bucket: tmon
            include:
              domains: [sensor]
    """,
    "esphome": """
        In the device's YAML, with the component http_request:
          on_value:
            - http_request.post:
                url: {url}/k/{key}
                json:
                  temperature: !lambda 'return to_string(x);'
    """,
    "thingspeak": """
        With a library that can be told the server's name and port:
          server         {host}
          port           {port}
          write API key  {key}
    """,
    "emonhub": """
        In emonhub.conf, [interfacers]:
          [[tmon]]
              Type = EmonHubEmoncmsHTTPInterfacer
              [[[runtimesettings]]]
                  pubchannels = ToRFM12,
                  subchannels = ToEmonCMS,
                  url = {url}
                  apikey = {key}
    """,
    "enviro": """
        In the board's provisioning page, destination Custom HTTP:
          URL  {url}/k/{key}/
    """,
    "ispindel": """
        In the device's page, service HTTP:
          Server  {host}
          Port    {port}
          URI     {path}/k/{key}/
    """,
    "ai-on-the-edge": """
        In the device's configuration, Webhook:
          Uri     {url}/k/{key}/
          ApiKey  {key}
    """,
    "the-things-stack": """
        In the console, Integrations, Webhooks, Custom webhook; Webhook format: JSON
          Base URL        {url}/k/{key}
          Uplink message  /up
    """,
    "ruuvi": """
        In the gateway's page, Cloud options, Custom server, HTTP(S):
          URL             {url}/k/{key}/ruuvi
          Authentication  none
    """,
    "chirpstack": """
        In the application, Integrations, HTTP; Payload encoding: JSON
          Event endpoint URL  {url}/k/{key}
    """,
    "airgradient": """
        The device sends to its maker only, so it is asked. On a machine that is always on, in
        its network, one line more in `crontab -e`, with the number on the device's back:
          * * * * * curl -sf http://airgradient_NUMBER.local/measures/current | \
curl -sd @- {url}/k/{key}
    """,
    "node-red": """
        A function node, and behind it an http request node with the method POST:
          msg.url = "{url}/k/{key}";
          msg.headers = {{"content-type": "application/json"}};
          msg.payload = {{temperature: msg.payload}};
          return msg;
    """,
    "curl": """
        curl -d temperature=21.5 -d humidity=40 {url}/k/{key}
        a browser's address line does as well: {url}/k/{key}?temperature=21.5
    """,
}

# Addresses that nobody has (RFC 5737, RFC 3849), by where ingest listens.
_ELSEWHERE = {
    "0.0.0.0": (socket.AF_INET, "192.0.2.1"),  # noqa: S104 - compared, not bound
    "::": (socket.AF_INET6, "2001:db8::1"),
}

# These speak plain HTTP only.
WITHOUT_TLS = frozenset(("ecowitt", "ambient", "airrohr", "tasmota", "thingspeak", "ispindel"))

# These send for many devices, each with its id: a gateway's key suits them too.
OF_GATEWAYS = frozenset(
    ("the-things-stack", "chirpstack", "ruuvi", "influxdb", "telegraf", "collectd")
)


def instructions(device: str, settings: Settings, key: str) -> str:
    """What to type into a device, for this station and this key."""
    host = _host(settings)
    host = f"[{host}]" if ":" in host else host
    url = settings.ingest_url or f"http://{host}:{settings.port}"
    parts = urlsplit(url)
    filled = INSTRUCTIONS[device].format(
        url=url,
        host=parts.hostname,
        port=parts.port or (443 if parts.scheme == "https" else 80),
        path=parts.path,
        ssl=str(parts.scheme == "https").lower(),
        key=key,
    )
    return dedent(filled).strip()


def needs_plain_http(device: str, settings: Settings) -> bool:
    """Whether a device can't reach the station's address, which has TLS."""
    return device in WITHOUT_TLS and settings.ingest_url.startswith("https:")


def is_local(settings: Settings) -> bool:
    """Whether only this machine reaches ingest, as far as the settings tell."""
    return not settings.ingest_url and settings.host not in LOOPBACK and _is_loopback(settings.host)


def _is_loopback(host: str) -> bool:
    return host in {*LOOPBACK.values(), "localhost"} or host.startswith("127.")


def is_guessed(settings: Settings) -> bool:
    """Whether the address is this machine's own in its network, which may change."""
    return not settings.ingest_url and settings.host in LOOPBACK


def _host(settings: Settings) -> str:
    """Where ingest listens; if that is everywhere, this machine's address in its network."""
    if settings.host not in LOOPBACK:
        return settings.host
    family, elsewhere = _ELSEWHERE[settings.host]
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((elsewhere, 9))  # nothing is sent: it finds the way out
        return str(sock.getsockname()[0])
    return socket.gethostname()
