"""``tmon check``."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from tmon.cli.options import as_json, in_one_line, station, takes
from tmon.core.humanize import pluralize
from tmon.core.settings import InvalidSettings, Settings
from tmon.core.time import now_ms
from tmon.watch.check import CheckOptions, Report, run_checks
from tmon.watch.checks.reachability import Addresses, local_addresses
from tmon.watch.findings import CATALOGUE
from tmon.watch.notify import STATUS, check_and_notify

UNKNOWN = 3
FLAGS = (
    *("db", "secret", "secret_file", "host", "port", "datasette_host", "datasette_port"),
    *("public_url", "ingest_url", "mail_to", "ping_url"),
)


class Plugin(click.Command):
    """A command that exits with status 3 if it fails itself; for monitoring, 2 means critical."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            raise _unknown(error) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with in_one_line():
                return super().invoke(ctx)
        except click.ClickException as error:
            raise _unknown(error) from error.__cause__


def _unknown(error: click.ClickException) -> click.ClickException:
    error.exit_code = UNKNOWN  # type: ignore[misc]  # click's own way, but for its types
    return error


@click.command(cls=Plugin)
@click.option("--notify", is_flag=True, help="remember findings, and send news of them")
@click.option("--full", is_flag=True, help="check the whole file, even if not due")
@click.option("--datasette-url", metavar="", help="of a distant station: Datasette's address")
@click.option("--state", type=Path, metavar="FILE", help="what is remembered of a distant station")
@as_json
@takes(*FLAGS)
def check(
    *,
    notify: bool,
    full: bool,
    datasette_url: str | None,
    state: Path | None,
    as_json: bool,
    **flags: str | None,
) -> None:
    """Say what is wrong, each finding with its number, and what to do about it.

    The exit status is 0 if all is well, 1 for warnings, 2 if something is critical, and 3
    if a check can't be made. Nothing is written, unless --notify is given: then findings
    that began, go on or ended since the last check are sent to TMON_NOTIFY.

    With --ingest-url or --datasette-url, it only checks whether a distant station answers.

    \b
    Examples:
      tmon check
      tmon check --notify            hourly, by cron or systemd
      tmon check --ingest-url https://tmon.example.org/ingest \\
          --datasette-url https://tmon.example.org
    """
    options = _options(flags, datasette_url, state, full=full)
    is_terminal = sys.stderr.isatty()

    def show_progress(step: str) -> None:
        if is_terminal:
            click.echo(f"{step} …", err=True)

    if notify:
        report = check_and_notify(options, show_progress)
    else:
        report = Report()
        run_checks(options, report, show_progress)
    for failure in report.failures:
        click.echo(failure, err=True)
    _print(report, options.now_ms, as_json=as_json)
    sys.exit(report.status or (1 if report.failures else 0))


def _options(
    flags: dict[str, str | None], datasette_url: str | None, state: Path | None, *, full: bool
) -> CheckOptions:
    given = flags.pop("ingest_url"), datasette_url
    settings = station(flags)
    if given == (None, None):
        if state:
            raise click.UsageError("--state is for distant stations: say --ingest-url too")
        return CheckOptions(settings, local_addresses(settings), now_ms(), full, full)
    states = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    memory = state or states / "tmon" / "check.db"
    ingest, datasette = (_address(url or "") for url in given)
    addresses = Addresses(ingest, datasette, remote=True)
    own = {**flags, "db": str(memory), "secret_file": flags["secret_file"] or f"{memory}.secret"}
    return CheckOptions(station(own), addresses, now_ms())


def _address(url: str) -> str:
    try:
        return Settings.load({"TMON_INGEST_URL": url}).ingest_url
    except InvalidSettings as invalid:
        raise click.UsageError(f"{url!r} must be an address like https://host") from invalid


def _print(report: Report, at_ms: int, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_as_json(report, at_ms), ensure_ascii=False))
        return
    for line in report.lines():
        click.echo(line)
    for sentence in report.unknown:
        click.echo(f"UNKNOWN: {sentence}")
    if not report.status:
        sensors = pluralize(sum(report.sensor_counts.values()), "sensor")
        nodes = pluralize(len(report.sensor_counts), "node")
        click.echo(f"OK: {sensors} of {nodes}" if report.sensor_counts else "OK")
    if waiting := report.devices_waiting:
        wait = "waits" if waiting == 1 else "wait"
        click.echo(f"{pluralize(waiting, 'device')} {wait} to be adopted: `tmon device list`")


def _as_json(report: Report, at_ms: int) -> dict[str, Any]:
    findings = [
        {
            "number": one.number,
            "severity": one.severity,
            "title": CATALOGUE[one.number].title,
            "node": one.node,
            "sensor": one.sensor,
            "subject": one.subject,
            "reason": one.reason,
            "since_ms": one.since_ms,
            "muted_until_ms": one.muted_until_ms,
            "hint": CATALOGUE[one.number].remedy,
        }
        for one in report.active
    ]
    status = {"status": STATUS[report.status], "exit": report.status, "checked_ms": at_ms}
    waiting = {"devices_waiting": report.devices_waiting}
    return {**status, **waiting, "findings": findings, "unknown": report.unknown}
