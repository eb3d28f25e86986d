"""The rule that decides which users are held out of a sync. The same user and seed give the same answer everywhere and always.

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
    """The part of `holdout` in a sync file that decides which users are held out."""

    share: float
    seed: str

    @property
    def threshold(self) -> str:
        """The limit, in eight hex digits: a user whose digest begins below it is held out.

        Texts of equal length compare as the numbers do.
        """
        return f"{round(self.share * 2**32):08x}"

    def holds_out(self, user: str) -> bool:
        """Return True when this user is held out."""
        return hashlib.sha256(f"{self.seed}:{user}".encode()).hexdigest()[:8] < self.threshold

    def sql(self, user: str) -> str:
        """Return the rule as an SQL condition; `user` is an SQL expression."""
        return f"substr(sha256(concat({literal(self.seed)}, ':', {user})), 1, 8) < '{self.threshold}'"


def rule_of(sync: str, folder: Path = SYNCS) -> Rule | None:
    """Return the rule in a sync's file; None when the sync holds no user out."""
    document = yaml.safe_load((folder / f"{sync}.yaml").read_text(encoding="utf-8"))
    said = document.get("holdout")
    return None if said is None else Rule(float(said["share"]), str(said["seed"]))
