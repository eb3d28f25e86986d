"""Suite of what users told us about themselves. Every column but user_id is personal: no check may select a value."""

from expectations.suite import (
    COUNTRY_CODE,
    EMAIL_SHAPE,
    Suite,
    critical,
    fresh,
    has_columns,
    matches,
    none_where,
    not_ahead,
    not_null,
    unique,
    usual_size,
    warning,
)

SUITE = Suite(
    table="raw.user_profiles",
    group="raw",
    title="User profiles received",
    numbers="whom we may write to, in which language and at what time of the day",
    key=("user_id", "updated_at"),
    contained=True,
    checks=(
        critical(
            "The table of profiles has the agreed columns.",
            has_columns(
                "user_id",
                "email",
                "name",
                "locale",
                "time_zone",
                "country",
                "marketing_consent",
                "created_at",
                "updated_at",
                "payload",
                "ingested_at",
                "source",
                "source_position",
                "batch_id",
            ),
        ),
        critical("Every profile belongs to a user.", none_where("user_is_known", "coalesce(user_id, '') = ''")),
        critical("Every profile says when it was changed.", not_null("updated_at")),
        critical("No profile was changed in the future.", not_ahead("updated_at")),
        warning("E-mail addresses look like addresses.", matches("email", EMAIL_SHAPE)),
        warning("Countries are written as two letters.", matches("country", COUNTRY_CODE)),
        warning("Every user answered whether we may write to them.", not_null("marketing_consent")),
        warning(
            "No profile was changed before it was made.", none_where("made_before_changed", "updated_at < created_at")
        ),
        warning("A delivery holds each change of a profile once.", unique("user_id", "updated_at", "batch_id")),
        warning("Profiles were delivered within the last month.", fresh("ingested_at", hours=31 * 24)),
        warning("No profiles have gone since the runs before.", usual_size("raw.user_profiles", least=0.99)),
    ),
)
