"""Everybody else, by apprise: chats, pushes, webhooks. Imported where it is needed only."""

import logging
import re
from collections.abc import Iterator
from email.headerregistry import Address
from typing import Any

import apprise
from apprise.plugins.email import NotifyEmail as NotifyEmail

from tmon.watch.mail import Server, Undelivered
from tmon.watch.messages import Message

MOST_BYTES = 3_500  # ntfy makes a file of more than 4,096
ROOM_FOR_ID = 500  # characters; no id in what is shorter, such as an SMS

# What chats take for markup, or for somebody to be called: as their likes.
HARMLESS = str.maketrans(
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
    image_url_mask="",  # chats would fetch a picture from elsewhere
    default_service_retry=0,
    async_mode=False,
)

# Plugins log what they were asked to reach, secrets and all: each result has its own
# lines, of which we repeat no more than a number.
_log = logging.getLogger("apprise")
_log.addHandler(logging.NullHandler())
_log.propagate = False
_log.setLevel(logging.DEBUG)  # which is where a failed connection says how

_STATUS = re.compile(r"\berror=(\d{3})\b")
_NOT_REACHED = re.compile(r"NewConnectionError|NameResolutionError|ConnectTimeout|SSLError")
_FROM_BEHIND_A_PROXY = (502, 504)  # may have come through all the same


def plugin_of(url: str) -> Any:
    """The plugin for an address.

    Raises:
        ValueError: there is none, or the address lacks something, or names nobody.
    """
    plugin = apprise.Apprise.instantiate(url, asset=ASSET)
    if plugin is None:
        raise ValueError(
            "can't be understood; github.com/caronc/apprise/wiki tells how it is written"
        )
    nobody = isinstance(plugin, NotifyEmail) and not plugin.targets
    if nobody or getattr(plugin, "topics", None) == []:  # ntfy's
        raise ValueError("names nobody who could be told")
    if getattr(plugin, "pgp_mode", "no") not in ("no", "none"):
        raise ValueError("asks for PGP, which tmon can't do")
    return plugin


def recipients(plugin: Any) -> Iterator[tuple[Server, Address]]:
    """What a ``mailto://`` address says, as apprise has it; our mail has its own Message-ID.

    apprise's has one made anew each time, and a second where one is given to it.
    """
    name, spec = plugin.from_addr
    server = Server(
        plugin.smtp_host,
        plugin.port,
        plugin.secure_mode,
        plugin.user,
        plugin.password,
        plugin.verify_certificate,
        Address(name or ASSET.app_id, addr_spec=spec),
        {**_replies(plugin), **plugin.headers},
    )
    copies = [(False, spec) for spec in sorted(plugin.cc | plugin.bcc)]
    for own_name, spec in [*plugin.targets, *copies]:
        yield server, Address(own_name or "", addr_spec=spec)


def _replies(plugin: Any) -> dict[str, str]:
    return {"Reply-To": ", ".join(sorted(plugin.reply_to))} if plugin.reply_to else {}


def notify(plugin: Any, message: Message) -> None:
    """Tell by a plugin that isn't mail.

    Raises:
        Undelivered: it didn't arrive, or not at all of those the address names.
    """
    ways = apprise.Apprise(asset=ASSET)
    ways.add(plugin)
    title, body = _shown(plugin, message)
    result = ways.notify(
        body=body,
        title=title,
        notify_type=TYPES[message.severity],
        body_format=apprise.NotifyFormat.TEXT,
        log_level=logging.DEBUG,
    )
    if not result:
        logged = "\n".join(entry.message for one in result.results for entry in one.logs())
        raise _why(logged, alone=len(plugin) == 1)


def _shown(plugin: Any, message: Message) -> tuple[str, str]:
    """Title and body, no longer than there is room for; a webhook has the id in a header."""
    if "headers" in plugin.template_kwargs:
        plugin.headers["Message-ID"] = message.id
        return message.subject, message.text(min(plugin.body_maxlen, MOST_BYTES))
    title = message.subject.translate(HARMLESS)
    tail = (
        f"\n\n{message.id.partition('@')[0].strip('<')}"
        if plugin.body_maxlen >= ROOM_FOR_ID
        else ""
    )
    within = 0 if plugin.title_maxlen else len(title) + 10  # a title in the body, and its markup
    room = min(plugin.body_maxlen, MOST_BYTES) - len(tail) - within
    return title, (message.text(max(0, room)) + tail).translate(HARMLESS)


def _why(logged: str, *, alone: bool) -> Undelivered:
    """What a plugin's log says of the failure; ``alone``: nobody else was told by it."""
    answered = _STATUS.search(logged)
    if answered:
        status = int(answered[1])
        perhaps = not alone or status in _FROM_BEHIND_A_PROXY
        return Undelivered(f"the answer was {status}", perhaps=perhaps)
    reached = not _NOT_REACHED.search(logged)
    return Undelivered(
        "no answer came" if reached else "no connection", perhaps=reached or not alone
    )
