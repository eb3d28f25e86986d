"""Explanation of what a destination holds of a user, and why: from there back to the raw events.

Imports only `searchflow` and `activations`. `syncs` reads destinations, ledger, gate and model rows; `rules` says in words
which rule put the user there; `events` follows the sessions to the raw events.
"""

from activations.explanation.story import Story, UnknownUser, explain

__all__ = ["Story", "UnknownUser", "explain"]
