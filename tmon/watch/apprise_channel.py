"""Channels by apprise: chats, pushes, webhooks. Import it only where one is used."""

import logging
import re
from collections.abc import Iterator
from email.headerregistry import Address
from typing import Any

import apprise
from apprise.plugins.email import NotifyEmail as NotifyEmail

from tmon.watch.mail import Server, Undelivered
from tmon.watch.messages import Message

MOST_BYTES = 3_500  # ntfy turns a message of more than 4,096 into a file
ID_FITS_FROM = 500  # characters that a channel takes; one with less, such as SMS, gets no id

# Characters that chats read as markup or as a mention, and lookalikes that they don't.
LOOKALIKES = str.maketrans(
    {
        "<": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
        ">": "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
        "@": "\N{FULLWIDTH COMMERCIAL AT}",
        "[": "\N{FULLWIDTH LEFT SQUARE BRACKET}",
        "]": "\N{FULLWIDTH RIGHT SQUARE BRACKET}",
        "`": "'",
    }
)
TYPES = {
    "critical": apprise.NotifyType.FAILURE,
    "warning": apprise.NotifyType.WARNING,
    "over": apprise.NotifyType.SUCCESS,
}
ASSET = apprise.AppriseAsset(
    app_id="tmon",
    app_desc="tmon",
    app_url="",
    image_url_mask="",  # chats would fetch a picture from another site
    default_service_retry=0,
    async_mode=False,
)

# Plugins log whole requests with their secrets. So nothing of it is written: we search the
# lines that apprise keeps with each result for a status or a connection error.
_log = logging.getLogger("apprise")
_log.addHandler(logging.NullHandler())
_log.propagate = False
_log.setLevel(logging.DEBUG)  # the level at which a failed connection is logged

_STATUS = re.compile(r"\berror=(\d{3})\b")
_NOT_REACHED = re.compile(r"NewConnectionError|NameResolutionError|ConnectTimeout|SSLError")
_FROM_A_PROXY = (502, 504)  # the server behind it may have got the message


def load_plugin(url: str) -> Any:
    """The apprise plugin for an address.

    Raises:
        ValueError: no plugin takes it, something is missing, or it has no recipient.
    """
    plugin = apprise.Apprise.instantiate(url, asset=ASSET)
    if plugin is None:
        raise ValueError("can't be understood; see github.com/caronc/apprise/wiki")
    no_recipient = isinstance(plugin, NotifyEmail) and not plugin.targets
    if no_recipient or getattr(plugin, "topics", None) == []:  # ntfy's
        raise ValueError("has no recipient")
    if getattr(plugin, "pgp_mode", "no") not in ("no", "none"):
        raise ValueError("asks for PGP, which tmon can't do")
    return plugin


def recipients(plugin: Any) -> Iterator[tuple[Server, Address]]:
    """The server and each recipient of a ``mailto://`` address.

    Mails are sent by ``mail.py``: apprise makes a new Message-ID each time, and adds a
    second one if it is given one.
    """
    name, spec = plugin.from_addr
    reply_to = {"Reply-To": ", ".join(sorted(plugin.reply_to))} if plugin.reply_to else {}
    server = Server(
        plugin.smtp_host,
        plugin.port,
        plugin.secure_mode,
        plugin.user,
        plugin.password,
        plugin.verify_certificate,
        Address(name or ASSET.app_id, addr_spec=spec),
        {**reply_to, **plugin.headers},
    )
    copies = [(False, spec) for spec in sorted(plugin.cc | plugin.bcc)]
    for display_name, spec in [*plugin.targets, *copies]:
        yield server, Address(display_name or "", addr_spec=spec)


def send(plugin: Any, message: Message) -> None:
    """Send a message by a plugin, except mail.

    Raises:
        Undelivered: it didn't arrive at all the recipients of the address.
    """
    sender = apprise.Apprise(asset=ASSET)
    sender.add(plugin)
    title, body = _title_and_body(plugin, message)
    result = sender.notify(
        body=body,
        title=title,
        notify_type=TYPES[message.severity],
        body_format=apprise.NotifyFormat.TEXT,
        log_level=logging.DEBUG,
    )
    if result:
        return
    logged = "\n".join(entry.message for one in result.results for entry in one.logs())
    others = len(plugin) != 1  # recipients of the same address, who may have got it
    answered = _STATUS.search(logged)
    if answered:
        status = int(answered[1])
        maybe = others or status in _FROM_A_PROXY
        raise Undelivered(f"the answer was {status}", maybe_delivered=maybe)
    if _NOT_REACHED.search(logged):
        raise Undelivered("no connection", maybe_delivered=others)
    raise Undelivered("no answer came", maybe_delivered=True)


def _title_and_body(plugin: Any, message: Message) -> tuple[str, str]:
    """Text that fits the channel. A webhook has the id as a header, others as the last line."""
    most_bytes = min(plugin.body_maxlen, MOST_BYTES)
    if "headers" in plugin.template_kwargs:
        plugin.headers["Message-ID"] = message.id
        return message.subject, message.text(most_bytes)
    title = message.subject.translate(LOOKALIKES)
    id_line = ""
    if plugin.body_maxlen >= ID_FITS_FROM:
        id_line = f"\n\n{message.id.partition('@')[0].strip('<')}"
    # Without a title of its own, a channel has it in the body, with markup.
    title_bytes = 0 if plugin.title_maxlen else len(title) + 10
    text = message.text(max(0, most_bytes - len(id_line) - title_bytes))
    return title, (text + id_line).translate(LOOKALIKES)
