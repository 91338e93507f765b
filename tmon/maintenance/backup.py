"""`tmon backup`: copy the database and its secret while readings come in, and check the copy."""

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from tmon.core import humanize
from tmon.core.errors import TmonError
from tmon.core.settings import Settings, local_url
from tmon.db.connect import RefusedDatabase, open_database, sqlite3, transaction
from tmon.db.job_runs import JobRun, save_job_runs
from tmon.db.tokens import read_secret
from tmon.maintenance import snapshot, vetting
from tmon.maintenance.backup_dir import (
    BackupDir,
    UnusableFile,
    files_of_others,
    holds_secrets,
    is_public,
    os_errors_explained,
    require_free_space,
    staging_dir,
    write_secret_file,
)
from tmon.maintenance.snapshot import Progress
from tmon.maintenance.token_probe import why_refused_at


class NotRecorded(TmonError):
    """The backup was made, but the database couldn't be updated with its time."""


class NoSecret(TmonError):
    """There are tokens, and the secret that signs them isn't found."""


class BackupTarget(NamedTuple):
    """Where to, whether it is for the public, and how many backups are kept there."""

    folder: Path
    public: bool
    keep: int


class BackupResult(NamedTuple):
    """The new file, and whether its secret lies beside it."""

    path: Path
    with_secret: bool
    warnings: list[str]


def backup(
    settings: Settings, target: BackupTarget, now_ms: int, progress: Progress
) -> BackupResult:
    """Copy the database as it is now, check the copy, and only then give it its name.

    Raises:
        TmonError: there is no new backup, and nothing is left of it; or, as ``NotRecorded``,
            there is one, and only the database couldn't be updated.
        RefusedDatabase: there is nothing to copy.
    """
    secret = None
    with os_errors_explained(target.folder, "no backup was made"):
        if not target.public:
            with suppress(FileNotFoundError):
                secret = read_secret(settings)
        path = _make(settings, target, secret, now_ms, progress)
    run = JobRun(now_ms, path.name)
    runs = {"publish" if target.public else "backup": run, "integrity_check": JobRun(now_ms, "ok")}
    try:
        with open_database(settings.db) as db, transaction(db):
            save_job_runs(db, runs)
    except sqlite3.DatabaseError as error:
        raise NotRecorded(
            f"{path.name} is made and sound, but {settings.db} can't be told: {error}"
        ) from error
    return BackupResult(path, secret is not None, [*_warnings(settings, path, secret)])


def _make(
    settings: Settings, target: BackupTarget, secret: bytes | None, now_ms: int, progress: Progress
) -> Path:
    folder = target.folder
    backups = BackupDir(folder, "tmon-public" if target.public else "tmon")
    _refuse_folder(settings, target)
    folder.mkdir(exist_ok=True)  # but not its parent, which may be a disk that isn't mounted
    with staging_dir(folder) as staging:
        backups.remove_leftovers()
        with snapshot.open_snapshot(settings.db) as now:
            if secret is None and not target.public and now.has_received:
                raise NoSecret(
                    f"{settings.secret_file}: no such file, and the nodes' tokens need it; "
                    "set TMON_SECRET_FILE or TMON_SECRET as ingest has it"
                )
            digest = _draft(settings.db, now, staging, target, progress)
        name = backups.free_name(now_ms)
        (staging / "draft.db.sha256").write_text(f"{digest}  {name}\n", encoding="ascii")
        if target.public:  # for Datasette's user too, whatever the umask
            for part in ("draft.db", "draft.db.sha256"):
                (staging / part).chmod(0o644)
        snapshot.flush_and_hash(staging / "draft.db.sha256")
        if secret is not None:
            write_secret_file(staging / "draft.db.secret", secret)
        added = backups.add(staging, name)
        backups.remove_oldest(target.keep, added)
    return added


def _refuse_folder(settings: Settings, target: BackupTarget) -> None:
    """Keep secrets out of public folders, and public copies out of folders with secrets.

    Raises:
        UnusableFile: the folder is of the other kind.
    """
    folder, download_dir = target.folder.resolve(), settings.download_dir
    if target.public:
        if holds_secrets(folder):
            raise UnusableFile(f"{folder} holds secrets; publish to a folder of its own")
    elif (download_dir and folder.is_relative_to(download_dir.resolve())) or is_public(folder):
        raise UnusableFile(
            f"{folder} is for everybody; a backup with its secret needs another folder"
        )


def _draft(
    db: Path, now: snapshot.Snapshot, staging: Path, target: BackupTarget, progress: Progress
) -> str:
    """Write the copy into ``staging``, flush and check it; its SHA-256."""
    draft = staging / "draft.db"
    # A copy takes up to the whole file's size; a public one is made from another copy.
    require_free_space(target.folder, now.size_bytes * (2 if target.public else 1))
    with progress(now.size_bytes + sum(now.rows.values())) as bar:
        now.copy(draft, bar.update)
        now.end()
        if target.public:
            whole = draft.rename(draft.with_name("whole.db"))
            snapshot.vacuum_into(whole, draft)
            whole.unlink()
        digest = snapshot.flush_and_hash(draft)
        try:
            snapshot.check_copy(draft, now.rows, bar.update)
        except snapshot.DamagedCopy as error:
            raise snapshot.DamagedCopy(
                f"{db}: its copy was not kept, for {error}; keep your older backups, "
                f"and look at the database itself: `sqlite3 {db} 'pragma integrity_check'`"
            ) from error
    return digest


def _warnings(settings: Settings, path: Path, secret: bytes | None) -> Iterator[str]:
    """What is wrong with the backup, its secret or its folder."""
    if others := files_of_others(path.parent):
        yield (
            f"{path.parent}: others can write there, and have put files there, such as "
            f"{humanize.printable(others[0].name)}; they were left, and not counted"
        )
    try:
        vetting.vet(path, path)
    except (vetting.Untrusted, RefusedDatabase) as error:
        yield f"`tmon restore` won't take it: {error}"
    url = local_url(settings.host, settings.port)
    with closing(snapshot.connect_immutable(path)) as conn:
        node = conn.execute("select uid from nodes order by name limit 1").fetchone()
    if secret and url and node and (reason := why_refused_at(url, secret, node[0])):
        yield f"the secret beside it may be the wrong one: {reason}"
