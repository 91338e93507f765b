"""Shared by all commands: flags for settings, errors in one line, tables, JSON, progress."""

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
from tmon.db.connect import sqlite3
from tmon.db.sqlite_errors import explain

F = TypeVar("F", bound=Callable[..., Any])
EXPECTED = (TmonError, InvalidSettings, OSError)


class Commands(click.Group):
    """A group whose expected errors are one line on stderr, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        with in_one_line():
            return super().invoke(ctx)


@contextmanager
def in_one_line() -> Iterator[None]:
    """Turn an expected error, or one of SQLite's about the file, into click's one line.

    Raises:
        click.ClickException: what is wrong and, if known, what to do.
    """
    try:
        yield
    except EXPECTED as error:
        raise click.ClickException(str(error)) from error
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):  # these are bugs
        raise
    except sqlite3.DatabaseError as error:
        raise click.ClickException(explain(error)) from error


def takes(*names: str) -> Callable[[F], F]:
    """Give a command flags for some of the settings, as keyword arguments."""

    def decorate(command: F) -> F:
        for setting in reversed([one for one in SETTINGS if one.name in names]):
            shown = f" [default: {setting.default}]" if setting.default else ""
            text = f"{setting.help}{shown} [{setting.variable}]"
            command = click.option(setting.flag, setting.name, metavar="", help=text)(command)
        return command

    return decorate


def environ_with(flags: Mapping[str, str | None]) -> dict[str, str]:
    """The environment, in which given flags replace their variables."""
    given = {f"TMON_{name.upper()}": text for name, text in flags.items() if text is not None}
    return {**os.environ, **given}


def station(flags: Mapping[str, str | None]) -> Settings:
    """The settings from flags and environment; sets up logging by them.

    Raises:
        InvalidSettings: with every problem.
    """
    settings = Settings.load(environ_with(flags))
    logs.set_up(settings.log_level, settings.log_format)
    return settings


def show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print rows as a table for people, or as JSON for programs."""
    click.echo(json.dumps(rows) if as_json else tabulate(rows, headers="keys", tablefmt="plain"))


def progress_bar(length: int) -> Any:
    """A bar on stderr; hidden where that is no terminal, or the length is 0."""
    hidden = not (length and sys.stderr.isatty())
    return click.progressbar(length=length, file=sys.stderr, hidden=hidden)


as_json = click.option("--json", "as_json", is_flag=True, help="for programs")
takes_station = takes("db", "secret", "secret_file", "begin_anew")
