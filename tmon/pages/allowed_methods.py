"""Published data can only be read: GET and HEAD are allowed, everything else is a 405."""

from datasette import Response
from starlette.types import Receive, Scope, Send

from tmon.core.languages import gettext
from tmon.pages.asgi import Middleware

ALLOWED = "GET, HEAD, OPTIONS"


class AllowedMethods(Middleware):
    """Answers OPTIONS with the allowed methods and rejects all that write with 405."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in {"GET", "HEAD"}:
            await self.app(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await Response("", 204, {"allow": ALLOWED}).asgi_send(send)
        else:
            message = gettext("Only GET and HEAD are allowed here: the data is read-only.")
            await self.send_error(
                *(scope, send, 405, message),
                title=gettext("Method not allowed"),
                headers={"allow": ALLOWED},
            )
