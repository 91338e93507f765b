"""What all commands share: flags for settings, errors in one line, tables and JSON."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from tabulate import tabulate

from tmon.core import logs
from tmon.core.errors import TmonError
from tmon.core.settings import SETTINGS, InvalidSettings, Settings
from tmon.db.connect import RefusedDatabase, sqlite3
from tmon.db.sqlite_errors import explain

F = TypeVar("F", bound=Callable[..., Any])
DELIBERATE = (TmonError, RefusedDatabase, InvalidSettings, OSError)


class Commands(click.Group):
    """Commands whose deliberate errors are one line on stderr, and no traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        with in_one_line():
            return super().invoke(ctx)


@contextmanager
def in_one_line() -> Iterator[None]:
    """Turn a deliberate error, or what SQLite says of the file, into click's one line.

    Raises:
        click.ClickException: what is wrong and, where that is known, what to do.
    """
    try:
        yield
    except DELIBERATE as error:
        raise click.ClickException(str(error)) from error
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):  # these are our own faults
        raise
    except sqlite3.DatabaseError as error:
        raise click.ClickException(explain(error)) from error


def takes(*names: str) -> Callable[[F], F]:
    """Give a command flags for some of the settings; it gets what was given by name."""

    def decorate(command: F) -> F:
        for setting in reversed([one for one in SETTINGS if one.name in names]):
            shown = f" [default: {setting.default}]" if setting.default else ""
            told = f"{setting.help}{shown} [{setting.variable}]"
            command = click.option(setting.flag, setting.name, metavar="", help=told)(command)
        return command

    return decorate


def environ_with(flags: Mapping[str, str | None]) -> dict[str, str]:
    """The environment, in which a flag that was given goes before its variable."""
    given = {f"TMON_{name.upper()}": text for name, text in flags.items() if text is not None}
    return {**os.environ, **given}


def station(flags: Mapping[str, str | None]) -> Settings:
    """The settings from flags and environment; what is logged from now on is logged as they say.

    Raises:
        InvalidSettings: with every problem that there is.
    """
    settings = Settings.load(environ_with(flags))
    logs.set_up(settings.log_level, settings.log_format)
    return settings


def show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Rows for people as a table, for programs as JSON."""
    click.echo(json.dumps(rows) if as_json else tabulate(rows, headers="keys", tablefmt="plain"))


def progress_bar(length: int) -> Any:
    """A bar on stderr, where that is a terminal and there is a length to go."""
    hidden = not (length and sys.stderr.isatty())
    return click.progressbar(length=length, file=sys.stderr, hidden=hidden)


as_json = click.option("--json", "as_json", is_flag=True, help="for programs")
takes_station = takes("db", "secret", "secret_file", "begin_anew")
