"""Quality gates: the rules that must be true of each table before anything is shown or sent, and the report about it.

Imports only `searchflow` and third-party packages. Great Expectations takes three seconds to import, so only
`expectations.engine` imports it, and that module is imported inside the functions that need it.
"""

from expectations.catalogue import GROUPS, load_suites, suite_names
from expectations.outcome import Outcome
from expectations.report import build_report
from expectations.results import CheckResult, SuiteResult, ValidationReport
from expectations.suite import Check, Suite
from expectations.validation import validate

__all__ = [
    "GROUPS",
    "Check",
    "CheckResult",
    "Outcome",
    "Suite",
    "SuiteResult",
    "ValidationReport",
    "build_report",
    "load_suites",
    "suite_names",
    "validate",
]
