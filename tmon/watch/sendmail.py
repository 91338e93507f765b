"""Send mail by the machine's own sendmail, which is used if ``TMON_NOTIFY`` is empty."""

import os
import re
import shutil
import socket
import subprocess
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path

from tmon.watch.messages import MAIL_BYTES, Sendable, Undelivered, html_of

TIMEOUT_S = 30.0
FOLDERS = "/usr/sbin:/usr/lib"  # not always on the PATH of a user or of cron


def send(to: str, message: Sendable) -> None:
    """Send a mail.

    Raises:
        Undelivered: this machine has no sendmail, or it failed.
    """
    folders = f"{os.environ.get('PATH', '')}:{FOLDERS}".split(":")
    # shutil.which takes an empty or relative entry for the working directory.
    program = shutil.which("sendmail", path=":".join(filter(os.path.isabs, folders)))
    if program is None:
        raise Undelivered(
            "this machine has no sendmail; set TMON_NOTIFY, or install one such as msmtp-mta"
        )
    try:
        mail = compose(to, message).as_bytes()
    except (MessageError, ValueError, LookupError) as error:  # what email raises at odd addresses
        raise Undelivered("TMON_MAIL_TO isn't a mail address") from error
    command = [program, "-t", "-oi"]
    try:
        subprocess.run(command, input=mail, timeout=TIMEOUT_S, check=True, capture_output=True)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise Undelivered("sendmail did not end in time") from error
    except subprocess.CalledProcessError as error:
        raise Undelivered(f"sendmail ended with {error.returncode}") from error
    except OSError as error:
        raise Undelivered(f"sendmail can't be run ({error.strerror})") from error


def compose(to: str, message: Sendable) -> EmailMessage:
    """The mail for a message, from ``tmon`` at this machine's mail name."""
    file = Path("/etc/mailname")
    name = file.read_text(errors="replace").strip() if file.exists() else ""
    host = re.sub(r"[^A-Za-z0-9.-]", "", name or socket.gethostname()) or "localhost"
    mail = EmailMessage()
    mail["From"] = Address("tmon", "tmon", host)
    mail["To"] = " ".join(to.split())
    mail["Subject"] = message.subject
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = make_msgid(domain=host)
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies
    mail.set_content(message.text(MAIL_BYTES) + "\n", cte="quoted-printable")
    if message.pictures:
        html = EmailMessage()
        html.set_content(html_of(message, MAIL_BYTES), "html", cte="quoted-printable")
        for picture in message.pictures:
            html.add_related(
                picture.png, "image", "png", cid=f"<{picture.name}>", filename=picture.name
            )
        mail.make_alternative()
        mail.attach(html)
    return mail
