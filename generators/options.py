"""Settings of a world as words of a command line: `late=0.05`, `click_rate=0.4`,
`new_field=app_build:integer:2026-10-01`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import msgspec
from msgspec import structs

from generators.settings import FaultSettings, FunnelSettings, NewField
from searchflow.errors import UsageError

FUNNEL = [field.name for field in structs.fields(FunnelSettings)]
FAULTS = FaultSettings.shares()
NEW_FIELD = "new_field"
NAMES = [*FUNNEL, *FAULTS, NEW_FIELD]


def parse(words: Sequence[str]) -> tuple[FunnelSettings | None, FaultSettings | None]:
    """Return the funnel's and the faults' settings, each None when no word is about it. `faults=none` switches all
    faults off.

    Raises:
        UsageError: a word is no NAME=NUMBER, or no setting has that name.
    """
    funnel, faults = FunnelSettings(), FaultSettings()
    for word in words:
        if word == "faults=none":
            faults = FaultSettings.none()
            continue
        name, _, text = word.partition("=")
        if name not in NAMES:
            raise UsageError(f"--set {word}: there is no setting {name}. There are {', '.join(NAMES)}.")
        if name == NEW_FIELD:
            faults = structs.replace(faults, new_fields=(*faults.new_fields, _new_field(word, text)))
            continue
        try:
            value = float(text)
        except ValueError:
            raise UsageError(f"--set {word}: {text!r} is no number. Write {name}=0.05.") from None
        if name in FUNNEL:
            funnel = structs.replace(funnel, **{name: value})
        else:
            faults = structs.replace(faults, **{name: value})
    return (
        funnel if funnel != FunnelSettings() else None,
        faults if faults != FaultSettings() else None,
    )


def _new_field(word: str, text: str) -> NewField:
    name, _, rest = text.partition(":")
    kind, _, since = rest.partition(":")
    try:
        return msgspec.convert({"name": name, "kind": kind, "since": date.fromisoformat(since)}, NewField)
    except (ValueError, msgspec.ValidationError):
        raise UsageError(
            f"--set {word}: write new_field=NAME:KIND:DAY with a kind of string, integer, number or boolean, for instance "
            "new_field=app_build:integer:2026-10-01."
        ) from None
