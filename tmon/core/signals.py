"""The signals that stop a process, blocked while it couldn't stop cleanly."""

import signal

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def block() -> None:
    """Keep them pending, here and in the processes forked from here, until ``unblock``."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def unblock() -> None:
    """Deliver them, and those that came meanwhile."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
