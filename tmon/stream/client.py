"""A NATS client that is safe with servers as they may be."""

import asyncio
from contextlib import suppress

import nats.errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

CLOSE_S = 1.0


class NotEncrypted(nats.errors.Error):
    """A server that takes credentials and readings in plain text."""

    def __str__(self) -> str:
        return (
            "the server doesn't encrypt: give it a certificate (`tls` in its configuration), or "
            "use nats:// without TMON_STREAM_CA"
        )


class NotNats(nats.errors.Error):
    """Another program's port, or a server that ends as it is asked."""

    def __str__(self) -> str:
        return "what answers doesn't greet as a NATS server does: is the port right?"


class TmonClient(Client):
    """A client that is safe with servers that don't encrypt, and with those that are cut off.

    It sends no credentials before the connection is encrypted, if it must be.
    """

    must_encrypt = False
    closes = leaves = False  # by our wish: for good, or for another server

    def _connect_command(self) -> bytes:
        if self.must_encrypt and not self._server_info.get("tls_required"):
            raise NotEncrypted
        return super()._connect_command()

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except OSError:  # also of a certificate that isn't accepted, which is a ValueError too
            raise
        except (ValueError, AttributeError, TypeError):  # by a line without end, or odd JSON
            raise NotNats from None
        except nats.errors.Error as error:
            if str(error).startswith(("nats: empty response", "nats: info message")):
                raise NotNats from None
            raise

    async def force_reconnect(self) -> None:
        self.leaves = self.leaves or self.is_connected
        await super().force_reconnect()

    async def _attempt_reconnect(self) -> None:
        # What wasn't sent yet would be waited for, and a server that is cut off never takes it.
        self._abort()
        await super()._attempt_reconnect()

    async def close(self) -> None:
        self.closes = True
        # RuntimeError: uvloop's, where the server has just closed the connection.
        with suppress(nats.errors.Error, OSError, TimeoutError, RuntimeError):
            async with asyncio.timeout(CLOSE_S):  # after a TLS handshake that failed, it hangs
                await super().close()
        self._abort()  # what was cancelled as it began isn't closed

    def _abort(self) -> None:
        if isinstance(self._transport, TcpTransport) and self._transport._io_writer:
            self._transport._io_writer.transport.abort()
