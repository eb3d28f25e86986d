"""Drift of the models: a flow's log tells when the model files differ from production. The flow goes on with what was
promoted."""

from __future__ import annotations

import threading
import time

from prefect import get_run_logger

from searchflow.errors import SearchFlowError
from searchflow.settings import Settings
from searchflow.transformation import drift

LOOK_EVERY = 10.0
"""Seconds between two looks at the files; a look at files that no one saved takes milliseconds."""


class Watch:
    """A watch beside the passes of a follower, on a thread of its own: comparing changed files takes seconds."""

    def __init__(self, settings: Settings, environment: str) -> None:
        self._settings, self._on = settings, environment == "prod"
        self._due, self._thread = 0.0, threading.Thread()
        self._found, self._told = "", ""

    def tell(self) -> None:
        """Say what was found since the last call, once; look again when it is time."""
        found = self._found
        if found and found != self._told:
            get_run_logger().warning("%s", found)
        self._told = found
        if self._on and not self._thread.is_alive() and time.monotonic() >= self._due:
            self._due = time.monotonic() + LOOK_EVERY
            self._thread = threading.Thread(target=self._look, name="drift", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Wait for a look under way, and say what it found. For a flow that makes one pass."""
        if self._thread.is_alive():
            self._thread.join(drift.PATIENCE)
        if self._found != self._told:
            self._due = time.monotonic() + LOOK_EVERY
            self.tell()

    def _look(self) -> None:
        try:
            found = drift.look(self._settings)
        except (SearchFlowError, OSError) as error:  # a courtesy: the models are made without it
            found = drift.Drift(problem=str(error))
        self._found = found.sentence if found is not None else ""
