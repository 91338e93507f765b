"""T01: sensors that are silent, and nodes that never sent anything."""

from collections.abc import Iterator

from tmon.core import reasons
from tmon.watch.findings import Finding, Severity
from tmon.watch.station import Station


def check(station: Station) -> Iterator[Finding]:
    """Silent sensors, as the view `latest` defines them, and silent nodes without sensors."""
    sensors = station.db.execute("""
        select latest.node, latest.name, latest.sensor, latest.measured_ms
        from latest where silent
        order by latest.node, latest.name
    """)
    for node, name, sensor, measured_ms in sensors:
        about = (node, name, sensor)
        yield Finding("T01", Severity.WARNING, reasons.SILENT, *about, since_ms=measured_ms)
    nodes = station.db.execute(
        """
        select name, created_ms from nodes
        where revoked_ms is null and last_received_ms is null
            and created_ms + silent_after_s * 1000 < ?
            and not exists (select 1 from sensors where node = nodes.name)
        order by name
        """,
        [station.now_ms],
    )
    for node, created_ms in nodes:
        yield Finding("T01", Severity.WARNING, reasons.NEVER_HEARD, node, since_ms=created_ms)
