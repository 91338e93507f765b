"""The receivers of notifications."""

import socket
from collections.abc import Iterator

import pytest

from tests.notify.receivers import Listener, Mailbox, http_listener, mail_server


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_server() as box:
        yield box


@pytest.fixture
def listener() -> Iterator[Listener]:
    with http_listener() as listening:
        yield listening


@pytest.fixture
def hanging() -> Iterator[str]:
    """The address of a server that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
