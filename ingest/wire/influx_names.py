"""What the series of InfluxDB's line protocol are called here, and their units."""

import hashlib

from ingest.wire.line_parts import ESCAPED, split_parts
from ingest.wire.sensor_community import quantity_of
from tmon.core.device_names import sensor_name
from tmon.core.device_values import without_unit
from tmon.core.reading import Gateway, Refusal, Sender, clip

_PLAIN_MEASUREMENTS = ("state", "units")  # Home Assistant's for what has no unit
Field = tuple[str, str | None, str]  # a sensor's name, its unit, and its device behind a gateway
_cache: dict[tuple[str, str, str], Field] = {}  # by sender, head and field
DEVICE_TAGS = ("device", "host", "node", "source", "id")  # which of a gateway's tags says whose
CACHED_FIELDS = 16_384
# Entities that Home Assistant has from tmon (tmon/mqtt/home_assistant.py): each would come back
# as another sensor, which it would have too, for ever.
OWN_ENTITY = "tmon_"
AIRROHR = "feinstaub"  # the measurement of airRohr boxes, whose fields have units of their own


def sensor_of(head: str, field: str, sender: Sender) -> Field | None:
    """The name, unit and device of a series' field, from the cache if they are in it.

    None for what comes from us.
    """
    key = sender.id, head, field
    if (known := _cache.get(key)) is None:
        if len(_cache) >= CACHED_FIELDS:
            _cache.clear()
        known = _new_sensor(head, field, sender)
        if known is not None:
            _cache[key] = known
    return known


def _new_sensor(head: str, field: str, sender: Sender) -> Field | None:
    """The name, unit and device of a series' field: by its measurement, tags and field.

    Raises:
        Refusal: a tag or the field's name is empty or repeated.
    """
    measurement, *pairs = (
        [ESCAPED.sub(r"\1", part) for part in split_parts(part, "=", 1)]
        for part in split_parts(head, ",")
    )
    name = "=".join(measurement)
    tags = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
    if not name or not field or len(tags) < len(pairs) or not all(tags.values()):
        raise Refusal("invalid_line", f"{clip(head)!r}: a name or a tag is empty or repeated")
    device = ""
    if isinstance(sender, Gateway):
        device = next((tags.pop(tag) for tag in DEVICE_TAGS if tag in tags), "")
    elif tags.get("host", "").casefold() in {
        one.casefold() for one in (sender.name, sender.label, *sender.former)
    }:
        del tags["host"]  # it says nothing that the node doesn't
    if "entity_id" in tags:
        if tags.get("domain") == "sensor" and tags["entity_id"].startswith(OWN_ENTITY):
            return None
        return (*_of_home_assistant(name, tags, field), device)
    if name == AIRROHR and (known := quantity_of(field)) is not None:
        return (*known, device)
    field, unit = without_unit(field)
    parts = [name, *(_part(tags[key]) for key in sorted(tags))]
    if field != "value":
        parts.append(field)
    return sensor_name("/".join(parts)), unit, device


def _part(tag: str) -> str:
    """A tag's value within a name; a hash makes one that has a / different from two values."""
    if "/" not in tag:
        return tag
    digest = hashlib.sha256(tag.encode(errors="replace")).hexdigest()[:4]
    return f"{tag.strip('/').replace('/', '_')}-{digest}".lstrip("-")


def _of_home_assistant(
    measurement: str, tags: dict[str, str], field: str
) -> tuple[str, str | None]:
    """An entity's state is called as the entity; its attributes have their name behind it."""
    domain, entity = tags.get("domain", "sensor"), tags["entity_id"]
    name = entity if domain == "sensor" else f"{domain}.{entity}"
    if field != "value":
        return sensor_name(f"{name}/{field}"), None
    is_unit = measurement not in (*_PLAIN_MEASUREMENTS, f"{domain}.{entity}")
    return sensor_name(name), measurement if is_unit and len(measurement) <= 32 else None
