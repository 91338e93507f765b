"""The names that nodes and sensors may have."""

import re

NODE_GRAMMAR = "must be 1 to 64 ASCII letters, digits or _ - :, beginning with a letter or digit"
SENSOR_GRAMMAR = (
    "must be 1 to 64 ASCII letters, digits or _ . - : /, "
    "begin with a letter or digit, and hold no //, no .. and no . alone between /"
)

_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:-]{0,63}")
_SENSOR = re.compile(r"(?!.*(//|\.\.|/\.(/|$)))[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}")


def is_node_name(name: str) -> bool:
    """Whether a node can have that name: as a sensor's, without / and dot."""
    return _NODE.fullmatch(name) is not None


def is_sensor_name(name: str) -> bool:
    """Whether a sensor can have that name."""
    return _SENSOR.fullmatch(name) is not None
