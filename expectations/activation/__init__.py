"""Suites of the activation models: what is about to leave the house. Imports only `expectations.suite`."""
