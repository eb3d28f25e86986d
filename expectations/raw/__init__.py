"""Suites of the raw tables: what arrived is whole, unique and in time. Imports only `expectations.suite`."""
