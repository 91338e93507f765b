"""Security headers on every answer."""

from starlette.types import Message, Receive, Scope, Send

from tmon.pages.asgi import Middleware

POLICY = b"content-security-policy"
HEADERS = {
    # Datasette's pages contain inline scripts and styles.
    POLICY: b"default-src 'self'; script-src 'self' 'unsafe-inline';"
    b" style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none';"
    b" base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    b"x-frame-options": b"DENY",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
}


class SecurityHeaders(Middleware):
    """Adds ``HEADERS``. An answer's own content security policy is kept, as our pages set one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _with_security_headers(message["headers"])}
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _with_security_headers(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    added = dict(HEADERS)
    policy = next((value for name, value in headers if name.lower() == POLICY), None)
    if policy is not None:
        added[POLICY] = policy
        if b"frame-ancestors *" in policy:  # embed.html, which any site may frame
            del added[b"x-frame-options"]
    kept = ((name, value) for name, value in headers if name.lower() not in added)
    return [*kept, *added.items()]
