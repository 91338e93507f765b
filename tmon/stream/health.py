"""How the streams are, and how far a file is behind them: for `tmon check`."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import nats.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from tmon.core.settings import Settings
from tmon.db.connect import open_migrated_for_reading
from tmon.stream.connection import ANSWER_S, CannotConnect, ask, describe
from tmon.stream.messages import stream_name
from tmon.stream.positions import read_positions
from tmon.stream.streams import BUCKET, BUCKET_LOST, BUCKET_STREAM, StreamState, all_states, behind


class Health(Struct, frozen=True):
    """One look at all streams.

    ``waiting`` has, by partition, when the first message was published that the file lacks, in
    Unix milliseconds; ``stored`` how far the file has each. Both are empty without a file.
    ``bucket_behind`` has the servers that don't have all of the bucket.
    """

    states: Sequence[StreamState]
    bucket_behind: Sequence[str]
    stored: dict[int, int]
    waiting: dict[int, int]

    @property
    def missing(self) -> dict[str, int]:
        """The servers that aren't up to date, each with the number of its streams."""
        names = [*self.bucket_behind, *(name for one in self.states for name in one.behind)]
        return {name: names.count(name) for name in sorted(set(names))}

    @property
    def leaderless(self) -> int:
        """How many streams take no messages, as most of their servers are missing."""
        return sum(not state.has_leader for state in self.states)

    @property
    def full_share(self) -> float:
        """How full the fullest stream is; 0 to 1."""
        shares = [state.bytes / state.max_bytes for state in self.states if state.max_bytes > 0]
        return max(shares, default=0.0)


def look(settings: Settings, *, again_after_s: float) -> tuple[Health, Health]:
    """Look at the streams twice, so that what lasts a moment isn't taken for what stays.

    Raises:
        CannotConnect: the servers don't answer, or have no streams.
    """

    async def look_twice(client: Client) -> tuple[Health, Health]:
        first = await _look(client, settings.db)
        if not first.missing and not first.waiting:
            return first, first
        await asyncio.sleep(again_after_s)
        return first, await _look(client, settings.db)

    return ask(settings, "check", look_twice)


async def _look(client: Client, path: Path) -> Health:
    with open_migrated_for_reading(path) as db:
        stored = {one.partition: one.sequence for one in read_positions(db)}
    states = await all_states(client)
    bucket_behind = await _bucket_behind(client)
    lacking = [one for one in states if one.last > stored.get(one.partition, one.last)]
    times = await asyncio.gather(*(_published_ms(client, one, stored) for one in lacking))
    waiting = dict(zip([one.partition for one in lacking], times, strict=True))
    return Health(
        states, bucket_behind, stored, {one: at_ms for one, at_ms in waiting.items() if at_ms}
    )


async def _bucket_behind(client: Client) -> Sequence[str]:
    """The servers that don't have all of the bucket.

    Raises:
        CannotConnect: it is lost, or nobody answers for it.
    """
    try:
        return behind(await client.jetstream(timeout=ANSWER_S).stream_info(BUCKET_STREAM))
    except NotFoundError:
        raise CannotConnect(BUCKET_LOST) from None
    except (nats.errors.Error, OSError) as error:
        raise CannotConnect(f"the bucket {BUCKET}: {describe(error)}") from None


async def _published_ms(client: Client, state: StreamState, stored: dict[int, int]) -> int | None:
    """When the next message after the stored ones was published, or the first that is kept."""
    sequence = max(stored[state.partition] + 1, state.first)
    stream = client.jetstream(timeout=ANSWER_S)
    try:
        message = await stream.get_msg(stream_name(state.partition), sequence)
    except (nats.errors.Error, OSError) as error:
        raise CannotConnect(f"{stream_name(state.partition)}: {describe(error)}") from None
    return int(message.time.timestamp() * 1000) if message.time else None
