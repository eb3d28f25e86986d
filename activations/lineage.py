"""The use that syncs make of the models, for lineage: the fields of each sync, and those of its destination."""

from __future__ import annotations

from activations.declaration import Sync
from activations.sync_files import load_syncs
from searchflow.transformation.graph import Use

PLACES = ("table", "stream", "prefix", "url", "path")
"""The option of a destination that says where it is."""


def uses() -> list[Use]:
    """Return two uses for each sync: the sync, and where it delivers to."""
    return [use for sync in load_syncs().values() for use in (_sync(sync), _destination(sync))]


def _sync(sync: Sync) -> Use:
    fields = {each.name: [(sync.model, each.source)] for each in sync.fields}
    return Use(f"sync {sync.name}", "sync", sync.description, fields, sync.personal)


def _destination(sync: Sync) -> Use:
    place = next((str(sync.destination[name]) for name in PLACES if name in sync.destination), sync.name)
    words = {each.name: each.name for each in sync.fields}
    if sync.group is not None:  # the rows of a key become the members of one thing there
        words = {sync.key: "key", sync.group.member: "member", sync.group.value: "value"}
    fields = {words[each.name]: [(f"sync {sync.name}", each.name)] for each in sync.fields}
    personal = frozenset(words[name] for name in sync.personal)
    return Use(place, "destination", f"Filled by the sync {sync.name} ({sync.kind}).", fields, personal)
