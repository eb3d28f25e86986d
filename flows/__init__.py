"""Prefect flows, one file for each outcome. They may import every other package; only the command line imports them.

The work itself stands in ordinary functions of those packages: a flow says in which order, with which retries, and what
people see of it.
"""
