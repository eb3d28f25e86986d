"""Settings of a world as words of a command line: `late=0.05`, `click_rate=0.4`."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from generators.settings import FaultSettings, FunnelSettings
from searchflow.errors import UsageError

FUNNEL = [field.name for field in structs.fields(FunnelSettings)]
FAULTS = FaultSettings.shares()


def parse(words: Sequence[str]) -> tuple[FunnelSettings | None, FaultSettings | None]:
    """The funnel's and the faults' settings, each None when no word is about it. `faults=none` switches all faults off.

    Raises:
        UsageError: a word is no NAME=NUMBER, or no setting has that name.
    """
    funnel, faults = FunnelSettings(), FaultSettings()
    for word in words:
        if word == "faults=none":
            faults = FaultSettings.none()
            continue
        name, _, text = word.partition("=")
        if name not in FUNNEL + FAULTS:
            raise UsageError(f"--set {word}: there is no setting {name}. There are {', '.join(FUNNEL + FAULTS)}.")
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
