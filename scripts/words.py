"""The words of the pages: collect them from the source into each catalogue, and compile these.

A catalogue is ``tmon/locale/LANGUAGE/LC_MESSAGES/tmon.po``. New texts are in it without a
translation, those that nothing uses any more are gone, and nothing is guessed.
"""

import json
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from tmon.core.advice import ADVICE, OTHER
from tmon.core.languages import DOMAIN, ENGLISH, LANGUAGES, LOCALE
from tmon.pages.headings import COLUMN, QUERY_COLUMNS, heading
from tmon.pages.languages import METADATA, TRANSLATED

ROOT = Path(__file__).parent.parent
SCRIPTS = "plugins/static/"
# Functions and which of their arguments are texts; "c" is a context.
KEYWORDS: dict[str, Any] = {
    **dict.fromkeys(("_", "N_", "gettext")),
    "ngettext": (1, 2),
    "pgettext": ((1, "c"), 2),
}
SOURCES = (
    ("plugins/templates/*.html", "jinja2.ext:babel_extract"),
    (f"{SCRIPTS}*.js", "javascript"),
    ("ingest/*.py", "python"),
    ("tmon/core/*.py", "python"),
    ("tmon/pages/*.py", "python"),
)
PUBLISHED = ("metadata.yml", "datasette.yml")
OPTIONS = {"newstyle_gettext": "yes", "silent": "no", "parse_template_string": "yes"}


class Words(Catalog):
    """A catalogue without the time when it was made: the same texts make the same file."""

    @property  # type: ignore[misc]
    def mime_headers(self) -> list[tuple[str, str]]:
        return [
            ("Language", str(self.locale)),
            ("Plural-Forms", self.plural_forms),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Transfer-Encoding", "8bit"),
        ]


class Text(NamedTuple):
    """A text to translate; with two forms if it is of a number.

    ``context`` tells apart what is the same in English.
    """

    message: str | tuple[str, ...]
    file: str
    context: str | None = None


def main(folder: Path = LOCALE) -> None:
    """Write all catalogues, and what is made of them; say what has no translation yet."""
    missing = 0
    for name in LANGUAGES:
        if name == ENGLISH:
            continue
        catalogue = updated(name, folder)
        for path, content in files(name, catalogue, folder).items():
            path.write_bytes(content)
        untranslated = [one.id for one in catalogue if one.id and not all(forms(one.string))]
        missing += len(untranslated)
        for message in untranslated:
            print(f"{name}: {message!r} has no translation yet", file=sys.stderr)
    sys.exit(1 if missing else 0)


def texts() -> Iterator[Text]:
    """All texts of the pages, in the order of their files."""
    for pattern, method in SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            with path.open("rb") as file:
                for _, message, _, context in extract(method, file, KEYWORDS, options=OPTIONS):
                    yield Text(message, str(path.relative_to(ROOT)), context)
    for advice in (*ADVICE.values(), OTHER):
        yield Text(advice, "tmon/core/advice.py")
    yield from _published_texts()


def updated(name: str, folder: Path = LOCALE) -> Catalog:
    """The catalogue of a language with the texts of today."""
    with po(name, folder).open("rb") as file:
        known = read_po(file, locale=name, domain=DOMAIN)
    catalogue = Words(locale=name, header_comment=known.header_comment, fuzzy=False)
    for text in texts():
        first = text.message if isinstance(text.message, str) else text.message[0]
        old = known.get(first, text.context)
        string = old.string if old and old.id == text.message else None
        place = [(text.file, 0)]
        catalogue.add(text.message, string, locations=place, context=text.context)
    return catalogue


def files(name: str, catalogue: Catalog, folder: Path = LOCALE) -> dict[Path, bytes]:
    """The catalogue itself, compiled for gettext, and its words for scripts."""
    text, compiled = BytesIO(), BytesIO()
    write_po(text, catalogue, width=100, sort_by_file=True, include_lineno=False)
    write_mo(compiled, catalogue)
    words = {
        str(one.id): str(one.string)
        for one in catalogue
        if one.string and any(file.startswith(SCRIPTS) for file, _ in one.locations)
    }
    script = json.dumps(dict(sorted(words.items())), ensure_ascii=False, indent=0) + "\n"
    return {
        po(name, folder): text.getvalue(),
        po(name, folder).with_suffix(".mo"): compiled.getvalue(),
        folder / name / "scripts.json": script.encode(),
    }


def _published_texts() -> Iterator[Text]:
    """What metadata.yml and datasette.yml say of the whole, of tables and of stored queries."""
    metadata, served = (yaml.safe_load((ROOT / name).read_text("utf-8")) for name in PUBLISHED)
    database = metadata["databases"]["tmon"]
    tables = database["tables"].values()
    described = (metadata, database, *tables, *served["databases"]["tmon"]["queries"].values())
    found = [one[name] for one in described for name in TRANSLATED if name in one]
    found += [text for table in tables for text in table.get("columns", {}).values()]
    for text in dict.fromkeys(found):
        yield Text(text, "metadata.yml", METADATA)
    columns = [name for table in tables for name in table.get("columns", {})]
    for column in dict.fromkeys([*columns, *QUERY_COLUMNS]):
        yield Text(heading(column), "metadata.yml", COLUMN)


def po(name: str, folder: Path = LOCALE) -> Path:
    """The file of a language's catalogue."""
    return folder / name / "LC_MESSAGES" / f"{DOMAIN}.po"


def forms(text: Any) -> tuple[str, ...]:
    """A text's form, or both forms where it is of a number."""
    return tuple(text) if isinstance(text, (tuple, list)) else (text or "",)


if __name__ == "__main__":
    main()
