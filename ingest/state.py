"""What the handlers share, made at start-up."""

from collections.abc import Awaitable, Callable
from typing import TypedDict

from ingest.auth import Authenticator
from ingest.body import BodyParser
from ingest.devices import GatewayDevices
from ingest.metrics import Metrics
from ingest.trial import Trials
from ingest.wires import WireRequests
from ingest.writer_client import WriterClient
from tmon.core.reading import Batch, Receipt
from tmon.db.damage import Damage


class State(TypedDict):
    """Starlette's state of a request, by these names."""

    authenticator: Authenticator
    now_ms: Callable[[], int]  # the server's clock, Unix milliseconds
    parser: BodyParser
    writer: WriterClient
    store: Callable[[Batch, Callable[[], bool]], Awaitable[Receipt]]  # the writer's, or limited
    damage: Damage
    metrics: Metrics
    answered: Callable[[int], object]  # called with each status by the connections
    wires: WireRequests
    devices: GatewayDevices
    trials: Trials
