"""The names that nodes and sensors may have."""

import re

NODE_GRAMMAR = (
    "must be 1 to 64 ASCII letters, digits or _ - :, beginning with a letter or digit, "
    "and hold no key or token"
)
SENSOR_GRAMMAR = (
    "must be 1 to 64 ASCII letters, digits or _ . - : /, "
    "begin with a letter or digit, and hold no //, no .., no . alone between / and no key or token"
)

_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:-]{0,63}")
_SENSOR = re.compile(r"(?!.*(//|\.\.|/\.(/|$)))[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}")

# A key (tmon/db/keys.py), and what a token begins with: its name and its node's uid.
_SECRET = re.compile(
    r"(?<![\da-f])[\da-f]{32}(?![\da-f])|tmon_[\w:-]+\.[\da-f]{16}\.", re.ASCII | re.IGNORECASE
)


def holds_secret(text: str) -> bool:
    """Whether a text has the form of a key or token; names and units are public."""
    return _SECRET.search(text) is not None


def is_node_name(name: str) -> bool:
    """Whether a node can have that name: as a sensor's, without / and dot."""
    return _NODE.fullmatch(name) is not None and not holds_secret(name)


def is_sensor_name(name: str) -> bool:
    """Whether a sensor can have that name."""
    return _SENSOR.fullmatch(name) is not None and not holds_secret(name)
