"""The connection to the NATS servers: as the settings say, made again whenever it breaks."""

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from tmon.core.errors import TmonError
from tmon.core.settings import Settings
from tmon.stream.client import TmonClient

PENDING_BYTES = 64 * 1024 * 1024  # of messages on their way to the server: 16 of 1 MB, and spare
ANSWER_S = 5.0  # for a command's questions
ATTEMPT_S = 1.5  # for what is asked again: a stream without a leader, or a lost server, is silent
RETRY_S = 0.5
CONNECT_S = 2
PING_S = 2  # a server that doesn't answer two of them is left
LEAST_SERVER = (2, 12)  # older ones weren't tried

T = TypeVar("T")


class CannotConnect(TmonError):
    """The NATS servers can't be reached or used as the settings say."""


async def connect(
    settings: Settings,
    name: str,
    on_reconnect: Callable[[], object] = lambda: None,
) -> Client:
    """Connect, however long it takes; a connection that breaks is made again.

    If the servers end it for good, so does the process: its supervisor starts it again.

    Args:
        settings: with the servers, and how to speak to them.
        name: of this process, which the servers show.
        on_reconnect: is called each time that it is made again.

    Raises:
        CannotConnect: the settings can't be used, or a server is too old.
    """
    log = logging.getLogger(f"tmon.{name}")
    client = TmonClient()
    told: set[str] = set()  # why there is no connection; each server may have a reason of its own

    async def on_error(error: Exception) -> None:
        reason = describe(error)
        if not client.is_connected and not client.closes and reason not in told:
            told.add(reason)
            log.warning("no connection to the NATS servers: %s", reason)

    async def on_disconnect() -> None:
        if not client.leaves:
            await on_error(ConnectionError("it broke"))

    async def on_connect() -> None:
        if told:
            log.warning("connected to the NATS servers again")
        told.clear()
        client.leaves = False
        on_reconnect()

    async def on_closed() -> None:
        if not client.closes:
            log.critical("a NATS server has ended the connection: %s", describe(client.last_error))
            os._exit(1)

    options = _options(settings)
    try:
        await _connect(
            client,
            options,
            name=f"tmon {name}",
            max_reconnect_attempts=-1,
            reconnect_time_wait=RETRY_S,
            error_cb=on_error,
            disconnected_cb=on_disconnect,
            reconnected_cb=on_connect,
            closed_cb=on_closed,
        )
    except BaseException:
        await client.close()
        raise
    await on_connect()
    return client


@asynccontextmanager
async def connected(settings: Settings, name: str) -> AsyncIterator[Client]:
    """A connection for a command, which doesn't wait for servers that don't answer.

    Raises:
        CannotConnect: no server answers, or none may be used so.
    """
    options = _options(settings)
    reasons: list[str] = []
    for server in settings.stream:
        client = TmonClient()
        try:
            async with asyncio.timeout(ANSWER_S):
                await _connect_once(client, {**options, "servers": [server]}, name)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            reasons.append(describe(error))
            await client.close()
            continue
        except BaseException:
            await client.close()
            raise
        break
    else:
        servers = ", ".join(without_password(server) for server in settings.stream)
        raise CannotConnect(f"no NATS server answers at {servers}: {reasons[0]}")
    try:
        yield client
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise CannotConnect(f"the NATS servers: {describe(error)}") from None
    finally:
        await client.close()


def ask(settings: Settings, name: str, question: Callable[[Client], Awaitable[T]]) -> T:
    """What ``question`` finds out, or does, with a connection of a command's.

    Raises:
        CannotConnect: as ``connected``.
    """

    async def run() -> T:
        async with connected(settings, name) as client:
            return await question(client)

    return asyncio.run(run())


async def _connect_once(client: TmonClient, options: Mapping[str, Any], name: str) -> None:
    """Connect to one server, or say why not.

    Raises:
        nats.errors.Error, OSError, TimeoutError: not to this one.
        CannotConnect: to none.
    """
    reasons: list[Exception] = []

    async def on_error(error: Exception) -> None:
        reasons.append(error)

    try:
        await _connect(
            client,
            options,
            name=f"tmon {name}",
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            error_cb=on_error,
        )
    except nats.errors.NoServersError:
        raise reasons[0] if reasons else TimeoutError from None


def _options(settings: Settings) -> dict[str, Any]:
    """How the client speaks to the servers of the settings."""
    options: dict[str, Any] = {"servers": [*settings.stream]}
    if settings.stream_ca or any(server.startswith("tls:") for server in settings.stream):
        options["tls"] = _tls(settings.stream_ca)
    if settings.stream_credentials:
        options.update(_credentials(settings.stream_credentials))
    return options


async def _connect(client: TmonClient, options: Mapping[str, Any], **more: Any) -> None:
    client.must_encrypt = "tls" in options
    logging.getLogger("asyncio").addFilter(_isnt_of_nats_py)
    await client.connect(
        connect_timeout=CONNECT_S,
        dont_randomize=True,  # the first one given is the nearest
        ping_interval=PING_S,
        pending_size=PENDING_BYTES,
        **options,
        **more,
    )
    refuse_old_server(client)


def refuse_old_server(client: Client) -> None:
    """Refuse a server that lacks what tmon needs.

    Raises:
        CannotConnect: it says which version is needed.
    """
    version = client.connected_server_version
    if (version.major, version.minor) < LEAST_SERVER:
        least = ".".join(map(str, LEAST_SERVER))
        raise CannotConnect(
            f"the NATS server is version {version.major}.{version.minor}.{version.patch}, "
            f"and tmon needs {least} or newer"
        )


def _isnt_of_nats_py(record: logging.LogRecord) -> bool:
    """Whether a warning of asyncio's is not the one of each TLS connection that nats-py closes."""
    return not str(record.msg).startswith("returning true from eof_received")


def _tls(authority: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except ssl.SSLError:
        raise CannotConnect(f"TMON_STREAM_CA: {authority}: no certificate is in it") from None
    except OSError as error:
        reason = error.strerror
        raise CannotConnect(f"TMON_STREAM_CA: {authority}: {reason}") from None


def _credentials(path: Path) -> dict[str, str]:
    """The user and password, or the token, of a file."""
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text"
        raise CannotConnect(f"TMON_STREAM_CREDENTIALS: {path}: {reason}") from None
    if not text or "\n" in text:
        raise CannotConnect(
            f"TMON_STREAM_CREDENTIALS: {path} must hold one line: user:password, or a token"
        )
    user, colon, password = text.partition(":")
    return {"user": user, "password": password} if colon else {"token": text}


def describe(error: BaseException | None) -> str:
    """An error of the client or of a server in a few words."""
    if isinstance(error, ssl.SSLError):
        return f"its certificate isn't accepted: {getattr(error, 'verify_message', error)}"
    if isinstance(error, nats.js.errors.ServiceUnavailableError) and not error.err_code:
        return "no JetStream: is `jetstream` in their configuration, and do most of them run?"
    if isinstance(error, nats.errors.NoServersError | TimeoutError):
        return "no answer"
    if "authorization violation" in str(error).lower():
        return "the server refuses the password: see TMON_STREAM_CREDENTIALS"
    if isinstance(error, OSError) and (error.errno or 0) > 0:  # asyncio has texts of its own
        return os.strerror(error.errno or 0)
    description = getattr(error, "description", None) or getattr(error, "strerror", None)
    return str(description or error).removeprefix("nats: ").strip("'") or type(error).__name__


def without_password(server: str) -> str:
    """A server's address as it may be shown."""
    parts = urlsplit(server)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
