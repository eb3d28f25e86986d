"""Markov removal effects: one row per day and marketing channel.

Visits form a chain: start, the channels of a visitor's visits in their order, then a booking or nothing. A visitor
who stays away for the attribution window has left for nothing; one who booked or left begins again. A channel's removal
effect is the share of the bookings that would be lost if every visit through it ended in nothing (Anderl and others,
2016, "Mapping the customer journey"). `marts.mart_campaign_attribution` shares each booking by the effects of its day.

Those are learnt from the moves of the days before it and of the day itself, never of later ones: what a day says does
not change any more once its events are all here, and one more day costs as much as any other.
"""

import typing as t
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
from sqlglot import exp, parse_one
from sqlmesh import ExecutionContext, model
from sqlmesh.core.model import ModelKindName

START, BOOKING, NOTHING = "(start)", "(booking)", "(nothing)"


def moves_query(sessions: str, first: date, last: date, window_days: int) -> str:
    """Return SQL for how often visitors moved from one state of the chain to another: one row per day and pair of
    states.

    A visit is a move on its day, and so is the booking made in it; that nothing came of it shows a window later.
    """
    window = f"INTERVAL '{window_days}' DAY"
    return f"""
    WITH visits AS (
      SELECT
        session_date,
        session_start,
        channel,
        conversions,
        LAG(session_start) OVER visitor AS previous_start,
        LAG(channel) OVER visitor AS previous_channel,
        LAG(conversions) OVER visitor AS previous_conversions,
        LEAD(session_start) OVER visitor AS next_start
      FROM {sessions}
      WHERE session_date >= CAST('{first}' AS DATE) - {window} - INTERVAL '1' DAY
        AND session_date <= CAST('{last}' AS DATE)
      WINDOW visitor AS (PARTITION BY visitor_id ORDER BY session_start, session_key)
    ), moves AS (
      SELECT
        session_date AS move_date,
        CASE
          WHEN previous_conversions = 0 AND previous_start > session_start - {window} THEN previous_channel
          ELSE '{START}'
        END AS from_state,
        channel AS to_state
      FROM visits
      UNION ALL
      SELECT session_date AS move_date, channel AS from_state, '{BOOKING}' AS to_state
      FROM visits
      WHERE conversions > 0
      UNION ALL
      SELECT CAST(session_start + {window} AS DATE) AS move_date, channel AS from_state, '{NOTHING}' AS to_state
      FROM visits
      WHERE conversions = 0 AND (next_start IS NULL OR next_start >= session_start + {window})
    )
    SELECT move_date, from_state, to_state, COUNT(*) AS moves
    FROM moves
    WHERE move_date BETWEEN CAST('{first}' AS DATE) AND CAST('{last}' AS DATE)
    GROUP BY move_date, from_state, to_state
    """


def booking_probability(moves: "np.ndarray", to_booking: "np.ndarray", kept: t.Sequence[int]) -> float:
    """Return the chance to end in a booking from the start (state 0), when only the `kept` states may be visited.

    Solves p = Q p + r, where Q holds the moves between kept states and r those into a booking. Only states from which
    a booking can be reached are in it: the others have no chance, and visits that lead nowhere yet make no path out.
    """
    hopeful = {state for state in kept if to_booking[state] > 0}
    while more := {state for state in kept if state not in hopeful and any(moves[state, each] > 0 for each in hopeful)}:
        hopeful |= more
    if 0 not in hopeful:
        return 0.0
    states = sorted(hopeful)
    between = moves[np.ix_(states, states)]
    return float(np.linalg.solve(np.eye(len(states)) - between, to_booking[states])[0])


def removal_effects(counts: "dict[tuple[str, str], int]") -> "dict[str, float]":
    """Return the removal effect of each channel; 0 for all when nothing was booked."""
    channels = sorted({state for pair in counts for state in pair} - {START, BOOKING, NOTHING})
    states = [START, *channels]
    leaving = {state: sum(n for (origin, _), n in counts.items() if origin == state) for state in states}

    def share(origin: str, target: str) -> float:
        return counts.get((origin, target), 0) / leaving[origin] if leaving[origin] else 0.0

    moves = np.array([[share(origin, target) for target in states] for origin in states])
    to_booking = np.array([share(origin, BOOKING) for origin in states])
    everything = list(range(len(states)))
    with_all = booking_probability(moves, to_booking, everything)
    if with_all <= 0:
        return dict.fromkeys(channels, 0.0)
    effects = {}
    for index, channel in enumerate(channels, start=1):
        without = booking_probability(moves, to_booking, [state for state in everything if state != index])
        effects[channel] = round(min(max(1 - without / with_all, 0.0), 1.0), 12)
    return effects


def effects_by_day(
    moves: "list[tuple[date, str, str, int]]", first: date, last: date, learning_days: int
) -> "list[tuple[date, str, int, float]]":
    """Return (day, channel, moves through it, removal effect) of each day, from the moves of `learning_days` up to it.
    Yield (day, channel, moves through it, removal effect) of each day, from the moves of `learning_days` up to it."""
    by_day: dict[date, list[tuple[tuple[str, str], int]]] = {}
    for day, origin, target, n in moves:
        by_day.setdefault(day, []).append(((origin, target), n))
    counts: dict[tuple[str, str], int] = {}
    rows = []
    day = first - timedelta(days=learning_days - 1)
    while day <= last:
        gone = day - timedelta(days=learning_days)
        for sign, changed in ((1, by_day.get(day, ())), (-1, by_day.get(gone, ()))):
            for pair, n in changed:
                counts[pair] = counts.get(pair, 0) + sign * n
        counts = {pair: n for pair, n in counts.items() if n}
        if day >= first:
            for channel, effect in removal_effects(counts).items():
                through = sum(n for (_, target), n in counts.items() if target == channel)
                if through:  # else its visits were before these days, and only their end lies in them
                    rows.append((day, channel, through, effect))
        day += timedelta(days=1)
    return rows


@model(
    "marts.mart_attribution_markov",
    kind={
        "name": ModelKindName.INCREMENTAL_BY_TIME_RANGE,
        "time_column": "effect_date",
        "partition_by_time_column": False,
    },
    description="Markov removal effects: one row per day and marketing channel.",
    owner="analytics",
    grains=["effect_date", "channel"],
    tags=["visits reach: attribution_window_days + markov_learning_days"],
    depends_on=["intermediate.int_search_sessions"],
    columns={"effect_date": "DATE", "channel": "TEXT", "moves": "BIGINT", "removal_effect": "DOUBLE"},
    column_descriptions={
        "effect_date": "The day whose bookings are shared by the effect, UTC",
        "channel": "The marketing channel",
        "moves": "How many visits came through the channel in the days learnt from: the evidence behind the effect",
        "removal_effect": "Share of the bookings that would be lost without the channel, 0 to 1",
    },
    audits=[
        ("not_null", {"columns": [exp.column("effect_date"), exp.column("channel"), exp.column("removal_effect")]}),
        ("unique_combination_of_columns", {"columns": [exp.column("effect_date"), exp.column("channel")]}),
        ("accepted_range", {"column": exp.column("removal_effect"), "min_v": 0, "max_v": 1}),
    ],
)
def execute(
    context: ExecutionContext,
    start: datetime,
    end: datetime,
    execution_time: datetime,
    **kwargs: t.Any,
) -> t.Generator[pd.DataFrame, None, None]:
    """Count the moves in the warehouse, solve the small chains here."""
    window, learning = context.var("attribution_window_days"), context.var("markov_learning_days")
    first, last = start.date(), end.date()
    sessions = context.resolve_table("intermediate.int_search_sessions")
    query = moves_query(sessions, first - timedelta(days=learning - 1), last, window)
    # Parsed, not text: names and dialect are then those of the engine behind the gateway.
    found = context.fetchdf(parse_one(query, dialect="duckdb"))
    moves = [
        (pd.Timestamp(day).date(), str(origin), str(target), int(n))
        for day, origin, target, n in found[["move_date", "from_state", "to_state", "moves"]].itertuples(index=False)
    ]
    rows = effects_by_day(moves, first, last, learning)
    if not rows:
        yield from ()  # SQLMesh's way to say "no rows"
        return
    yield pd.DataFrame(rows, columns=["effect_date", "channel", "moves", "removal_effect"])
