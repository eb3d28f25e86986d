"""Dead letters: what was refused, why, and how to store it after all. This package imports ingestion; only the command
line imports it.

`letters` finds and shows dead letters, `fixes` are functions that repair one, `replay` stores those that pass, and
`closing` marks and discards them.
"""
