"""Each language's catalogue has all texts of the pages, and what is made of it is fresh."""

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po

from scripts import words
from scripts.words import forms
from tmon.core.languages import ENGLISH, LANGUAGES, choose, gettext, language, ngettext, thousands

OTHERS = [name for name in LANGUAGES if name != ENGLISH]
PLACEHOLDER = re.compile(r"%\(\w+\)s|\{\w*\}|%%|</?\w+[^>]*>|`[^`]+`")

pytestmark = pytest.mark.parametrize("name", OTHERS)


def catalogue(name: str) -> Catalog:
    with words.po(name).open("rb") as file:
        return read_po(file, locale=name)


def messages(name: str) -> list[Message]:
    return [one for one in catalogue(name) if one.id]


def test_the_catalogue_and_what_is_made_of_it_are_as_make_words_writes_them(name: str) -> None:
    for path, content in words.files(name, words.updated(name)).items():
        assert path.read_bytes() == content, f"{path} is old: run `make words`"


def test_every_text_has_a_translation_that_nobody_guessed(name: str) -> None:
    assert len(messages(name)) > 50
    assert [one.id for one in messages(name) if one.fuzzy or not all(forms(one.string))] == []


def test_a_translation_keeps_placeholders_markup_and_edges(name: str) -> None:
    for one in messages(name):
        singular, plural = forms(one.id)[0], forms(one.id)[-1]
        for form, translated in enumerate(forms(one.string)):
            text = singular if form == 0 else plural
            assert sorted(PLACEHOLDER.findall(translated)) == sorted(PLACEHOLDER.findall(text))
            for edge in (r"^\s*", r"\s*$"):
                assert re.findall(edge, translated) == re.findall(edge, text), text
            # It may stand in an attribute.
            assert text.count('"') == translated.count('"'), text


def test_every_text_of_a_script_is_found(name: str) -> None:  # noqa: ARG001
    scripts = (words.ROOT / "plugins" / "static").glob("*.js")
    used = [
        text for one in scripts for text in re.findall(r"gettext\(\s*\"(.*?)\"", one.read_text())
    ]
    found = {text.message for text in words.texts() if text.file.endswith(".js")}
    assert len(found) > 20
    assert {*used} == found


def test_make_words_fails_while_a_text_has_no_translation(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = words.po(name, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(words.po(name).read_text().split("\n\n")[0])
    with pytest.raises(SystemExit) as ended:
        words.main(tmp_path)
    assert ended.value.code == 1
    assert f"{name}: 'as of' has no translation yet" in capsys.readouterr().err
    assert 'msgid "as of"' in path.read_text()


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        *(("", "en"), ("*", "en"), ("fr", "en"), ("fr-FR,fr;q=0.9", "en"), ("nonsense;;q", "en")),
        *(("{}", "{}"), ("{}-CH", "{}"), ("{}-Latn-AT,en;q=0.9", "{}"), ("{}, en", "{}")),
        *(("en, {}", "en"), ("en;q=0.8,{};q=0.9", "{}"), ("en-GB;q=0.9, {};q=0.8", "en")),
        *(("fr, {};q=0.3", "{}"), ("fr,*;q=0.5,{};q=0.3", "en"), ("{};q=0", "en")),
        *(("{};q=0.0,fr", "en"), ("{};Q=0.7 , en ; q=0.6", "{}"), ("x," * 400 + "{}", "en")),
    ],
)
def test_the_language_is_what_the_browser_wants_most(name: str, accepted: str, chosen: str) -> None:
    assert choose(accepted.format(name).replace("nonsense", "{}")) == chosen.format(name)


def test_texts_are_english_unless_a_request_wants_another_language(name: str) -> None:
    assert (gettext("as of"), ngettext("{n} sensor silent", "{n} sensors silent", 2)) == (
        *("as of", "{n} sensors silent"),
    )
    assert thousands(12345) == "12,345"
    token = language.set(name)
    assert gettext("as of") != "as of"
    assert ngettext("{n} sensor silent", "{n} sensors silent", 2) != "{n} sensors silent"
    assert gettext("not in the catalogue") == "not in the catalogue"
    assert thousands(12345) == "12\N{NARROW NO-BREAK SPACE}345"
    language.reset(token)
