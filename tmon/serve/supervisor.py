"""What a service of systemd's kind ``notify`` says of itself."""

import os
import socket


def ready() -> None:
    """Say that requests are answered from now on; nothing, where nobody asked to be told.

    Raises:
        OSError: who asked can't be reached.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # in no folder: Linux's abstract sockets
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.sendto(b"READY=1", address)
