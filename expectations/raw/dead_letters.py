"""Suite of input that was refused, kept byte for byte. May be empty; it is not the place for hopes about how much is
refused."""

from expectations.suite import (
    Suite,
    critical,
    has_columns,
    none_where,
    not_ahead,
    not_null,
    one_of,
    unique,
    usual_size,
    warning,
)
from searchflow.events import REASON_CODES

SUITE = Suite(
    table="raw.dead_letters",
    group="raw",
    title="Input refused",
    numbers="what is missing from all other numbers, and why",
    key=("dead_letter_id",),
    checks=(
        critical(
            "The table of refused input has the agreed columns.",
            has_columns(
                "dead_letter_id",
                "received_at",
                "source",
                "source_position",
                "event_type",
                "reason_code",
                "reason",
                "raw_payload",
                "batch_id",
                "status",
                "resolved_at",
                "resolved_by",
            ),
        ),
        critical("No refused input is kept twice.", unique("dead_letter_id")),
        critical("Refused input is kept as it was received.", not_null("raw_payload")),
        critical("Input was refused for one of the agreed reasons.", one_of("reason_code", sorted(REASON_CODES))),
        critical("Refused input is open, replayed or discarded.", one_of("status", ("open", "replayed", "discarded"))),
        warning(
            "What was resolved says when, and by whom.",
            none_where("resolution_is_signed", "status <> 'open' AND (resolved_at IS NULL OR resolved_by IS NULL)"),
        ),
        warning("Nothing was refused in the future.", not_ahead("received_at", hours=1)),
        warning("No refused input has gone since the runs before.", usual_size("raw.dead_letters", least=0.99)),
    ),
)
