"""The program ``tmon``, also ``python -m tmon``."""

# ``signal`` takes some milliseconds to import, in which Ctrl-C would print a traceback.
import _signal  # type: ignore[import-not-found]


class EndedByCtrlC:
    """Lets Ctrl-C end the process without a traceback while modules are imported.

    Later, click turns it into ``Aborted!``, or the command handles it.
    """

    def __enter__(self) -> None:
        self._before = _signal.getsignal(_signal.SIGINT)
        if self._before is _signal.default_int_handler:  # a shell may have its jobs ignore it
            _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

    def __exit__(self, *_: object) -> None:
        _signal.signal(_signal.SIGINT, self._before)


def main() -> None:
    """Run the command line."""
    with EndedByCtrlC():
        from tmon.cli import main as cli  # noqa: PLC0415 - importing it takes half a second
    cli.main()


if __name__ == "__main__":
    main()
