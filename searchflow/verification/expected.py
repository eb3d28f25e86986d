"""Expected results: what must follow from the true events, by the rules that `docs/reference/models.md` states in
words.

This is a second route to the same numbers: Polars over the key's events, one visitor's history beside the other, and
none of the models' SQL. All functions take events as the key has them (`timestamp` in UTC without a zone).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import polars as pl

from searchflow.domain import Rules, in_reporting_currency

CLOCK_SLACK = timedelta(days=1)
"""How far before its search a click may be stamped and still count: clients' clocks are wrong."""


@dataclass(frozen=True)
class World:
    """The events that were known at some moment, and everything that follows from them."""

    events: pl.DataFrame
    rules: Rules

    @cached_property
    def placed(self) -> pl.DataFrame:
        """Return every event with the visit it belongs to: `session_start`, and `visitor`, as far as anyone could know.

        A client's session is cut where it is silent for longer than the gap. A user who logged in at any time in a
        client's session made all of it; without a login the session is all that is known of its visitor.
        """
        began = pl.col("timestamp") - pl.col("timestamp").shift(1).over("session_id") > self.rules.session_gap
        named = pl.col("identified").any().over("session_id")
        return (
            self.events.sort("session_id", "timestamp", "event_id")
            .with_columns(began.fill_null(value=True).alias("_began"))
            .with_columns(
                pl.when("_began").then("timestamp").forward_fill().alias("session_start"),
                pl.when(named).then("visitor_id").otherwise(pl.lit("anon:") + pl.col("session_id")).alias("visitor"),
                pl.when(named).then("visitor_id").alias("user_id"),
            )
            .drop("_began")
        )

    @cached_property
    def bookings(self) -> pl.DataFrame:
        """Return one row for each booking, with its `value` in cents of the reporting currency."""
        return in_reporting_currency(self.placed.filter(pl.col("event_type") == "conversion"), self.rules)

    @cached_property
    def sessions(self) -> pl.DataFrame:
        """Return one row for each visit, as `int_search_sessions` has it."""
        kind = pl.col("event_type")
        counted = self.placed.group_by("session_id", "session_start", maintain_order=True).agg(
            pl.col("timestamp").max().alias("session_end"),
            pl.col("visitor", "user_id").first(),
            (kind == "search").sum().cast(pl.Int64).alias("searches"),
            (kind == "click").sum().cast(pl.Int64).alias("clicks"),
            (kind == "conversion").sum().cast(pl.Int64).alias("conversions"),
            pl.col("channel", "country").filter(kind == "search").first(),
        )
        value = self.bookings.group_by("session_id", "session_start").agg(pl.col("value").sum())
        length = pl.col("session_end").dt.epoch("s") - pl.col("session_start").dt.epoch("s")
        many = pl.col("searches") >= self.rules.bot_session_searches
        fast = pl.col("searches") * 60 > self.rules.bot_searches_per_minute * length
        stamp = pl.col("session_start").dt.to_string("%Y%m%dT%H%M%S")
        return counted.join(value, on=["session_id", "session_start"], how="left").with_columns(
            pl.col("value").fill_null(0),
            pl.col("channel").fill_null("direct"),
            (many | ((pl.col("searches") >= self.rules.bot_min_searches) & fast)).alias("is_bot"),
            pl.concat_str("session_id", pl.lit(":"), stamp).alias("session_key"),
        )

    @cached_property
    def funnel(self) -> pl.DataFrame:
        """Return one row for each search with what came of it, as `fct_search_funnel` has it."""
        of_session = self.sessions.select(
            "session_id", "session_start", "session_key", "is_bot", pl.col("channel").alias("session_channel")
        )
        searches = self.placed.filter(pl.col("event_type") == "search").join(
            of_session, on=["session_id", "session_start"]
        )
        channel = pl.when(pl.col("channel") == "direct").then("session_channel").otherwise("channel")
        return (
            searches.with_columns(channel.alias("channel"))
            .join(self._clicked, left_on="number", right_on="search", how="left")
            .join(self._booked, left_on="number", right_on="search", how="left")
            .with_columns(pl.col("clicks", "conversions", "value").fill_null(0))
            .with_columns(pl.col("timestamp").dt.date().alias("search_date"))
            .drop("position", "destination", "cents", "currency", "cause", "parent")
            .rename({"first_position": "position", "first_destination": "destination"})
        )

    @cached_property
    def _clicks(self) -> pl.DataFrame:
        """Return clicks that count for their search, in the order in which they happened."""
        return self._following("click").sort("timestamp", "event_id")

    def _following(self, event_type: str) -> pl.DataFrame:
        """Return events of a type with the search (`search`) they follow: clicks directly, bookings through their
        click.
        """
        made = self.bookings if event_type == "conversion" else self.placed.filter(pl.col("event_type") == event_type)
        if event_type == "conversion":
            of_click = self._clicks.select(pl.col("number").alias("parent"), "search")
            made = made.join(of_click, on="parent")
        else:
            made = made.with_columns(pl.col("parent").alias("search"))
        searched = self.placed.filter(pl.col("event_type") == "search").select(
            pl.col("number").alias("search"), pl.col("timestamp").alias("searched_at")
        )
        return made.join(searched, on="search").filter(
            pl.col("timestamp") >= pl.col("searched_at") - CLOCK_SLACK,
            pl.col("timestamp") < pl.col("searched_at") + self.rules.funnel_window,
        )

    @cached_property
    def _clicked(self) -> pl.DataFrame:
        return self._clicks.group_by("search", maintain_order=True).agg(
            pl.len().cast(pl.Int64).alias("clicks"),
            pl.col("position").first().alias("first_position"),
            pl.col("destination").first().alias("first_destination"),
        )

    @cached_property
    def _booked(self) -> pl.DataFrame:
        return (
            self._following("conversion")
            .group_by("search")
            .agg(pl.len().cast(pl.Int64).alias("conversions"), pl.col("value").sum())
        )

    def users(self) -> pl.DataFrame:
        """Return one row for each user who was seen: presence, bookings and the country of the newest search."""
        named = pl.col("user_id").is_not_null()
        seen = (
            self.sessions.filter(named)
            .group_by("user_id")
            .agg(
                pl.col("session_start").min().alias("first_seen_at"), pl.col("session_end").max().alias("last_seen_at")
            )
        )
        searched = (
            self.funnel.filter(named)
            .sort("timestamp", "platform", "device_type", "country", descending=[True, False, False, False])
            .group_by("user_id", maintain_order=True)
            .agg(pl.col("timestamp").first().alias("last_searched_at"), pl.col("country").first())
        )
        booked = (
            self.bookings.filter(named)
            .group_by("user_id")
            .agg(
                pl.len().cast(pl.Int64).alias("conversions"),
                pl.col("value").sum(),
                pl.col("timestamp").max().alias("last_converted_at"),
            )
        )
        joined = seen.join(searched, on="user_id", how="left").join(booked, on="user_id", how="left")
        return joined.with_columns(pl.col("conversions", "value").fill_null(0))

    def segments(self, moment: datetime) -> pl.DataFrame:
        """Return `users` with their segment at a moment: the first rule that holds."""
        rules = self.rules
        rich = (pl.col("value") > rules.high_value_cents) | (pl.col("conversions") >= rules.high_value_conversions)
        lapsed = (pl.col("conversions") > 0) & (pl.col("last_seen_at") < moment - rules.at_risk)
        booked_since = pl.col("last_converted_at") >= pl.col("last_searched_at")
        left = (pl.col("last_searched_at") >= moment - rules.abandoned) & ~booked_since.fill_null(value=False)
        return self.users().with_columns(
            pl.when(rich)
            .then(pl.lit("high_value"))
            .when(pl.col("first_seen_at") >= moment - rules.new_user)
            .then(pl.lit("new_user"))
            .when(lapsed)
            .then(pl.lit("at_risk"))
            .when(left)
            .then(pl.lit("abandoned_search"))
            .otherwise(pl.lit("regular"))
            .alias("segment")
        )

    def abandoned(self, moment: datetime) -> pl.DataFrame:
        """Return the idempotency keys of the messages due at a moment, before consent: (user_id, key)."""
        last = self.users().select("user_id", "last_converted_at")
        due = self.funnel.filter(
            pl.col("timestamp").is_between(moment - self.rules.abandoned, moment - self.rules.abandoned_after),
            ~pl.col("is_bot"),
            pl.col("conversions") == 0,
        ).join(last, on="user_id")
        since = pl.col("last_converted_at").is_null() | (pl.col("last_converted_at") < pl.col("timestamp"))
        key = pl.concat_str("user_id", pl.lit(":abandoned_search:"), pl.col("search_date").cast(pl.String))
        return due.filter(since).select("user_id", key.alias("key")).unique()

    def kpis(self) -> pl.DataFrame:
        """Return one row for each day: the counts of `mart_kpi_daily`."""
        people = self.funnel.filter(~pl.col("is_bot"))
        searched = people.group_by(pl.col("search_date").alias("day")).agg(
            pl.len().cast(pl.Int64).alias("searches"),
            pl.col("clicks").sum(),
            (pl.col("clicks") > 0).sum().cast(pl.Int64).alias("searches_with_click"),
            (pl.col("conversions") > 0).sum().cast(pl.Int64).alias("searches_with_conversion"),
            (pl.col("results") == 0).sum().cast(pl.Int64).alias("zero_result_searches"),
        )
        human = ~pl.col("is_bot")
        visited = self.sessions.group_by(pl.col("session_start").dt.date().alias("day")).agg(
            human.sum().cast(pl.Int64).alias("sessions"),
            pl.col("visitor").filter(human).n_unique().cast(pl.Int64).alias("visitors"),
            pl.col("searches").filter(~human).sum().alias("bot_searches"),
        )
        booked = self.bookings.group_by(pl.col("timestamp").dt.date().alias("day")).agg(
            pl.len().cast(pl.Int64).alias("conversions"), pl.col("value").sum().alias("revenue")
        )
        days = pl.concat([frame.select("day") for frame in (searched, visited, booked)]).unique()
        for frame in (searched, visited, booked):
            days = days.join(frame, on="day", how="left")
        return days.with_columns(pl.exclude("day").fill_null(0))
