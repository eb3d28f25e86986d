"""Suite of the rows that the e-mail queue is sent: only to those who agreed. Often empty in a small data set.

The address of a single message is delivery's business (it rejects that row with a reason): here it only warns, so
that one bad address does not keep the mail of all others.
"""

from expectations.suite import (
    EMAIL_SHAPE,
    Suite,
    critical,
    has_exactly_columns,
    matches,
    never,
    none_where,
    not_ahead,
    not_null,
    unique,
    usual_size,
    warning,
)

SUITE = Suite(
    table="activation.act_abandoned_search_emails",
    group="activation",
    title="To the e-mail queue: abandoned searches",
    numbers="the reminders that customers receive",
    key=("idempotency_key",),
    contained=True,
    checks=(
        critical(
            "A message holds what it needs and nothing else.",
            has_exactly_columns(
                "idempotency_key",
                "user_id",
                "email",
                "name",
                "locale",
                "time_zone",
                "query",
                "destination",
                "searched_at",
            ),
        ),
        critical("Every message has its key.", not_null("idempotency_key")),
        critical("No message would be sent twice.", unique("idempotency_key")),
        critical("Every message has a receiver.", none_where("user_is_known", "coalesce(user_id, '') = ''")),
        critical(
            "Every user we write to agreed to it.",
            never(
                "only_with_consent",
                """
                WITH messages AS (SELECT user_id FROM {batch})
                SELECT count(*) AS unexpected FROM messages
                LEFT JOIN {marts.dim_users} AS users ON users.user_id = messages.user_id
                WHERE users.marketing_consent IS DISTINCT FROM TRUE HAVING count(*) > 0""",
                broken="""
                NOT EXISTS (SELECT 1 FROM {marts.dim_users} AS users
                  WHERE users.user_id = checked.user_id AND users.marketing_consent)""",
            ),
        ),
        critical("Every message is about a search that happened.", not_ahead("searched_at")),
        warning("Every message has an address.", not_null("email")),
        warning("Addresses look like addresses.", matches("email", EMAIL_SHAPE)),
        warning(
            "Neither far more nor far fewer messages wait than in the runs before.",
            usual_size("activation.act_abandoned_search_emails", least=0.3, most=3),
        ),
    ),
)
