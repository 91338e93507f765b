"""T22: the secret is missing, or the running ingest has another one."""

from collections.abc import Iterator

from tmon.core.errors import CannotServe
from tmon.db.tokens import read_secret
from tmon.maintenance.token_probe import why_refused_at
from tmon.watch.checks.reachability import Addresses
from tmon.watch.findings import Finding, Severity
from tmon.watch.station import Station

TIMEOUT_S = 3.0  # longer than a loaded ingest takes, so that the finding doesn't come and go


def check(station: Station, addresses: Addresses) -> Iterator[Finding]:
    """Read the secret, and ask the running ingest whether it accepts a token made with it."""
    node = station.db.execute("select uid from nodes order by name limit 1").fetchone()
    if addresses.remote or not addresses.ingest or not node:
        return
    try:
        key = read_secret(station.settings)
        reason = why_refused_at(addresses.ingest, key, node[0], TIMEOUT_S)
    except FileNotFoundError:
        reason = (
            f"{station.settings.secret_file} is missing: ingest can't be started again, no token "
            "be made and no backup; bring it back from a backup's .secret file"
        )
    except CannotServe as error:
        reason = str(error)
    except PermissionError:
        return  # only the user that tmon runs as may read it
    if reason:
        yield Finding("T22", Severity.CRITICAL, reason, subject="secret")
