"""Markov removal effects: one row per marketing channel.

Visits form a chain: start, the channels of a visitor's touchpoints in their order, then a booking or nothing.
A channel's removal effect is the share of the bookings that would be lost if every visit through it ended in
nothing (Anderl and others, 2016, "Mapping the customer journey"). `marts.mart_campaign_attribution` shares each
booking by these effects.
"""

import typing as t
from datetime import datetime

import numpy as np
import pandas as pd
from sqlglot import exp, parse_one
from sqlmesh import ExecutionContext, model

START, BOOKING, NOTHING = "(start)", "(booking)", "(nothing)"


def steps_query(journeys: str, touchpoints: str) -> str:
    """How often visitors went from one state of the chain to another: one row a pair of states.

    A path is what led to one booking, or the touchpoints of a visitor that led to none.
    """
    return f"""
    WITH credited AS (
      SELECT DISTINCT touchpoint_id FROM {journeys}
    ), steps AS (
      SELECT conversion_event_id AS path_id, '{BOOKING}' AS outcome, channel, position AS step
      FROM {journeys}
      UNION ALL
      SELECT
        visitor_id AS path_id,
        '{NOTHING}' AS outcome,
        channel,
        ROW_NUMBER() OVER (PARTITION BY visitor_id ORDER BY touched_at, touchpoints.touchpoint_id) AS step
      FROM {touchpoints} AS touchpoints
      LEFT JOIN credited ON credited.touchpoint_id = touchpoints.touchpoint_id
      WHERE credited.touchpoint_id IS NULL
    ), moves AS (
      SELECT
        COALESCE(LAG(channel) OVER (PARTITION BY outcome, path_id ORDER BY step), '{START}') AS from_state,
        channel AS to_state
      FROM steps
      UNION ALL
      SELECT channel AS from_state, outcome AS to_state
      FROM (
        SELECT
          outcome,
          channel,
          ROW_NUMBER() OVER (PARTITION BY outcome, path_id ORDER BY step DESC) AS from_the_end
        FROM steps
      ) AS reversed
      WHERE from_the_end = 1
    )
    SELECT from_state, to_state, COUNT(*) AS moves
    FROM moves
    GROUP BY from_state, to_state
    """


def booking_probability(moves: "np.ndarray", to_booking: "np.ndarray", kept: t.Sequence[int]) -> float:
    """The chance to end in a booking from the start (state 0), when only the `kept` states may be visited.

    Solves p = Q p + r, where Q holds the moves between kept states and r those into a booking. Each state has a
    path to an end, so that I - Q can be inverted.
    """
    between = moves[np.ix_(kept, kept)]
    return float(np.linalg.solve(np.eye(len(kept)) - between, to_booking[kept])[0])


def removal_effects(counts: "dict[tuple[str, str], int]") -> "dict[str, float]":
    """The removal effect of each channel; 0 for all when nothing was ever booked."""
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


@model(
    "marts.mart_attribution_markov",
    kind="FULL",
    description="Markov removal effects: one row per marketing channel.",
    owner="analytics",
    grains=["channel"],
    depends_on=["intermediate.int_user_journeys", "intermediate.int_touchpoints"],
    columns={"channel": "TEXT", "moves": "BIGINT", "removal_effect": "DOUBLE"},
    column_descriptions={
        "channel": "The marketing channel",
        "moves": "How often a visit through the channel was a step of a path: the evidence behind the effect",
        "removal_effect": "Share of the bookings that would be lost without the channel, 0 to 1",
    },
    audits=[
        ("not_null", {"columns": [exp.column("channel"), exp.column("removal_effect")]}),
        ("unique_values", {"columns": [exp.column("channel")]}),
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
    """Count the moves in the warehouse, solve the small chain here."""
    journeys = context.resolve_table("intermediate.int_user_journeys")
    touchpoints = context.resolve_table("intermediate.int_touchpoints")
    # Parsed, not text: names and dialect are then those of the engine behind the gateway.
    steps = context.fetchdf(parse_one(steps_query(journeys, touchpoints), dialect="duckdb"))
    counts = {
        (str(origin), str(target)): int(n)
        for origin, target, n in steps[["from_state", "to_state", "moves"]].itertuples(index=False)
    }
    effects = removal_effects(counts)
    if not effects:
        yield from ()  # SQLMesh's way to say "no rows"
        return
    entries = [sum(n for (_, target), n in counts.items() if target == channel) for channel in effects]
    yield pd.DataFrame({"channel": list(effects), "moves": entries, "removal_effect": list(effects.values())})
