"""What sensors are called whose devices have names of their own for them."""

import hashlib
import re
import unicodedata
from functools import lru_cache

from tmon.core.logs import redacted
from tmon.core.names import is_sensor_name
from tmon.core.reading import Refusal, clip

NAME_CHARACTERS, HASH_CHARACTERS = 64, 8
PREFIX_HASH_CHARACTERS = 4  # a node has few devices
CLEANED_CHARACTERS = 1_000  # of a name that may be a megabyte long
_NO_NAME = re.compile(r"[^A-Za-z0-9_.:/-]+")


@lru_cache(maxsize=4096)
def sensor_name(text: str) -> str:
    """A sensor's name out of a device's own; the same for the same text.

    A text that is too long is cut, and ends in a hash of the whole. So does one in another
    script, which would else be called as all others are, and one with a key: names are public.

    Raises:
        Refusal: nothing of it can be in a name.
    """
    shown = redacted(text[:CLEANED_CHARACTERS])
    if is_sensor_name(text) and shown == text:
        return text
    plain = [one for one in unicodedata.normalize("NFKD", shown) if not unicodedata.combining(one)]
    is_lost = shown != text or any(one.isalnum() and not one.isascii() for one in plain)
    name = re.sub("//+", "/", _NO_NAME.sub("_", "".join(plain).strip()))
    name = re.sub(r"\.\.+", ".", re.sub(r"(?<=/)\.(?=/|$)", "_", name)).lstrip("_.:/-").rstrip("/")
    if is_lost or len(name) > NAME_CHARACTERS:
        digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:HASH_CHARACTERS]
        name = f"{name[: NAME_CHARACTERS - HASH_CHARACTERS - 1]}-{digest}".lstrip("-")
    if not is_sensor_name(name):
        raise Refusal("invalid_sensor", f"no sensor can be called {clip(text)!r}")
    return name


@lru_cache(maxsize=4096)
def prefix(text: str) -> str:
    """A device's or a tag's own text as a part of a sensor's name; different for another text.

    One with characters that no part may have ends in a hash: ``my dev`` isn't ``my_dev``.
    """
    if is_sensor_name(text) and "/" not in text:
        return text
    name = re.sub("[^A-Za-z0-9_.:-]+", "_", text.strip("/")[:NAME_CHARACTERS])
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:PREFIX_HASH_CHARACTERS]
    return f"{name}-{digest}".lstrip("-")
