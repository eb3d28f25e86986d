"""Templates are files: `templates/<trigger>/subject.txt`, `body.txt` and `body.html`, and `subject.fr.txt` and so on
for a language. HTML escapes by itself; what a visitor typed is one line of plain characters before it gets there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import jinja2.sandbox

from activations.mail import suppression
from activations.mail.message import Message, one_line
from searchflow import zones
from searchflow.errors import ConfigurationError, NotFoundError
from searchflow.settings import ROOT, Settings

FOLDER = Path(__file__).parent / "templates"
PARTS = (("subject", "txt"), ("body", "txt"), ("body", "html"))


@dataclass(frozen=True)
class Rendered:
    """A message as its receiver will read it."""

    language: str
    subject: str
    text: str
    html: str


def triggers() -> list[str]:
    """Return the triggers, which are the folders of templates."""
    return sorted(path.name for path in FOLDER.iterdir() if (path / "subject.txt").exists())


@cache
def _environment() -> jinja2.Environment:
    """Return a sandbox: a template fills in values, reaches nothing of the program behind them, and changes nothing."""
    return jinja2.sandbox.ImmutableSandboxedEnvironment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html",), default=False),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(trigger: str, values: dict[str, Any], locale: str | None) -> Rendered:
    """Fill the templates of a trigger, in the language of `locale` when it has them, else in the default one.

    Raises:
        NotFoundError: there are no templates of this name.
        ConfigurationError: a template cannot be used; names its file.
    """
    if trigger not in triggers():
        raise NotFoundError("template", trigger, triggers(), "Templates are folders in activations/mail/templates/.")
    language = _language(trigger, locale)
    texts = {f"{name}.{kind}": _fill(trigger, name, kind, language, values) for name, kind in PARTS}
    return Rendered(language or "default", one_line(texts["subject.txt"], 200), texts["body.txt"], texts["body.html"])


def _fill(trigger: str, name: str, kind: str, language: str, values: dict[str, Any]) -> str:
    place = f"{trigger}/{_file(name, kind, language)}"
    try:
        return _environment().get_template(place).render(values)
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f"{(FOLDER / place).relative_to(ROOT)}{f', line {line}' if line else ''}"
        raise ConfigurationError(where, f"{error.message}.", "Correct the template, then try again.") from None


def _file(name: str, kind: str, language: str) -> str:
    return f"{name}.{language}.{kind}" if language else f"{name}.{kind}"


def _language(trigger: str, locale: str | None) -> str:
    """Return the folder's language: `fr-CA` finds `fr-CA`, then `fr`; a language must have all three parts. Empty: the
    default one."""
    wanted = (locale or "").replace("_", "-")
    for language in dict.fromkeys((wanted, wanted.partition("-")[0])):
        if language.replace("-", "").isalnum() and all(
            (FOLDER / trigger / _file(name, kind, language)).exists() for name, kind in PARTS
        ):
            return language
    return ""


def values_of(settings: Settings, message: Message) -> dict[str, Any]:
    """Return what a template may say of a message."""
    told = message.document
    query = one_line(told.query)
    return {
        "name": one_line(told.name, 60),
        "query": query,
        "destination": one_line(told.destination, 60),
        "searched_on": _day(message.searched_at, told.time_zone),
        "search_url": _link(settings.email_search_url, query=one_line(told.query, 500)),
        "unsubscribe_url": unsubscribe_url(settings, message.user_id),
    }


def unsubscribe_url(settings: Settings, user_id: str) -> str:
    """Return the person's own link to unsubscribe."""
    return _link(settings.email_unsubscribe_url, token=suppression.token(settings, user_id))


def _link(pattern: str | None, **values: str) -> str:
    for name, value in values.items():
        pattern = (pattern or "").replace(f"{{{name}}}", quote(value, safe=""))
    return quote(pattern or "", safe="%:/?#[]@!$&'()*+,;=~")


def _day(moment: datetime, time_zone: str | None) -> str:
    """Return the date in the person's own time zone, as every language writes it."""
    zone = zones.find(time_zone) or UTC
    return f"{moment.replace(tzinfo=UTC).astimezone(zone):%Y-%m-%d}"
