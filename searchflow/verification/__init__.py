"""Verification: does the platform count right? This package compares it with the simulator's answer key and imports
nothing but `searchflow`.

Modules: `key` (read and check the sealed files), `found` (what the platform holds, and as of when), `expected`,
`attribution` and `recommendations` (what must follow from the true events, with Polars and without the models' SQL),
`comparison` (two frames beside each other), `checks` and `destinations` (one function a check), `causes` (how far the
attribution models are from the truth) and `report`. The numbers come from `searchflow.domain`.
"""

from searchflow.verification.report import Report, VerificationCheck
from searchflow.verification.run import CHECKS, verify

__all__ = ["CHECKS", "Report", "VerificationCheck", "verify"]
