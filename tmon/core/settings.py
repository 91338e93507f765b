"""Settings, from flags and TMON_* variables."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# An address to listen at, and the one at which this machine reaches it.
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
LEAST_SECRET_BYTES = 16  # ours has 64
LOG_LEVELS = ("debug", "info", "warning", "error")


class InvalidSettings(Exception):
    """All problems of the settings, one on each line, with its variable and flag."""


@dataclass(frozen=True)
class Setting:
    """One setting; it is read from the variable ``TMON_NAME`` or the flag ``--name``."""

    name: str
    default: str
    help: str
    parse: Callable[[str], Any]
    is_secret: bool = False  # or may hold one, so that it is never shown

    @property
    def variable(self) -> str:
        return f"TMON_{self.name.upper()}"

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"


def _database(text: str) -> Path:
    path = Path(text)
    if not path.name or text.startswith(":"):
        raise ValueError("must name a file")
    return path


def _optional_path(text: str) -> Path | None:
    return Path(text) if text else None


def _secret(text: str) -> bytes | None:
    if text and len(text.strip().encode()) < LEAST_SECRET_BYTES:
        raise ValueError(f"must have at least {LEAST_SECRET_BYTES} bytes: less can be guessed")
    return text.encode() or None


def _host(text: str) -> str:
    if not text or any(c.isspace() or c == "/" for c in text):
        raise ValueError("must be an address or a host's name, like 127.0.0.1 or 0.0.0.0")
    return text


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise ValueError("must be a port, 1 to 65535 (0: any free one)")
    return int(text)


def _url(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query):
        raise ValueError("must be an address like https://tmon.example.org")
    return text.rstrip("/")


def _stream(text: str) -> tuple[str, ...]:
    servers = []
    for number, server in enumerate(given := text.replace(",", " ").split(), 1):
        try:
            servers.append(_server(server))
        except ValueError:  # its own texts may have the password
            which = f": number {number} isn't" if len(given) > 1 else ""
            must = f"must be the NATS servers, like nats://a:4222,nats://b:4222{which}"
            raise ValueError(must) from None
    return tuple(servers)


def _server(text: str) -> str:
    parts = urlsplit(text)
    host = (parts.hostname or "").encode("idna")  # no part may be empty, or over 63 letters
    if (
        parts.scheme not in ("nats", "tls")
        or not host
        or parts.port == 0
        or any((parts.path.strip("/"), parts.query, parts.fragment))
    ):
        raise ValueError
    return f"{parts.scheme}://{parts.netloc}"


def _tiles(text: str) -> str:
    parts = urlsplit(text)
    if text and not (
        parts.scheme in ("http", "https")
        and re.fullmatch(r"[\w.-]+(:\d+)?", parts.netloc, re.ASCII)
        and sorted(re.findall(r"{[^{}]*}?|}", text)) == ["{x}", "{y}", "{z}"]
    ):
        raise ValueError("must be an address with {z}, {x} and {y} once each")
    return text


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return parse


def _yes_or_no(text: str) -> bool:
    return _one_of("yes", "no")(text) == "yes"


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError("must be a whole number, like 1000")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if rate and not 0.001 <= rate < float("inf"):
        raise ValueError("must be a number of readings a second, or 0 for no limit")
    return rate


SETTINGS = (
    Setting("db", "tmon.db", "the database file", _database),
    Setting("secret", "", "the secret itself, in place of a file", _secret, is_secret=True),
    Setting(
        "secret_file", "", "the tokens' secret in a file [default: <db>.secret]", _optional_path
    ),
    Setting(
        "begin_anew",
        "no",
        "yes: make a new database or secret where the old one is missing",
        _yes_or_no,
    ),
    Setting("host", "127.0.0.1", "where ingest listens; 0.0.0.0 for all of the network", _host),
    Setting("port", "13117", "ingest's port", _port),
    Setting("datasette_host", "127.0.0.1", "where Datasette listens", _host),
    Setting("datasette_port", "8001", "Datasette's port", _port),
    Setting("public_url", "", "Datasette's address as others see it, for links", _url),
    Setting("ingest_url", "", "ingest's address as nodes see it, such as behind a proxy", _url),
    Setting("mqtt_url", "", "the broker of `tmon mqtt`, with user and password", str),
    Setting("mqtt_topics", "", "the owner's own topics: a YAML file", _optional_path),
    Setting(
        "mqtt_discovery",
        "no",
        "yes: all sensors appear in Home Assistant, through that broker",
        _yes_or_no,
    ),
    Setting(
        "stream",
        "",
        "the NATS servers that keep readings for several machines",
        _stream,
        is_secret=True,
    ),
    Setting("stream_credentials", "", "a file with what those servers ask for", _optional_path),
    Setting("stream_ca", "", "a certificate file to verify those servers with", _optional_path),
    Setting(
        "adopt_limit",
        "1000",
        "devices of one gateway that become nodes by themselves (--adopt-all, --node-from)",
        _count,
    ),
    Setting("rate", "0", "readings a second that a node may send; 0: no limit", _rate),
    Setting(
        "download_dir", "", "where `tmon backup --publish` puts files to offer", _optional_path
    ),
    Setting("map_tiles", "", "tiles below the map, like https://host/{z}/{x}/{y}.png", _tiles),
    Setting("map_credit", "", "whom the tiles' owner asks to name", str),
    Setting(
        "cors",
        "yes",
        "whether other sites' scripts may read what is published",
        _one_of("yes", "no"),
    ),
    Setting("log_level", "warning", "debug, info, warning or error", _one_of(*LOG_LEVELS)),
    Setting("log_format", "text", "text, or json for programs", _one_of("text", "json")),
    Setting(
        "notify",
        "",
        "whom to tell: apprise URLs, with spaces between them",
        lambda text: tuple(text.split()),
    ),
    Setting("mail_to", "root", "whom the machine's own sendmail tells, without those", str),
    Setting(
        "ping_url",
        "",
        "a Healthchecks-style address to ping at each check",
        _url,
        is_secret=True,
    ),
)

ALERTING = ("notify", "mail_to", "ping_url")
BRIDGED = ("mqtt_url", "mqtt_topics", "mqtt_discovery")
SERVED = tuple(setting.name for setting in SETTINGS if setting.name not in (*ALERTING, *BRIDGED))


@dataclass(frozen=True)
class Settings:
    """The settings of a station."""

    db: Path
    secret: bytes | None
    secret_file: Path
    host: str
    port: int
    datasette_host: str
    datasette_port: int
    public_url: str
    ingest_url: str
    rate: float
    download_dir: Path | None
    log_level: str
    log_format: str
    notify: tuple[str, ...]
    mail_to: str
    ping_url: str
    begin_anew: bool = False
    mqtt_url: str = ""
    mqtt_topics: Path | None = None
    mqtt_discovery: bool = False
    adopt_limit: int = 1000
    stream: tuple[str, ...] = ()
    stream_credentials: Path | None = None
    stream_ca: Path | None = None
    cors: str = "yes"
    map_tiles: str = ""
    map_credit: str = ""

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the TMON_* variables, or their defaults.

        Raises:
            InvalidSettings: with every problem.
        """
        values: dict[str, Any] = {}
        problems = []
        for setting in SETTINGS:
            text = environ.get(setting.variable, setting.default)
            try:
                values[setting.name] = setting.parse(text)
            except ValueError as problem:
                shown = "it" if setting.is_secret else repr(text)
                problems.append(f"{setting.variable} ({setting.flag}): {shown} {problem}")
        if problems:
            raise InvalidSettings("\n".join(problems))
        values["secret_file"] = values["secret_file"] or Path(f"{values['db']}.secret")
        return cls(**values)


def local_url(host: str, port: int) -> str:
    """The URL at which this machine reaches ``host``; empty for port 0, which isn't known yet."""
    host = LOOPBACK.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}" if port else ""
