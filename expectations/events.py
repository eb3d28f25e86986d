"""The checks that raw event tables have in common: those of the columns that every event is stored with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from expectations.suite import (
    Check,
    Rule,
    Suite,
    aggregate,
    critical,
    fresh,
    has_columns,
    matches,
    never,
    none_where,
    not_ahead,
    not_null,
    unique,
    usual_volume,
    warning,
)
from searchflow.event_types import EVENT_TYPES, EventType, Reference

COLUMNS = (
    "event_id",
    "event_ts",
    "user_id",
    "session_id",
    "payload",
    "schema_version",
    "ingested_at",
    "source",
    "source_position",
    "batch_id",
)
CANONICAL_UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"


def suite_of(event_type: EventType) -> Suite:
    """Return the suite of a raw table that follows from its event type's declaration. It gates a sync whose file names
    it."""
    what = event_type.title.lower()
    return Suite(
        table=event_type.raw_table,
        group="raw",
        title=f"{event_type.title} received",
        numbers=f"every number of {what}",
        key=("event_id",),
        day="event_ts",
        checks=(
            *event_checks(what, session=event_type.session == "required"),
            *(_arrived(what, each) for each in event_type.references),
        ),
    )


def _arrived(what: str, reference: Reference) -> Check:
    # Only a warning: the event may be under way still, or its producer may never have sent it.
    known = EVENT_TYPES[reference.event_type]
    return warning(
        f"The {known.name} that `{reference.field}` of {what} names has arrived.",
        never(
            f"{reference.field}_has_arrived",
            f"""
            WITH events AS (SELECT lower(payload ->> '$.{reference.field}') AS referred FROM {{batch}})
            SELECT count(*) AS unexpected FROM events
            ANTI JOIN lake.{known.raw_table} AS known ON known.event_id = events.referred
            WHERE referred IS NOT NULL HAVING count(*) > 0""",
            local=True,
        ),
    )


def event_checks(what: str, *, session: bool = True) -> Sequence[Check]:
    """Return the checks of one event table; `what` is what a row is called in the sentences (a plural)."""
    in_session = critical(
        f"All {what} belong to a session.", none_where("session_is_known", "coalesce(session_id, '') = ''")
    )
    return (
        critical(f"The table of {what} has the agreed columns.", has_columns(*COLUMNS)),
        critical(f"All {what} have an identifier.", not_null("event_id")),
        critical(f"None of the {what} is stored twice.", unique("event_id")),
        critical(f"All {what} say when they happened.", not_null("event_ts")),
        *((in_session,) if session else ()),
        critical(f"All {what} keep the document as it was received.", not_null("payload")),
        critical(f"It is known where all {what} came from.", not_null("source_position")),
        critical(f"None of the {what} lies more than a day in the future.", not_ahead("event_ts")),
        warning(f"Identifiers of {what} have the usual form.", matches("event_id", CANONICAL_UUID)),
        warning(
            f"All {what} lie within the history that we keep.",
            aggregate(
                "not_before_history",
                "event_ts",
                unexpected="count(*) FILTER (WHERE event_ts < {history_start})",
                oldest="min(event_ts)",
            ),
        ),
        warning(f"New {what} happened within the last day.", fresh("event_ts", hours=24)),
        warning(
            f"The last whole day has about as many {what} as the same day of the weeks before.",
            usual_volume("event_ts"),
        ),
    )


def known_values(**lists: tuple[str, Iterable[str]]) -> Rule:
    """Return a rule: fields of the document have values from lists. Unknown ones are kept, so this only warns.

    All fields are read with one look at each document; `lists` gives path and known values a field.
    """
    paths = ", ".join(f"'{path}'" for path, _ in lists.values())
    unknown = {
        field: f"fields[{place}] NOT IN ({', '.join(repr(value) for value in known)})"
        for place, (field, (_, known)) in enumerate(lists.items(), start=1)
    }
    counts = ", ".join(f"count(*) FILTER (WHERE {wrong}) AS {field}" for field, wrong in unknown.items())
    anything = " OR ".join(unknown.values())
    return never(
        f"known_values:{'+'.join(lists)}",
        f"""
        WITH documents AS (SELECT json_extract_string(payload, [{paths}]) AS fields FROM {{batch}})
        SELECT count(*) AS unexpected, {counts} FROM documents WHERE {anything} HAVING count(*) > 0""",
        local=True,
    )
