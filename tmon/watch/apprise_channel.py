"""Channels by apprise: mail, chats, pushes, webhooks. Import it only if one is used."""

import copy
import logging
import re
from collections.abc import Iterator
from email.headerregistry import Address
from typing import Any

import apprise
from apprise.attachment.memory import AttachMemory
from apprise.plugins.email import NotifyEmail

from tmon.watch.messages import MAIL_BYTES, Sendable, Undelivered, html_of

MOST_BYTES = 3_500  # ntfy turns a message of more than 4,096 into a file

# Characters that chats read as markup or as a mention, and lookalikes that they don't.
LOOKALIKES = str.maketrans("<>@[]`", "\u2039\u203a\uff20\uff3b\uff3d'")  # guillemets, fullwidth
TYPES = {
    "critical": apprise.NotifyType.FAILURE,
    "warning": apprise.NotifyType.WARNING,
    "over": apprise.NotifyType.SUCCESS,
    "report": apprise.NotifyType.INFO,
}
ASSET = apprise.AppriseAsset(
    app_id="tmon",
    app_desc="tmon",
    app_url="",
    image_url_mask="",  # chats would fetch a picture from another site
    default_service_retry=0,
    async_mode=False,
)

# Plugins log whole requests with their secrets, so the log is not written. It is only searched
# for the reason of a failure; the first pattern that matches decides.
_log = logging.getLogger("apprise")
_log.addHandler(logging.NullHandler())
_log.propagate = False
_log.setLevel(logging.DEBUG)  # the level at which a failed connection is logged

_NO_SESSION = "no session with the mail server"
_REASONS = {
    r"\berror=(\d{3})\b": "the answer was {}",
    r"NewConnectionError|NameResolutionError|ConnectTimeout|SSLError": "no connection",
    r"Socket Exception: \((53\d), b": "the server refused user or password ({})",
    r"Socket Exception: \{.*: \((\d{3}), b": "the server refused the recipient ({})",
    r"Socket Exception: \((\d{3}), b": "the server refused the mail ({})",
    r"CERTIFICATE_VERIFY_FAILED": f"{_NO_SESSION} (its certificate isn't trusted)",
    r"Connection error while submitting.*\n.*\[Errno -?\d+\] (\w[\w ]+)": f"{_NO_SESSION} ({{}})",
    r"Connection error while submitting": _NO_SESSION,
    r"Sending email to ": "the server did not confirm the mail",
}


def load_plugins(url: str) -> Iterator[tuple[str, Any]]:
    """The plugin for an address; for mail, one for each recipient, as each may fail alone.

    Returns:
        A text that identifies address and recipient, and the plugin.

    Raises:
        ValueError: no plugin takes it, something is missing, or it has no recipient.
    """
    plugin: Any = apprise.Apprise.instantiate(url, asset=ASSET)
    if plugin is None:
        raise ValueError("can't be understood; see github.com/caronc/apprise/wiki")
    is_mail = isinstance(plugin, NotifyEmail)
    if (is_mail and not plugin.targets) or getattr(plugin, "topics", None) == []:  # ntfy's
        raise ValueError("has no recipient")
    if getattr(plugin, "pgp_mode", "no") not in ("no", "none"):
        raise ValueError("asks for PGP, which tmon can't do")
    if not is_mail:
        yield url, plugin
        return
    plugin.headers.setdefault("Auto-Submitted", "auto-generated")  # RFC 3834: no automatic replies
    copies = [(False, address) for address in sorted(plugin.cc | plugin.bcc)]
    for name, address in [*plugin.targets, *copies]:
        one = copy.copy(plugin)
        one.targets, one.cc, one.bcc = [(name, address)], set(), set()
        yield f"{url} {Address(name or '', addr_spec=address)}", one


def send(plugin: Any, message: Sendable) -> None:
    """Send a message by a plugin.

    Raises:
        Undelivered: not all recipients of the address have got it.
    """
    title = message.subject
    limit = MAIL_BYTES if isinstance(plugin, NotifyEmail) else MOST_BYTES
    most_bytes = min(plugin.body_maxlen, limit)
    if not plugin.title_maxlen:
        most_bytes -= len(title) + 10  # the body has the title too, with markup
    text, text_format = message.text(max(0, most_bytes)), apprise.NotifyFormat.TEXT
    attachments = apprise.AppriseAttachment(asset=ASSET)
    if message.pictures and isinstance(plugin, NotifyEmail):
        text, text_format = html_of(message, most_bytes), apprise.NotifyFormat.HTML
        plugin = copy.copy(plugin)
        plugin.notify_format, plugin.inline = text_format, True
        for one in message.pictures:
            picture: Any = AttachMemory(one.png, name=one.name, mimetype="image/png")  # type: ignore[no-untyped-call]
            attachments.add(picture)
    if "headers" not in plugin.template_kwargs:  # neither mail nor a webhook
        title, text = title.translate(LOOKALIKES), text.translate(LOOKALIKES)
    sender = apprise.Apprise(asset=ASSET)
    sender.add(plugin)
    result = sender.notify(
        body=text,
        title=title,
        notify_type=TYPES[message.severity],
        body_format=text_format,
        attach=attachments if len(attachments) else None,
        log_level=logging.DEBUG,
    )
    if result:
        return
    logged = "\n".join(entry.message for one in result.results for entry in one.logs())
    for pattern, reason in _REASONS.items():
        if found := re.search(pattern, logged):
            raise Undelivered(reason.format(*found.groups()))
    raise Undelivered("no answer came")
