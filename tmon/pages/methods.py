"""What is published can be read: GET and HEAD, nothing else, before Datasette has a request."""

from collections.abc import Callable
from typing import Any

from datasette import Response, hookimpl

from tmon.pages.admission import App, Receive, Scope
from tmon.pages.errors import send_error
from tmon.pages.sending import Send

ALLOWED = ("GET", "HEAD", "OPTIONS")


@hookimpl(tryfirst=True)  # innermost, so that its answers carry the security headers too
def asgi_wrapper(datasette: Any) -> Callable[[App], App]:
    """Answer OPTIONS with the methods that there are, and what is none of them with 405."""

    def checked(app: App) -> App:
        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
                return await app(scope, receive, send)
            headers = {"allow": ", ".join(ALLOWED)}
            if scope["method"] == "OPTIONS":
                await Response("", 204, headers).asgi_send(send)
                return None
            message = "Nothing here takes this method: what is published is read, by GET or HEAD."
            title = "Not a method"
            return await send_error(
                datasette, scope, send, 405, message, title=title, headers=headers
            )

        return wrapped

    return checked
