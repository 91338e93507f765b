"""TCP connections through a proxy, so that a test can cut a network without any rights."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class Link:
    """One way into a server: a port of our own that leads to the server's.

    A link that is cut carries no byte, and its connections stay open, as with a cable that was
    pulled: the ends find out by themselves. What was under way arrives once it is joined again.
    """

    def __init__(self, network: "Network") -> None:
        self._network = network
        self._joined = asyncio.Event()
        self._joined.set()
        self.port = 0
        self.target: int | None = None  # the server's port, which changes as it starts again

    async def listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def cut(self) -> None:
        self._network.call(self._joined.clear)

    def join(self) -> None:
        self._network.call(self._joined.set)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            await self._joined.wait()
            if self.target is None:
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            writers.append(far_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, far_writer))
                both.create_task(self._carry(far_reader, writer))
        except* (OSError, asyncio.CancelledError):
            pass  # an end is gone, or the test is over
        finally:
            for each in writers:
                each.transport.abort()
                with suppress(OSError):
                    await each.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 18):
            await self._joined.wait()
            writer.write(data)
            await writer.drain()
        await self._joined.wait()
        raise ConnectionResetError  # ends the other direction too: NATS never closes only one


class Network:
    """The links of a test, all in one thread of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._listening: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def link(self) -> Link:
        async def made() -> Link:
            link = Link(self)
            self._listening.append(await link.listen())
            return link

        return asyncio.run_coroutine_threadsafe(made(), self._loop).result()

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in the links' thread."""

        async def called() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result()

    def close(self) -> None:
        async def end() -> None:
            for server in self._listening:
                server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
