"""The program ``tmon``, also ``python -m tmon``."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end the process without a traceback while modules are imported.

    Later, click turns it into ``Aborted!``, or the command handles it.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # a shell may have its jobs ignore it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def main() -> None:
    """Run the command line."""
    with ended_by_ctrl_c():
        from tmon.cli import main as cli  # noqa: PLC0415 - importing it takes half a second
    cli.main()


if __name__ == "__main__":
    main()
