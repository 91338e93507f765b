"""What systemd wants to know of a service of type ``notify``."""

import os
import socket


def notify_ready() -> None:
    """Tell systemd, if it started us, that the service is ready; sd_notify(3)."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        if address.startswith("@"):  # Linux's abstract sockets
            address = "\0" + address[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"READY=1", address)
