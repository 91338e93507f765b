"""What people read on a page, and which of it is still English."""

import re
from functools import cache
from html.parser import HTMLParser

import yaml

from scripts import words
from scripts.sample_stations import KINDS, NODES
from tmon.core.units import UNITS
from tmon.pages.headings import QUERY_COLUMNS

SKIPPED = frozenset(("script", "style", "code", "pre", "textarea", "option"))
READ_ATTRIBUTES = frozenset(("title", "aria-label", "placeholder", "alt", "data-label"))
WORD = re.compile(r"[^\W\d_]{2,}")

# What people read and is the same in both languages: names, units, abbreviations, and what the
# station itself has written in its database.
NAMES = {
    "the value that a DS18B20 has after power-on",
    "cable loose",
    *("tmon", "Datasette", "UTC", "SQL", "CSV", "JSON", "PNG", "SVG", "HTML", "SHA", "MIT"),
    *("Raspberry", "Pi", "min", "°F"),
    *(part for node in NODES for part in (node, *node.split("-"))),
    *(area for area, *_ in NODES.values() if area),
    *KINDS,
}


_METADATA = yaml.safe_load((words.ROOT / "metadata.yml").read_text())["databases"]["tmon"]
# A text that is no more than the name of a table or a column, or a value as it was sent.
AS_THEY_ARE = {
    *("now", *QUERY_COLUMNS, *_METADATA["tables"]),
    *(name for table in _METADATA["tables"].values() for name in table.get("columns", ())),
}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._skipping: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in SKIPPED or found.get("lang") == "en":
            self._skipping.append(tag)
        read = [found.get(name) for name in READ_ATTRIBUTES]
        if tag == "meta" and found.get("name") == "description":
            read.append(found["content"])
        if tag == "input" and found.get("type") == "submit":
            read.append(found["value"])
        self.texts += [text for text in read if text and not self._skipping]

    def handle_endtag(self, tag: str) -> None:
        if self._skipping and self._skipping[-1] == tag:
            self._skipping.pop()

    def handle_data(self, data: str) -> None:
        if not self._skipping and data.strip():
            self.texts.append(" ".join(data.split()))


def texts(page: str) -> set[str]:
    """All that people read on a page or hear from a screen reader."""
    reader = _Reader()
    reader.feed(page)
    return {*reader.texts}


def same_texts(english: str, german: str) -> list[str]:
    """The texts that are equal on both pages, but for those that are equal in both languages."""
    return sorted(one for one in texts(english) & texts(german) if _words(one))


def english_words(german: str) -> list[str]:
    """Words on a German page that only English texts of the catalogue have."""
    return sorted({word for text in texts(german) for word in _words(text) & _only_english()})


def _words(text: str) -> set[str]:
    """The words of a text that are neither names nor the same in both languages."""
    if text in AS_THEY_ARE:
        return set()
    text = re.sub(r"\w+[._]\w[\w.]*|tmon: \w+", " ", text)
    for name in sorted((*NAMES, *filter(None, UNITS)), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", " ", text)
    return {*WORD.findall(text)} - _same()


@cache
def _vocabularies() -> tuple[set[str], set[str]]:
    english: set[str] = set()
    german: set[str] = set()
    for message in words.updated("de"):
        for vocabulary, text in ((english, message.id), (german, message.string)):
            for form in words.forms(text):
                vocabulary |= {*WORD.findall(re.sub(r"<code>.*?</code>|`.*?`|<[^>]*>", " ", form))}
    return english, german


def _same() -> set[str]:
    english, german = _vocabularies()
    return english & german


def _only_english() -> set[str]:
    english, german = _vocabularies()
    return english - german
