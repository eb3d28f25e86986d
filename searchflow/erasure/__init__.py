"""Erasure: a person leaves every place that holds them, a certificate says so, and nothing brings them back.

One module a kind of place (`lake`, `databases`, `bus`, `files`), each with the same two questions: what is there
(`search`), and away with it (`erase`). `run` puts them in order and may be killed anywhere; places that belong to other
packages (the simulator's answer key) are handed to it.
"""

from searchflow.erasure.place import Finding, Job, Place
from searchflow.erasure.run import Incomplete, UnknownPerson, forget, look

__all__ = ["Finding", "Incomplete", "Job", "Place", "UnknownPerson", "forget", "look"]
