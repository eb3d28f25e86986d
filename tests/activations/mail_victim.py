"""A worker to be killed: `python -m tests.activations.mail_victim NOW [STEP NUMBER]`, with the settings in the environment.

With a step it kills itself at the NUMBERth one: `offered` (before the intent is written), `intended` (before the end of
the data), `taken` (after the server's answer, before the record), `recorded`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from activations import mail
from activations.mail.ledger import MailLedger
from activations.mail.smtp import Mailer
from searchflow.settings import load_settings

STEPS: dict[str, tuple[type, str]] = {
    "offered": (Mailer, "offer"),
    "intended": (MailLedger, "intend"),
    "taken": (Mailer, "finish"),
    "recorded": (MailLedger, "conclude"),
}


def die_after(owner: type, name: str, number: int) -> None:
    original: Callable[..., Any] = getattr(owner, name)
    calls = iter(range(1, 1_000_000))

    def step(*arguments: Any) -> Any:
        result = original(*arguments)
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, step)


def main() -> None:
    now, *rest = sys.argv[1:]
    if rest:
        die_after(*STEPS[rest[0]], int(rest[1]))
    mail.deliver(load_settings(), clock=lambda: datetime.fromisoformat(now))


if __name__ == "__main__":
    main()
