"""Suites of the marts: the numbers people see agree with each other. Imports only `expectations.suite`."""
