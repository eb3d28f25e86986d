"""Suites of the activation models: the rows that are about to leave the house. Imports only `expectations.suite`."""
