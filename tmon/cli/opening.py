"""Open the database for a command: to change the station, or for what each machine does itself."""

from sqlite_utils import Database

from tmon.core.errors import TmonError
from tmon.core.settings import Settings
from tmon.db.connect import open_database
from tmon.db.tokens import open_station


class NotInCluster(TmonError):
    """A command that isn't possible for a station on several machines."""


def open_to_change(settings: Settings) -> Database:
    """Open a database that exists, to change the station on all its machines.

    Raises:
        RefusedDatabase: it can't be used.
        CannotConnect: there are several machines, and NATS can't be reached.
    """
    return _open_on_all_machines(settings) if settings.stream else open_database(settings.db)


def open_or_create(settings: Settings) -> Database:
    """Open the database as ``open_to_change``; create it where there never was one.

    Raises:
        CannotServe: it is missing, while its secret or its log is still there.
        RefusedDatabase, CannotConnect: as ``open_to_change``.
    """
    return _open_on_all_machines(settings) if settings.stream else open_station(settings)


def open_here(settings: Settings) -> Database:
    """Open the database to read it, or to do what each machine does for its own file.

    Raises:
        RefusedDatabase: it can't be used.
    """
    return open_database(settings.db, in_cluster=True)


def refuse_in_cluster(settings: Settings, command: str) -> None:
    """Refuse a command that would change one machine's file alone.

    Raises:
        NotInCluster: the station is on several machines.
    """
    if settings.stream:
        raise NotInCluster(
            f"`tmon {command}` isn't possible for a station on several machines (TMON_STREAM): "
            "it would change this one's file alone"
        )


def _open_on_all_machines(settings: Settings) -> Database:
    from tmon.stream import owner_database  # noqa: PLC0415 - most stations have one machine

    return owner_database.open_to_change(settings)
