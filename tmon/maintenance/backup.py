"""`tmon backup`: the database and its secret, copied while readings come in, and checked."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, NamedTuple

from tmon.core import humanize
from tmon.core.errors import TmonError
from tmon.core.settings import Settings, local_url
from tmon.db.connect import RefusedDatabase, open_database, sqlite3, transaction
from tmon.db.station import Chore, remember
from tmon.db.tokens import read_secret
from tmon.maintenance import copies, vetting
from tmon.maintenance.running import difference
from tmon.maintenance.shelf import (
    Shelf,
    Unfit,
    holds_secrets,
    is_public,
    need_room,
    strangers,
    workshop,
    write_secret,
)

Progress = Callable[[int], AbstractContextManager[Any]]  # a bar of some length


class NotNoted(TmonError):
    """The backup stands, but the database doesn't say so."""


class NoSecret(TmonError):
    """There are tokens, and what signs them isn't found."""


class Wanted(NamedTuple):
    """What to make: into which folder, for whom, and how many are to stay."""

    folder: Path
    public: bool
    keep: int

    @property
    def shelf(self) -> Shelf:
        return Shelf(self.folder, "tmon-public" if self.public else "tmon")


class Made(NamedTuple):
    """The new file, and whether a secret lies beside it."""

    path: Path
    with_secret: bool
    warnings: list[str]  # what its owner should know


def backup(settings: Settings, wanted: Wanted, now_ms: int, progress: Progress) -> Made:
    """Copy the database as it is now, check the copy, and only then give it its name.

    Raises:
        TmonError: there is no new backup, and nothing is left of it; or, as
            ``NotNoted``, there is one, and only the database couldn't be told.
        RefusedDatabase: there is nothing to copy.
    """
    secret = None if wanted.public else _secret(settings)
    try:
        path = _make(settings, wanted, secret, now_ms, progress)
    except OSError as error:
        where = error.filename or wanted.folder
        raise Unfit(f"{where}: {error.strerror}; no backup was made") from error
    _note(settings.db, "publish" if wanted.public else "backup", path.name, now_ms)
    return Made(path, secret is not None, [*_warnings(settings, path, secret)])


def _make(
    settings: Settings, wanted: Wanted, secret: bytes | None, now_ms: int, progress: Progress
) -> Path:
    folder, shelf = wanted.folder, wanted.shelf
    _refuse_folder(settings, wanted)
    folder.mkdir(exist_ok=True)  # its parent isn't made: that may be a disk that isn't there now
    with workshop(folder) as work:
        shelf.clear()
        with copies.snapshot(settings.db) as snapshot:
            if secret is None and not wanted.public and snapshot.was_sent_to:
                raise NoSecret(
                    f"{settings.secret_file}: no such file, and the nodes' tokens need it; "
                    "set TMON_SECRET_FILE or TMON_SECRET as ingest has it"
                )
            digest = _draft(settings.db, snapshot, work, wanted, progress)
        name = shelf.free_name(now_ms)
        (work / "draft.db.sha256").write_text(f"{digest}  {name}\n", encoding="ascii")
        if wanted.public:  # for Datasette's user too, whatever the umask
            for part in ("draft.db", "draft.db.sha256"):
                (work / part).chmod(0o644)
        copies.settle(work / "draft.db.sha256")
        if secret is not None:
            write_secret(work / "draft.db.secret", secret)
        made = shelf.put(work, name)
        shelf.keep(wanted.keep, made)
    return made


def _draft(
    db: Path, snapshot: copies.Snapshot, work: Path, wanted: Wanted, progress: Progress
) -> str:
    """A copy in ``work``, on the disk and checked; its SHA-256."""
    draft = work / "draft.db"
    # Each copy takes up to the whole file's size; a public one is made of another.
    need_room(wanted.folder, snapshot.size_bytes * (2 if wanted.public else 1))
    with progress(snapshot.size_bytes + sum(snapshot.rows.values())) as bar:
        snapshot.copy(draft, bar.update)
        snapshot.end()
        if wanted.public:
            _compact(draft)
        digest = copies.settle(draft)
        try:
            copies.check(draft, snapshot.rows, bar.update)
        except copies.Unsound as error:
            raise copies.Unsound(
                f"{db}: its copy was not kept, for {error}; keep your older backups, "
                f"and look at the database itself: `sqlite3 {db} 'pragma integrity_check'`"
            ) from error
    return digest


def _compact(draft: Path) -> None:
    whole = draft.rename(draft.with_name("whole.db"))
    copies.compact(whole, draft)
    whole.unlink()


def _refuse_folder(settings: Settings, wanted: Wanted) -> None:
    """No secret goes where others may look, and nothing for others where a secret is.

    Raises:
        Unfit: the folder is of the other kind.
    """
    folder, offered = wanted.folder.resolve(), settings.download_dir
    if wanted.public:
        if holds_secrets(folder):
            raise Unfit(f"{folder} holds secrets; publish to a folder of its own")
    elif (offered and folder.is_relative_to(offered.resolve())) or is_public(folder):
        raise Unfit(f"{folder} is for everybody; a backup with its secret needs another folder")


def _secret(settings: Settings) -> bytes | None:
    """What signs the tokens; None where there is none.

    Raises:
        Unfit: it can't be read.
        CannotServe: it can be guessed.
    """
    try:
        return read_secret(settings)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unfit(f"{settings.secret_file}: {error.strerror}; no backup was made") from error


def _warnings(settings: Settings, path: Path, secret: bytes | None) -> Iterator[str]:
    """What is amiss with it, its secret and its folder."""
    if others := strangers(path.parent):
        yield (
            f"{path.parent}: others can write there, and have put files there, such as "
            f"{humanize.printable(others[0].name)}; they were left, and not counted"
        )
    try:
        vetting.vet(path, path)
    except (vetting.Untrusted, RefusedDatabase) as error:
        yield f"`tmon restore` won't take it: {error}"
    url = local_url(settings.host, settings.port)
    with closing(copies.open_unchanging(path)) as conn:
        node = conn.execute("select uid from nodes order by name limit 1").fetchone()
    if secret and url and node and (reason := difference(url, secret, node[0])):
        yield f"the secret beside it may be the wrong one: {reason}"


def _note(path: Path, chore: str, name: str, now_ms: int) -> None:
    """Tell the database, for `tmon check`; the copy was read whole, and found sound."""
    noted = {chore: Chore(now_ms, name), "integrity_check": Chore(now_ms, "ok")}
    try:
        with open_database(path) as db, transaction(db):
            remember(db, noted)
    except sqlite3.DatabaseError as error:
        raise NotNoted(f"{name} is made and sound, but {path} can't be told: {error}") from error
