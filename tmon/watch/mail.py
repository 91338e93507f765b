"""Mail by RFC 5322, sent to an SMTP server or by the machine's own sendmail."""

import os
import re
import shutil
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, default
from email.utils import format_datetime
from pathlib import Path

from tmon.core.errors import TmonError
from tmon.watch.messages import Message

MOST_BYTES = 30_000  # 50 lines of 300 characters and their links fit
SOCKET_S = 15.0  # without a byte from the server
QUIT_S = 2.0
SENDMAIL_S = 30.0
SENDMAIL_FOLDERS = "/usr/sbin:/usr/lib"  # not always on the PATH of a user or of cron


class Undelivered(TmonError):
    """A message was not delivered; the text says why, without addresses or secrets.

    ``maybe_delivered``: it was sent and not confirmed.
    """

    def __init__(self, why: str, *, maybe_delivered: bool = False) -> None:
        super().__init__(why)
        self.maybe_delivered = maybe_delivered


@dataclass(frozen=True)
class Server:
    """An SMTP server, and how to log in and send there."""

    host: str
    port: int
    security: str  # insecure, starttls or ssl
    user: str | None
    password: str | None = field(repr=False)
    verify: bool  # the certificate
    sender: Address
    headers: Mapping[str, str]


def compose(message: Message, sender: Address, to: str | Address) -> EmailMessage:
    """The mail for a message: the same bytes each time."""
    mail = EmailMessage(policy=default)
    mail["From"] = sender
    mail["To"] = to
    mail["Subject"] = message.subject
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.at_ms / 1000, UTC))
    mail["Message-ID"] = message.id
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies
    mail.set_content(message.text(MOST_BYTES) + "\n", cte="quoted-printable")
    return mail


def send_by_smtp(server: Server, recipient: Address, message: Message) -> None:
    """Send a mail to an SMTP server.

    Raises:
        Undelivered: it can't be reached, refused the mail, or didn't confirm it.
    """
    mail = compose(message, server.sender, recipient)
    for name, text in server.headers.items():
        if name not in mail:
            mail[name] = text
    with _session(server) as smtp:
        try:
            smtp.send_message(
                mail, from_addr=server.sender.addr_spec, to_addrs=[recipient.addr_spec]
            )
        except smtplib.SMTPRecipientsRefused as error:
            [(code, _)] = error.recipients.values()
            raise Undelivered(f"the server refused the recipient ({code})") from error
        except smtplib.SMTPResponseException as error:
            raise Undelivered(f"the server refused the mail ({error.smtp_code})") from error
        except (OSError, smtplib.SMTPException) as error:
            raise Undelivered(
                f"the server did not confirm the mail ({type(error).__name__})",
                maybe_delivered=True,
            ) from error


@contextmanager
def _session(server: Server) -> Iterator[smtplib.SMTP]:
    """A connection, encrypted and logged in as the server wants it."""
    smtp: smtplib.SMTP | None = None
    try:
        tls = ssl.create_default_context()
        if not server.verify:
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        address = (server.host, server.port, host_name())  # smtplib might ask DNS for our name
        if server.security == "ssl":
            smtp = smtplib.SMTP_SSL(*address, timeout=SOCKET_S, context=tls)
        else:
            smtp = smtplib.SMTP(*address, timeout=SOCKET_S)
        if server.security == "starttls":
            smtp.starttls(context=tls)
        if server.user and server.password:
            smtp.login(server.user, server.password)
    except smtplib.SMTPAuthenticationError as error:
        raise Undelivered(f"the server refused user or password ({error.smtp_code})") from error
    except (OSError, smtplib.SMTPException, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__  # without the address
        if isinstance(error, ssl.SSLCertVerificationError):
            why = "its certificate isn't trusted"
        raise Undelivered(f"no session with the mail server ({why})") from error
    else:
        yield smtp
    finally:
        if smtp is not None:
            _quit(smtp)


def _quit(smtp: smtplib.SMTP) -> None:
    with suppress(OSError, smtplib.SMTPException):
        if smtp.sock is not None:
            smtp.sock.settimeout(QUIT_S)
        smtp.quit()
    smtp.close()


def send_by_sendmail(to: str, message: Message) -> None:
    """Give a mail to the machine's own sendmail.

    Raises:
        Undelivered: there is none, or it didn't take the mail.
    """
    folders = f"{os.environ.get('PATH', '')}:{SENDMAIL_FOLDERS}".split(":")
    # shutil.which takes an empty or relative entry for the working directory.
    program = shutil.which("sendmail", path=":".join(filter(os.path.isabs, folders)))
    if program is None:
        raise Undelivered(
            "this machine has no sendmail; set TMON_NOTIFY, or install one such as msmtp-mta"
        )
    sender = Address("tmon", "tmon", host_name())
    try:
        mail = compose(message, sender, " ".join(to.split())).as_bytes(policy=SMTP)
    except (MessageError, ValueError, LookupError) as error:  # what email raises at odd addresses
        raise Undelivered("TMON_MAIL_TO isn't a mail address") from error
    text = mail.replace(b"\r\n", b"\n")
    command = [program, "-t", "-oi"]
    try:
        subprocess.run(command, input=text, timeout=SENDMAIL_S, check=True, capture_output=True)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise Undelivered("sendmail did not end in time", maybe_delivered=True) from error
    except subprocess.CalledProcessError as error:
        raise Undelivered(f"sendmail ended with {error.returncode}") from error
    except OSError as error:
        raise Undelivered(f"sendmail can't be run ({error.strerror})") from error


def host_name() -> str:
    """This machine's name for mails: from ``/etc/mailname`` if that exists."""
    file = Path("/etc/mailname")
    named = file.read_text(errors="replace").strip() if file.exists() else ""
    return re.sub(r"[^A-Za-z0-9.-]", "", named or socket.gethostname()) or "localhost"
