"""Lines of InfluxDB's line protocol and their parts, which may be escaped or quoted."""

import re
from collections.abc import Iterator

JOINED_LINES = 50  # that one text may go over
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


def split_lines(text: str) -> Iterator[tuple[int, str]]:
    """Each line and its number; a text in quotation marks may go over several lines."""
    lines = text.split("\n")
    if '"' not in text:
        yield from enumerate(lines, 1)
        return
    number = 0
    while number < len(lines):
        joined = lines[number]
        last = number
        while _is_open(joined) and last + 1 < min(len(lines), number + JOINED_LINES):
            last += 1
            joined += "\n" + lines[last]
        if _is_open(joined):  # a quotation mark in a tag, say, that is no text's
            joined, last = lines[number], number
        yield number + 1, joined
        number = last + 1


def _is_open(line: str) -> bool:
    """Whether a text begins in a line that doesn't end in it."""
    return STRING.sub("", line).count('="') > 0
