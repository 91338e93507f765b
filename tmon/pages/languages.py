"""Pages in the language of the visitor's browser; for templates, scripts and caches."""

import re
from functools import cache
from typing import Any

from datasette import hookimpl
from jinja2 import Environment
from markupsafe import Markup
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from tmon.core.languages import (
    ENGLISH,
    LOCALE,
    gettext,
    language,
    ngettext,
    pgettext,
    speaking,
    thousands,
)
from tmon.core.reasons import reason_text
from tmon.pages.asgi import Middleware

# Files are the same for everybody: data for programs, and what a page is made of.
FILE = re.compile(r"/(-/)?static/|\.(json|csv|atom|xml|txt|blob|ico|db|sha256)$")


METADATA = "metadata"  # the context of metadata.yml's and datasette.yml's texts in the catalogues
TRANSLATED = ("title", "description", "source")


class Metadata(dict[str, Any]):
    """Metadata in the language of the request, but for the owner's own texts."""

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        return translated(value) if name in TRANSLATED else value


def translated(text: str) -> str:
    """A text of metadata, translated if it is one that tmon comes with."""
    return pgettext(METADATA, text) if isinstance(text, str) else text


class Languages(Middleware):
    """Answers in the language of the browser, and tells caches that another gets another answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if FILE.search(scope["path"]):
            await self.app(scope, receive, send)
            return

        async def send_with_vary(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=[*message["headers"]])
                headers.add_vary_header("Accept-Language")
                message = {**message, "headers": headers.raw}
            await send(message)

        with speaking(", ".join(Headers(scope=scope).getlist("accept-language"))):
            await self.app(scope, receive, send_with_vary)


@hookimpl
def prepare_jinja2_environment(env: Environment) -> None:
    """Give templates ``_()`` and ``{% trans %}``, and what they say of the language itself."""
    env.add_extension("jinja2.ext.i18n")
    env.install_gettext_callables(gettext, ngettext, newstyle=True, pgettext=pgettext)  # type: ignore[attr-defined]
    env.filters.update(
        thousands=thousands, translated=translated, capitalized=capitalized, reason=reason_text
    )
    env.globals.update(language=language.get, script_words=script_words)


def capitalized(text: str) -> str:
    """A text with a capital at its beginning; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def script_words() -> Markup | None:
    """The texts that scripts use, as JSON; None in English, where they have them."""
    name = language.get()
    return None if name == ENGLISH else _script_words(name)


@cache
def _script_words(name: str) -> Markup:
    """As ``make words`` wrote them: only texts of ours, and no ``<`` in them."""
    return Markup((LOCALE / name / "scripts.json").read_text("utf-8"))  # noqa: S704
