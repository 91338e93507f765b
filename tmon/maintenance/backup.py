"""`tmon backup`: copy the database and its secret while readings come in, and check the copy."""

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from tmon.core import humanize
from tmon.core.errors import TmonError
from tmon.core.settings import Settings, local_url
from tmon.db.connect import RefusedDatabase, open_database, sqlite3, transaction
from tmon.db.devices import path_beside
from tmon.db.job_runs import GOOD, JobRun, save_job_runs
from tmon.db.tokens import read_secret
from tmon.maintenance import snapshot, vetting
from tmon.maintenance.backup_dir import (
    BackupDir,
    UnusableFile,
    os_errors_explained,
    require_free_space,
    staging_dir,
)
from tmon.maintenance.token_probe import why_refused_at


class BackupResult(NamedTuple):
    """The new file, and what is wrong with it, its secret or its folder."""

    path: Path
    warnings: list[str]


def backup(
    settings: Settings, backups: BackupDir, now_ms: int, progress: snapshot.Progress
) -> BackupResult:
    """Copy the database as it is now, check the copy, and only then give it its name.

    Raises:
        TmonError: there is no new backup, and nothing is left of it; or there is one, the message
            says so, and only its time couldn't be recorded in the database.
        RefusedDatabase: there is nothing to copy.
    """
    secret, unread = None, ""
    with os_errors_explained(backups.folder, "no backup was made"):
        if not backups.is_public:
            with suppress(FileNotFoundError):
                secret = read_secret(settings)
        backups.refuse_other_kind(settings.download_dir)
        # But not its parent, which may be a disk that isn't mounted.
        backups.folder.mkdir(exist_ok=True)
        with staging_dir(backups.folder) as staging:
            backups.remove_leftovers()
            draft = staging / "draft.db"
            digest = _write_draft(draft, settings.db, backups, progress)
            if secret is None and not backups.is_public and _uses_tokens(draft):
                raise UnusableFile(
                    f"{settings.secret_file}: no such file, and the nodes' tokens need it; "
                    "set TMON_SECRET_FILE or TMON_SECRET as ingest has it"
                )
            devices = path_beside(settings.db)
            if not backups.is_public and devices.exists():
                unread = _copy_devices(devices, draft.with_name("draft.db.devices"))
            path = backups.add(draft, digest, secret, now_ms)
            backups.remove_oldest(path)
    job = "publish" if backups.is_public else "backup"
    runs = {job: JobRun(now_ms, path.name), "integrity_check": JobRun(now_ms, GOOD)}
    try:
        with open_database(settings.db, in_cluster=True) as db, transaction(db):
            save_job_runs(db, runs)
    except sqlite3.DatabaseError as error:
        raise TmonError(
            f"{path.name} is made and sound, but {settings.db} can't be told: {error}"
        ) from error
    warnings = [*_warnings(settings, backups, path, secret)]
    return BackupResult(path, [unread, *warnings] if unread else warnings)


def _copy_devices(devices: Path, copy: Path) -> str:
    """Copy the devices' file; why it can't be read, else: the database matters more."""
    try:
        snapshot.vacuum_into(devices, copy)
    except sqlite3.DatabaseError as error:
        copy.unlink(missing_ok=True)
        return f"{devices}: {error}; the backup is without it"
    copy.chmod(0o600)
    snapshot.flush_and_hash(copy)
    return ""


def _write_draft(draft: Path, db: Path, backups: BackupDir, progress: snapshot.Progress) -> str:
    """Write the copy to ``draft``, flush and check it; its SHA-256."""
    size_bytes = db.stat().st_size if db.exists() else 0
    # A copy takes up to the whole file's size; a public one is made from another copy.
    require_free_space(backups.folder, size_bytes * (2 if backups.is_public else 1))
    with progress(2 * size_bytes) as bar:
        rows = snapshot.copy_snapshot(db, draft, bar.update)
        if backups.is_public:
            whole = draft.rename(draft.with_name("whole.db"))
            snapshot.vacuum_into(whole, draft)
            whole.unlink()
        digest = snapshot.flush_and_hash(draft)
        try:
            snapshot.check_copy(draft, rows, bar.update)
        except snapshot.DamagedCopy as error:
            raise snapshot.DamagedCopy(
                f"{db}: its copy was not kept, for {error}; keep your older backups, "
                f"and look at the database itself: `sqlite3 {db} 'pragma integrity_check'`"
            ) from error
    return digest


def _uses_tokens(draft: Path) -> bool:
    """Whether any node has ever sent to this database."""
    query = "select 1 from nodes where last_received_ms is not null limit 1"
    with closing(snapshot.connect_untrusted(draft)) as conn:
        return conn.execute(query).fetchone() is not None


def _warnings(
    settings: Settings, backups: BackupDir, path: Path, secret: bytes | None
) -> Iterator[str]:
    if others := backups.files_of_others():
        yield (
            f"{path.parent}: others can write there, and have put files there, such as "
            f"{humanize.printable(others[0].name)}; they were left, and not counted"
        )
    try:
        vetting.vet(path)
    except (vetting.Untrusted, RefusedDatabase) as error:
        yield f"`tmon restore` won't take it: {error}"
    url = local_url(settings.host, settings.port)
    with closing(snapshot.connect_untrusted(path)) as conn:
        node = conn.execute("select uid from nodes order by name limit 1").fetchone()
    if secret and url and node and (reason := why_refused_at(url, secret, node[0])):
        yield f"the secret beside it may be the wrong one: {reason}"
    if secret is None and not backups.is_public:
        yield "no node has a token yet, so there is no secret to copy"
