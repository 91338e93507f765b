"""Receivers: a real SMTP server, a real HTTP listener, a stand-in sendmail."""

import asyncio
import email
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session


@dataclass
class Mailbox:
    """A mail server's mails; ``answer`` is what it says to the next ones."""

    address: str = ""
    mails: list[EmailMessage] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    users: list[tuple[bytes, bytes]] = field(default_factory=list)
    answer: str = "250 OK"
    refused: tuple[str, ...] = ()
    on_mail: Callable[[], None] = lambda: None

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        if address in self.refused:
            return f"550 <{address}>: nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        if self.answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.raw.append(envelope.content)
            mail = email.message_from_bytes(envelope.content, policy=default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
            self.recipients.append(envelope.rcpt_tos)
        self.on_mail()
        return self.answer

    def log_in(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, who: Any
    ) -> AuthResult:
        self.users.append((who.login, who.password))
        return AuthResult(success=who.password == b"p@ss word", handled=False)


class OnAnyPort(Controller):
    """It looks whether it listens by connecting to the port it was told: the one it got."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@contextmanager
def mail_server(*, login: bool = False, tls: ssl.SSLContext | None = None) -> Iterator[Mailbox]:
    box = Mailbox()
    how: dict[str, Any] = {"authenticator": box.log_in, "auth_required": True}
    how |= {"tls_context": tls} if tls else {"auth_require_tls": False}
    controller = OnAnyPort(box, hostname="127.0.0.1", port=0, **(how if login else {}))
    controller.start()
    box.address = f"127.0.0.1:{controller.port}"
    try:
        yield box
    finally:
        controller.stop()


@dataclass
class Request:
    """What an HTTP listener was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.body)
        return told


@dataclass
class Listener:
    """An HTTP server that takes everything; ``status`` is what it answers."""

    address: str = ""
    requests: list[Request] = field(default_factory=list)
    status: int = 200
    hold: threading.Event | None = None
    on_request: Callable[[], None] = lambda: None


@contextmanager
def http_listener(port: int = 0) -> Iterator[Listener]:
    listener = Listener()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): text for name, text in self.headers.items()}
            listener.requests.append(Request(self.command, self.path, headers, body))
            listener.on_request()
            if listener.hold:
                listener.hold.wait(60)
            try:
                self.send_response(listener.status)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")
            except OSError:
                pass  # whoever asked was killed

        do_GET = do_POST = do_PUT = handle_any  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    listener.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield listener
    finally:
        if listener.hold:
            listener.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()


def text_of(mail: EmailMessage) -> str:
    """A mail's text, with lines that end as ours do."""
    text: str = mail.get_content()
    return text.replace("\r\n", "\n")


def stand_in_sendmail(folder: Path, *, status: int = 0) -> Path:
    """A ``sendmail`` in ``folder`` that keeps what it is given and how it was called."""
    program = folder / "sendmail"
    program.write_text(
        f"""#!/bin/sh
echo "$@" >> "{folder}/arguments"
cat > "{folder}/mail.$$"
exit {status}
"""
    )
    program.chmod(0o755)
    return program


def sent_by(folder: Path) -> list[EmailMessage]:
    """The mails that the stand-in was given, in no order."""
    mails = [
        email.message_from_bytes(path.read_bytes(), policy=default)
        for path in folder.glob("mail.*")
    ]
    assert all(isinstance(mail, EmailMessage) for mail in mails)
    return mails


def soon(condition: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
