"""Suites of the platform's own tables: the books must balance. Imports only `expectations.suite`."""
