"""Who is held out of a sync: a rule, not a list. The same user and seed give the same answer anywhere, at any time.

A user is held out when the first 32 bits of SHA-256("<seed>:<user>"), as a fraction of all 32-bit numbers, lie below
the share. Another seed makes an independent choice. `activations` applies the rule in SQL; `searchflow verify` applies
it here, from the sync file, and not from what was recorded.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import yaml

from searchflow.quoting import literal
from searchflow.settings import ROOT

SYNCS = ROOT / "activations" / "syncs"


class Rule(msgspec.Struct, frozen=True):
    """What a sync file says under `holdout`, as far as it decides who is held out."""

    share: float
    seed: str

    @property
    def threshold(self) -> str:
        """The first eight hex digits of a held-out user's digest are below this; texts of equal length compare alike."""
        return f"{round(self.share * 2**32):08x}"

    def holds_out(self, user: str) -> bool:
        """Is this user held out?"""
        return hashlib.sha256(f"{self.seed}:{user}".encode()).hexdigest()[:8] < self.threshold

    def sql(self, user: str) -> str:
        """The same as an SQL condition; `user` is an expression."""
        return f"substr(sha256(concat({literal(self.seed)}, ':', {user})), 1, 8) < '{self.threshold}'"


def rule_of(sync: str, folder: Path = SYNCS) -> Rule | None:
    """The rule in a sync's file; None when it holds nobody out."""
    document = yaml.safe_load((folder / f"{sync}.yaml").read_text(encoding="utf-8"))
    said = document.get("holdout")
    return None if said is None else Rule(float(said["share"]), str(said["seed"]))
