"""The erasure of a person from every place that holds them, with a certificate; nothing brings the person back.

Each kind of place has one module (`lake`, `databases`, `bus`, `files`) with the same two functions: `search` says what is
there, and `erase` removes it. `run` calls them in order and may be killed at any moment. Places that belong to other
packages (the simulator's answer key) are handed to it.
"""

from searchflow.erasure.place import Finding, Job, Place
from searchflow.erasure.run import Incomplete, UnknownPerson, forget, look

__all__ = ["Finding", "Incomplete", "Job", "Place", "UnknownPerson", "forget", "look"]
