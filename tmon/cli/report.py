"""``tmon report``."""

import sys
from collections.abc import Iterator

import click
from sqlite_utils import Database

from tmon.cli.options import station, takes
from tmon.core.time import now_ms
from tmon.watch.messages import Picture
from tmon.watch.outbox import send_to_all
from tmon.watch.station import open_at
from tmon.watch.weekly import WeeklyReport, weekly_report


@click.command()
@click.option("--weekly", is_flag=True, required=True, help="the last seven UTC days")
@click.option("--send", is_flag=True, help="send it to TMON_NOTIFY, instead of printing it")
@takes("db", "secret", "secret_file", "public_url", "mail_to")
def report(*, weekly: bool, send: bool, **flags: str | None) -> None:  # noqa: ARG001
    """Print what each sensor measured in the last week, and what was wrong; or send it.

    \b
    Examples:
      tmon report --weekly
      tmon report --weekly --send    every Monday, by cron or tmon-report.timer
    """
    settings = station(flags)
    at_ms = now_ms()
    with open_at(settings.db, at_ms) as db:
        composed = weekly_report(db, at_ms, settings.public_url)
        if send:
            composed = composed._replace(pictures=[*_pictures(db, composed)])
    if not send:
        click.echo(f"{composed.subject}\n\n{composed.text(sys.maxsize)}")
        return
    failures = send_to_all(settings, composed)
    for failure in failures:
        click.echo(failure, err=True)
    sys.exit(1 if failures else 0)


def _pictures(db: Database, composed: WeeklyReport) -> Iterator[Picture]:
    """The charts of the sensors that deserve one."""
    from tmon.pages.week_picture import draw_week  # noqa: PLC0415 - Datasette takes half a second

    for number, sensor in enumerate(composed.pictured, 1):
        png = draw_week(db.conn, sensor.id, composed.from_ms, composed.to_ms)
        alt = f"{sensor.node} {sensor.name}, the week as a chart"
        yield Picture(f"week-{number}.png", alt, png)
