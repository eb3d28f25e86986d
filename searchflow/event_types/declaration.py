"""The parts of an event type's declaration, and the names that follow from it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

Kind = Literal["text", "identifier", "count", "ordinal", "amount", "number", "boolean", "object"]
"""The kinds of fields. `identifier`: text that is not empty. `count`: a whole number from 0. `ordinal`: a whole number from 1.
`amount`: a number from 0."""
InnerKind = Literal["text", "amount", "whole", "dates", "latitude", "longitude"]
"""The kinds of fields inside an object. A value of another JSON type is kept there and reported as a schema change."""
Session = Literal["required", "optional"]
Color = Literal["blue", "orange", "green", "pink", "sky", "vermilion", "ochre", "grey"]


class Field(Struct, frozen=True, forbid_unknown_fields=True):
    """One declared field of an event type."""

    type: Kind
    required: bool = False
    default: str | int | float | bool | None = None
    personal: bool = False
    """True when its content is about a person: columns made from it are masked and never exported."""
    refers_to: str | None = None
    """The event type whose `event_id` the field holds."""
    any_time: bool = False
    """True when the event that it refers to may be of any earlier day, not only of the funnel's window."""
    fields: dict[str, InnerKind] = field(default_factory=dict)
    """The fields of an object that have a type."""


class Declaration(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The parts of a declaration beside its fields."""

    about: str
    title: str
    plural: str
    session: Session = "required"
    color: Color = "grey"


class Reference(Struct, frozen=True):
    """A field that holds the `event_id` of an event of another type."""

    field: str
    event_type: str
    any_time: bool


class EventType(Declaration, frozen=True, kw_only=True):
    """A declared event type, with the names of everything that it has."""

    name: str
    fields: dict[str, Field]

    @property
    def struct_name(self) -> str:
        """The name of the struct that checks its events: `SearchEvent`."""
        return "".join(word.capitalize() for word in self.name.split("_")) + "Event"

    @property
    def stream(self) -> str:
        """The name of the first shard of its stream."""
        return f"searchflow:events:{self.name}"

    @property
    def table(self) -> str:
        """The name of its table in the schema `raw`, without the schema."""
        return f"{self.name}_events"

    @property
    def raw_table(self) -> str:
        """The table that keeps its documents as they were received."""
        return f"raw.{self.table}"

    @property
    def staging_view(self) -> str:
        """The view that gives its documents typed columns, where there is one."""
        return f"staging.stg_{self.table}"

    @property
    def late_column(self) -> str:
        """The column of `ops.kpi_versions` that counts its late events."""
        return f"late_{self.plural}"

    @property
    def task(self) -> str:
        """The name of the Prefect task that ingests its streams."""
        return f"ingest_{self.plural}"

    @property
    def references(self) -> tuple[Reference, ...]:
        """The fields that refer to events of other types."""
        return tuple(
            Reference(name, each.refers_to, each.any_time)
            for name, each in self.fields.items()
            if each.refers_to is not None
        )

    @property
    def personal_fields(self) -> tuple[str, ...]:
        """The fields whose content is about a person."""
        return tuple(name for name, each in self.fields.items() if each.personal)

    @property
    def objects(self) -> dict[str, dict[str, InnerKind]]:
        """The fields that are objects, each with the kinds inside it."""
        return {name: each.fields for name, each in self.fields.items() if each.type == "object"}
