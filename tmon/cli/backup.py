"""`tmon backup` and `tmon restore`."""

from pathlib import Path

import click

from tmon.cli.options import progress_bar, station, takes, takes_station
from tmon.core.time import now_ms
from tmon.maintenance.backup import backup as make_backup
from tmon.maintenance.backup_dir import BackupDir
from tmon.maintenance.restore import restore as put_back


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=7,
    metavar="N",
    show_default=True,
    help="how many stay; older ones are removed",
)
@click.option("--publish", is_flag=True, help="for everybody to download: without the secret")
@takes("db", "secret", "secret_file", "download_dir")
def backup(folder: Path, keep: int, publish: bool, **flags: str | None) -> None:
    """Copy the database and its secret into DIR while readings come in; print the copy's name.

    The copy is checked as a whole before it gets its name. Beside it are the secret,
    which only its owner can read, and its SHA-256 for `sha256sum -c`. With --publish
    the copy has neither the secret nor deleted data; DIR must be another folder then,
    such as TMON_DOWNLOAD_DIR.

    \b
    Examples:
      tmon backup /var/backups/tmon
      tmon backup /media/usb/tmon --keep 30
      tmon backup --publish /var/lib/tmon/download --keep 2
    """
    made = make_backup(station(flags), BackupDir(folder, publish, keep), now_ms(), progress_bar)
    click.echo(made.path)
    for warning in made.warnings:
        click.echo(warning, err=True)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="where there is a database: keep it under another name")
@takes_station
def restore(file: Path, force: bool, **flags: str | None) -> None:
    """Replace the database with the backup FILE and the secret beside it.

    Stop `tmon serve` before. FILE is checked first, against its SHA-256 and by SQLite;
    nothing changes unless it is sound and has no triggers or tables that tmon wouldn't
    make. All tokens are valid afterwards. Without --force a database that is there stays:
    the command checks FILE, and says how many readings are newer than those in it.

    \b
    Examples:
      tmon restore /var/backups/tmon/tmon-2026-11-25T030000Z.db
      tmon restore /media/usb/tmon/tmon-2026-11-25T030000Z.db --force --db /var/lib/tmon/tmon.db
    """
    settings = station(flags)
    report = put_back(file, settings, force=force, progress=progress_bar)
    click.echo(settings.db)
    for line in report:
        click.echo(line, err=True)
