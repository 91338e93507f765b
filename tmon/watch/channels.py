"""The ways to tell somebody: each of the addresses of ``TMON_NOTIFY``, or sendmail."""

import hmac
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from tmon.core.errors import CannotServe, TmonError
from tmon.core.settings import Settings
from tmon.db.tokens import read_secret
from tmon.watch import mail
from tmon.watch.messages import Message

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
HASH_CHARACTERS = 32  # 128 bits


class InvalidChannels(TmonError):
    """Addresses of ``TMON_NOTIFY`` that nobody can be told by; one a line."""


class NoSecret(TmonError):
    """Without the station's secret, who was told what can't be kept."""


@dataclass(frozen=True)
class Channel:
    """One way to tell one somebody.

    ``name`` is what the database calls it, ``label`` what people are shown; neither gives
    its address away. ``deliver`` raises ``mail.Undelivered``, or whatever a plugin raises.
    """

    name: str
    label: str
    deliver: Callable[[Message], None]

    @property
    def scheme(self) -> str:
        return scheme_of(self.name)

    @property
    def hash(self) -> str:
        return self.name.partition(":")[2]


def scheme_of(name: str) -> str:
    """``mailto``, of a channel's name in the database."""
    return name.partition(":")[0]


def channels_of(settings: Settings, key: bytes) -> list[Channel]:
    """Every channel that the settings name, each once.

    Args:
        settings: with ``notify``, and ``mail_to`` where that is empty.
        key: the station's secret, for the names.

    Raises:
        InvalidChannels: an address can't be understood, or names nobody.
    """
    if not settings.notify:
        found = [_by_sendmail(settings.mail_to, key)]
    else:
        found, problems = [], []
        for place, url in enumerate(settings.notify, 1):
            try:
                found += _by_address(url, place, key)
            except ValueError as problem:
                problems.append(f"TMON_NOTIFY: address {place} ({_scheme(url)}) {problem}")
        if problems:
            raise InvalidChannels("\n".join(problems))
    return [*{channel.name: channel for channel in found}.values()]


def secret(settings: Settings) -> bytes:
    """The station's secret.

    Raises:
        NoSecret: its file can't be read, or holds none.
    """
    try:
        return read_secret(settings)
    except CannotServe as error:
        raise NoSecret(str(error)) from error
    except OSError as error:
        raise NoSecret(
            f"{settings.secret_file}: {error.strerror}; nobody can be told without it"
            " (`tmon serve` makes it, and a backup has it)"
        ) from error


def _by_sendmail(to: str, key: bytes) -> Channel:
    name = f"sendmail:{_hash(key, f'sendmail:{to}')}"
    return Channel(name, f"sendmail ({to})", partial(mail.by_sendmail, to))


def _by_address(url: str, place: int, key: bytes) -> Iterator[Channel]:
    """A mail's recipients are a channel each: what one has got, another may still lack."""
    from tmon.watch import apprise_channel as apprised  # noqa: PLC0415 - apprise takes a quarter of a second

    plugin = apprised.plugin_of(url)
    scheme = _scheme(url)
    label = f"{scheme} (address {place} of TMON_NOTIFY)"
    if isinstance(plugin, apprised.NotifyEmail):
        for server, recipient in apprised.recipients(plugin):
            name = f"{scheme}:{_hash(key, f'{url} {recipient}')}"
            yield Channel(name, label, partial(mail.by_smtp, server, recipient))
    else:
        name = f"{scheme}:{_hash(key, url)}"
        yield Channel(name, label, partial(apprised.notify, plugin))


def _scheme(url: str) -> str:
    found = _SCHEME.match(url)
    return found[1].lower() if found else "no scheme"


def _hash(key: bytes, text: str) -> str:
    return hmac.digest(key, f"tmon.channel {text}".encode(), "sha256").hex()[:HASH_CHARACTERS]
