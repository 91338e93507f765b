"""Mail: as RFC 5322 wants it, by an SMTP server or by the machine's own sendmail."""

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
GOODBYE_S = 2.0
SENDMAIL_S = 30.0
WHERE_SENDMAIL_IS = "/usr/sbin:/usr/lib"  # not always on a user's PATH, nor on cron's


class Undelivered(TmonError):
    """A message that didn't arrive; the text tells why, without addresses or secrets.

    ``perhaps``: nobody knows whether it did, such as where the answer didn't come.
    """

    def __init__(self, why: str, *, perhaps: bool = False) -> None:
        super().__init__(why)
        self.perhaps = perhaps


@dataclass(frozen=True)
class Server:
    """An SMTP server, and who we are there; ``security``: insecure, starttls or ssl."""

    host: str
    port: int
    security: str
    user: str | None
    password: str | None = field(repr=False)
    verify: bool
    sender: Address
    headers: Mapping[str, str]


def compose(message: Message, sender: Address, to: str | Address) -> EmailMessage:
    """The mail; composed again of the same message it is the same, byte for byte."""
    mail = EmailMessage(policy=default)
    mail["From"] = sender
    mail["To"] = to
    mail["Subject"] = message.subject
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.at_ms / 1000, UTC))
    mail["Message-ID"] = message.id
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no absence notes in return
    mail.set_content(message.text(MOST_BYTES) + "\n", cte="quoted-printable")
    return mail


def by_smtp(server: Server, recipient: Address, message: Message) -> None:
    """Hand a mail to an SMTP server.

    Raises:
        Undelivered: it wasn't reached, didn't take the mail, or didn't say that it did.
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
                f"the server did not confirm the mail ({type(error).__name__})", perhaps=True
            ) from error


@contextmanager
def _session(server: Server) -> Iterator[smtplib.SMTP]:
    """A session that is open for mail."""
    smtp = None
    try:
        tls = _tls(server)
        smtp = _connect(server, tls)
        if server.security == "starttls":
            smtp.starttls(context=tls)
        if server.user and server.password:
            smtp.login(server.user, server.password)
    except smtplib.SMTPAuthenticationError as error:
        raise Undelivered(f"the server refused user or password ({error.smtp_code})") from error
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise Undelivered(f"no session with the mail server ({_why(error)})") from error
    else:
        yield smtp
    finally:
        if smtp is not None:
            _leave(smtp)


def _tls(server: Server) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not server.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _connect(server: Server, tls: ssl.SSLContext) -> smtplib.SMTP:
    where = (server.host, server.port, host_name())  # smtplib itself may ask DNS for our name
    if server.security == "ssl":
        return smtplib.SMTP_SSL(*where, timeout=SOCKET_S, context=tls)
    return smtplib.SMTP(*where, timeout=SOCKET_S)


def _leave(smtp: smtplib.SMTP) -> None:
    """Say goodbye, as RFC 5321 wants it; what is answered changes nothing any more."""
    with suppress(OSError, smtplib.SMTPException):
        if smtp.sock is not None:
            smtp.sock.settimeout(GOODBYE_S)
        smtp.quit()
    smtp.close()


def _why(error: Exception) -> str:
    """What went wrong, without what was asked for."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not to be trusted"
    return getattr(error, "strerror", None) or type(error).__name__


def by_sendmail(to: str, message: Message) -> None:
    """Hand a mail to the machine's own sendmail.

    Raises:
        Undelivered: there is none, or it didn't take the mail.
    """
    folders = f"{os.environ.get('PATH', '')}:{WHERE_SENDMAIL_IS}".split(":")
    # An empty one, as where PATH is empty, would be the folder that we are started in.
    program = shutil.which("sendmail", path=":".join(filter(os.path.isabs, folders)))
    if program is None:
        raise Undelivered(
            "this machine has no sendmail; set TMON_NOTIFY, or install one such as msmtp-mta"
        )
    sender = Address("tmon", "tmon", host_name())
    try:
        mail = compose(message, sender, " ".join(to.split())).as_bytes(policy=SMTP)
    except (MessageError, ValueError, LookupError) as error:  # what email raises at odd addresses
        raise Undelivered("TMON_MAIL_TO is no mail address") from error
    _run([program, "-t", "-oi"], mail.replace(b"\r\n", b"\n"))


def _run(command: list[str], mail: bytes) -> None:
    try:
        subprocess.run(command, input=mail, timeout=SENDMAIL_S, check=True, capture_output=True)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise Undelivered("sendmail did not end in time", perhaps=True) from error
    except subprocess.CalledProcessError as error:
        raise Undelivered(f"sendmail ended with {error.returncode}") from error
    except OSError as error:
        raise Undelivered(f"sendmail can't be run ({error.strerror})") from error


def host_name() -> str:
    """What this machine is called in mails: as Debian has it, or else its own name."""
    file = Path("/etc/mailname")
    named = file.read_text(errors="replace").strip() if file.exists() else ""
    return re.sub(r"[^A-Za-z0-9.-]", "", named or socket.gethostname()) or "localhost"
