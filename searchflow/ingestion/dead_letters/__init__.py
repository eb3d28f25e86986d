"""Dead letters: what was refused, why, and the way back. Imports ingestion, and nothing imports it but the command line.

`letters` finds and shows them, `fixes` are functions that repair one, `replay` stores those that pass, `closing` marks
letters and discards them.
"""
