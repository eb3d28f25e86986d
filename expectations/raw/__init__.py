"""Suites of the raw tables: the input is whole, unique and in time. Imports only `expectations.suite`."""
