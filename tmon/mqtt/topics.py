"""Patterns of topics: ``zigbee2mqtt/<device...>`` has one level, or with dots all that follow."""

import re
from collections.abc import Mapping

_PLACE = re.compile(r"<([a-z_]+)(\.\.\.)?>")


class Pattern:
    """Topics of one form; its places in ``<>`` stand for whole levels.

    ``<name...>`` stands for one or more levels; only the last place can.

    Raises:
        ValueError: it is no such pattern; the text says why.
    """

    def __init__(self, text: str) -> None:
        self.places: list[str] = []
        levels = text.split("/")
        last = len(levels) - 1
        expressions = [self._level(one, is_last=at == last) for at, one in enumerate(levels)]
        self._expression = re.compile("/".join(expressions), re.DOTALL)
        self.filter = "/".join(
            ("#" if level.endswith("...>") else "+") if level.startswith("<") else level
            for level in levels
        )

    def match(self, topic: str) -> Mapping[str, str] | None:
        """What stands in a topic at the places; None for a topic of another form."""
        found = self._expression.fullmatch(topic)
        return None if found is None else found.groupdict()

    def _level(self, level: str, *, is_last: bool) -> str:
        place = _PLACE.fullmatch(level)
        if place is None:
            if not level or any(one in level for one in "<>+#"):
                raise ValueError(f"{level!r} must be a word, or a place like <node>")
            return re.escape(level)
        name, dots = place.groups()
        if name in self.places:
            raise ValueError(f"<{name}> stands in it twice")
        if dots and not is_last:
            raise ValueError(f"<{name}...> must be the last level")
        self.places.append(name)
        return f"(?P<{name}>{'.+' if dots else '[^/]+'})"
