"""A batch as it travels in messages, which have a largest size."""

import msgspec
from msgspec.structs import replace

from tmon.core.reading import Batch, Receipt
from tmon.store.insert import REJECTED_KEPT_PER_BATCH
from tmon.stream.messages import MESSAGE_BYTES

BATCH_BYTES = MESSAGE_BYTES - 100  # of an encoded batch, for what is around it


def encoded_parts(batch: Batch) -> list[tuple[msgspec.Raw, Receipt]]:
    """A batch as it travels, in as many parts as messages need, each with its receipt."""
    receipt = Receipt(len(batch.readings), 0, batch.rejected)
    batch = replace(batch, rejected=batch.rejected[:REJECTED_KEPT_PER_BATCH])
    encoded = msgspec.Raw(msgspec.msgpack.encode(batch))
    if len(encoded) <= BATCH_BYTES:
        return [(encoded, receipt)]
    if len(batch.readings) < 2:  # what was sent is for people, who see its beginning only
        batch = replace(batch, readings=[replace(one, sent=None) for one in batch.readings])
        return [(msgspec.Raw(msgspec.msgpack.encode(batch)), receipt)]
    half = len(batch.readings) // 2
    first = replace(batch, readings=batch.readings[:half])
    second = replace(batch, readings=batch.readings[half:], rejected=())
    parts = [*encoded_parts(first), *encoded_parts(second)]
    parts[0] = (parts[0][0], replace(parts[0][1], rejected=receipt.rejected))
    return parts
