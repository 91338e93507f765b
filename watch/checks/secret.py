"""T22: the ingest that runs refuses the tokens that are made with these settings."""

from collections.abc import Iterator

from ingest.running import difference
from watch.channels import NoSecret, secret
from watch.checks.answers import Addresses
from watch.findings import Finding, Severity
from watch.station import Station

PATIENCE_S = 3.0  # longer than a loaded ingest takes, so that a finding doesn't come and go


def check(station: Station, addresses: Addresses) -> Iterator[Finding]:
    """Ask with any node's uid; nothing is told where there is no node, secret or ingest."""
    if addresses.remote or not addresses.ingest:
        return
    node = station.db.execute("select uid from nodes order by name limit 1").fetchone()
    try:
        key = secret(station.settings)
    except NoSecret:
        return
    reason = node and difference(addresses.ingest, key, node[0], PATIENCE_S)
    if reason:
        yield Finding("T22", Severity.CRITICAL, reason, subject="secret")
