"""Notification channels: the addresses of ``TMON_NOTIFY``, or else sendmail."""

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tmon.core.errors import CannotServe, TmonError
from tmon.core.settings import Settings
from tmon.db.tokens import read_secret
from tmon.watch import sendmail
from tmon.watch.messages import Sendable

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
HASH_CHARACTERS = 32  # 128 bits


class InvalidChannels(TmonError):
    """Addresses of ``TMON_NOTIFY`` that can't be used; one a line."""


class NoSecret(TmonError):
    """The secret can't be read, so the channels' names in the database are unknown."""


@dataclass(frozen=True)
class Channel:
    """One way to reach one recipient.

    ``name`` is its name in the database, ``label`` the one that is shown; neither contains
    the address. ``send`` raises ``Undelivered``, or whatever a plugin raises.
    """

    name: str  # scheme:hash
    label: str
    send: Callable[[Sendable], None]


def load_channels(settings: Settings, key: bytes) -> list[Channel]:
    """The channels of the settings, without duplicates.

    Args:
        settings: with ``notify``, or ``mail_to`` if that is empty.
        key: the station's secret; it makes the channels' names.

    Raises:
        InvalidChannels: an address can't be understood, or has no recipient.
    """
    if not settings.notify:
        to = settings.mail_to
        name = _name(key, "sendmail", f"sendmail:{to}")
        return [Channel(name, f"sendmail ({to})", partial(sendmail.send, to))]

    from tmon.watch import apprise_channel  # noqa: PLC0415 - apprise takes a quarter of a second

    channels: dict[str, Channel] = {}
    problems = []
    for position, url in enumerate(settings.notify, 1):
        found = _SCHEME.match(url)
        scheme = found[1].lower() if found else "no scheme"
        label = f"{scheme} (address {position} of TMON_NOTIFY)"
        try:
            for recipient, plugin in apprise_channel.load_plugins(url):
                name = _name(key, scheme, recipient)
                channels[name] = Channel(name, label, partial(apprise_channel.send, plugin))
        except ValueError as problem:
            problems.append(f"TMON_NOTIFY: address {position} ({scheme}) {problem}")
    if problems:
        raise InvalidChannels("\n".join(problems))
    return [*channels.values()]


def load_secret(settings: Settings) -> bytes:
    """The station's secret.

    Raises:
        NoSecret: its file can't be read, or is empty.
    """
    try:
        return read_secret(settings)
    except CannotServe as error:
        raise NoSecret(str(error)) from error
    except OSError as error:
        raise NoSecret(
            f"{settings.secret_file}: {error.strerror}; no notification can be sent without it"
            " (`tmon serve` makes it, and a backup has it)"
        ) from error


def _name(key: bytes, scheme: str, recipient: str) -> str:
    """A channel's name: anybody may read the database, and a plain hash could be guessed."""
    digest = hmac.digest(key, f"tmon.channel {recipient}".encode(), "sha256").hex()
    return f"{scheme}:{digest[:HASH_CHARACTERS]}"
