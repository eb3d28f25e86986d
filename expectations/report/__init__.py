"""The report: one page for people who read no code, and Data Docs for those who want every detail."""

from expectations.report.building import build_report

__all__ = ["build_report"]
