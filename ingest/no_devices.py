"""Gateways' devices on a station on several machines: there are none."""

from collections.abc import Iterable, Mapping

from ingest.devices import GatewayDevices, Store
from tmon.core.errors import Forbidden
from tmon.core.reading import Batch, Gateway, Receipt
from tmon.db.numbered import Number


class NoDevices(GatewayDevices):
    """Refuses what gateways send: the devices' file would be another on each machine."""

    async def store(self, gateway: Gateway, batches: Mapping[str, Batch], store: Store) -> Receipt:
        """Store nothing.

        Raises:
            Forbidden: always.
        """
        raise Forbidden(
            f"the gateway's key of {gateway.name} can't be used on a station on several machines: "
            "give each device the key of a node (docs/cluster.md)"
        )

    async def node_without_key(self, device: str) -> None:
        """No device may send without a key."""

    async def repeated(self, measured: Mapping[Number, int], now_ms: int) -> dict[Number, int]:
        return {}

    async def zones(self, device_ids: Iterable[str]) -> dict[str, str]:
        return {}
