"""What nodes and sensors may be called."""

import re

NODE_GRAMMAR = "must be 1 to 64 ASCII letters, digits or _ - :, beginning with a letter or digit"
SENSOR_GRAMMAR = (
    "must be 1 to 64 ASCII letters, digits or _ . - : /, "
    "begin with a letter or digit, and hold no //, no .. and no . alone between /"
)

_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:-]{0,63}")
_SENSOR = re.compile(r"(?!.*(//|\.\.|/\.(/|$)))[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}")


def can_be_node(name: str) -> bool:
    """Whether a node can be called that: a sensor's grammar without / and dot."""
    return _NODE.fullmatch(name) is not None


def can_be_sensor(name: str) -> bool:
    """Whether a sensor can be called that."""
    return _SENSOR.fullmatch(name) is not None
