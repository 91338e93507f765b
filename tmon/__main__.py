"""The program ``tmon``, also ``python -m tmon``."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end the process at once while modules are loaded, without a traceback.

    After that click turns a Ctrl-C into ``Aborted!``, or the command ends as it has to.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # not where a shell has its jobs ignore it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def main() -> None:
    """Do what the command line says."""
    with ended_by_ctrl_c():
        from tmon.cli import main as cli  # noqa: PLC0415 - it takes half a second
    cli.main()


if __name__ == "__main__":
    main()
