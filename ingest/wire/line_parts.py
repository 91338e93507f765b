"""Parts of a line of InfluxDB's line protocol, which may be escaped or quoted."""

import re

ESCAPED = re.compile(r"\\([,= \\])")
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def split_parts(text: str, separator: str, most: int = -1) -> list[str]:
    """Split at a separator that is neither escaped nor within a quoted text."""
    parts, start, at = [], 0, 0
    while at < len(text) and most:
        if text[at] == "\\":
            at += 2
        elif text[at] == '"' and (found := STRING.match(text, at)):
            at = found.end()
        elif text[at] == separator:
            parts.append(text[start:at])
            at = start = at + 1
            most -= 1
        else:
            at += 1
    return [*parts, text[start:]]
