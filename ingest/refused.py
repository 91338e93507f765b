"""Whole requests that were refused, kept in the table ``rejected`` for whoever asks why."""

from contextlib import suppress

from starlette.types import Scope

from tmon.core.errors import ApiError
from tmon.core.reading import Batch, Gateway, Node, Rejection, Sender, as_sent

RETRIED_FROM = 429  # with this status and above, the sender keeps its readings and tries again


async def keep_refused(scope: Scope, sender: Sender, error: ApiError, request: str) -> None:
    """Keep the beginning of a request that will never be stored, and why.

    Only of a sender with a valid token or key: nobody else may write to the database. What a
    gateway has sent may be of devices that aren't adopted, and so stays private.

    Args:
        scope: the request's.
        sender: the node or gateway.
        error: why it was refused.
        request: its body, or its address if it has none.
    """
    closed = scope["extensions"]["tmon.sender"]
    if error.status >= RETRIED_FROM or closed.closed:
        return
    state, gateway = scope["state"], None
    if isinstance(sender, Gateway):
        sender, gateway, request = Node(sender.id, "", ""), sender.name, ""
    rejection = Rejection(0, error.code, str(error), raw=as_sent(request) or None)
    batch = Batch(sender, state["now_ms"](), (), (rejection,), gateway=gateway)
    with suppress(ApiError):  # it is refused all the same
        await state["store"](batch, lambda: closed.closed)
