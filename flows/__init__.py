"""Prefect flows, one file an outcome; may import every other package, and only the command line and deployments import it.

The work itself stands in ordinary functions of those packages: a flow says in which order, with which retries, and what
people see of it.
"""
