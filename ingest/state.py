"""What the handlers share, made at start-up."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypedDict

from ingest.auth import Authenticator
from ingest.body import BodyParser
from ingest.devices import GatewayDevices
from ingest.metrics import Metrics
from ingest.trial import Trials
from ingest.wires import WireRequests
from tmon.core.reading import Batch, Receipt
from tmon.db.damage import Damage


class BatchWriter(Protocol):
    """What makes batches durable: ``WriterClient``, or the streams' ``Publisher``."""

    @property
    def backlog(self) -> int: ...
    @property
    def oldest_waiting_s(self) -> float: ...
    def check_capacity(self) -> None: ...
    async def check_health(self) -> None: ...
    async def store(self, batch: Batch, sender_closed: Callable[[], bool] = ..., /) -> Receipt: ...
    async def close(self) -> None: ...


class State(TypedDict):
    """Starlette's state of a request, by these names."""

    authenticator: Authenticator
    now_ms: Callable[[], int]  # the server's clock, Unix milliseconds
    parser: BodyParser
    writer: BatchWriter
    store: Callable[[Batch, Callable[[], bool]], Awaitable[Receipt]]  # the writer's, or limited
    damage: Damage
    metrics: Metrics
    answered: Callable[[int], object]  # called with each status by the connections
    wires: WireRequests
    devices: GatewayDevices
    trials: Trials
