"""Property-based tests of the models run a few dozen histories; the profile `thorough` runs hundreds."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("few", max_examples=30, deadline=None)
settings.register_profile("thorough", max_examples=600, deadline=None)
settings.load_profile("few")
