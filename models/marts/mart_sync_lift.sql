/* What a sync changes: one row per sync and seed of its holdout, with the bookings of treated and held-out users beside
   each other. Each user counts for the days after they were assigned to an arm, in the run that would first have sent them,
   whether or not the message then reached them: only so are the arms alike. Users whose days are not over yet wait.
   Formulas and sources: docs/reference/lift.md. */
MODEL (
  name marts.mart_sync_lift,
  kind FULL,
  grain (sync, seed),
  audits (
    NOT_NULL(columns := (sync, seed, treated_users, held_out_users, pending_users)),
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (sync, seed)),
    ASSERT_NEVER(
      condition := conversion_rate_lift_low > conversion_rate_lift OR conversion_rate_lift > conversion_rate_lift_high
    ),
    ASSERT_NEVER(condition := treated_converted > treated_users OR held_out_converted > held_out_users),
    each_user_is_in_one_arm
  )
);

WITH assigned AS (
  SELECT
    sync,
    seed,
    unit,
    arm,
    assigned_at,
    assigned_at + @DAYS(@lift_window_days) <= @execution_dtntz AS is_complete
  FROM ops.sync_assignments
), bookings AS (
  SELECT
    visitor_id,
    converted_at,
    booking_value_reporting
  FROM intermediate.int_user_journeys
  WHERE
    position = 1
), outcomes /* What each user booked in their days */ AS (
  SELECT
    assigned.sync,
    assigned.seed,
    assigned.unit,
    assigned.arm,
    COUNT(bookings.converted_at) AS conversions,
    COALESCE(SUM(bookings.booking_value_reporting), 0)::DOUBLE AS revenue
  FROM assigned
  LEFT JOIN bookings
    ON bookings.visitor_id = assigned.unit
    AND bookings.converted_at >= assigned.assigned_at
    AND bookings.converted_at < assigned.assigned_at + @DAYS(@lift_window_days)
  WHERE
    assigned.is_complete
  GROUP BY
    assigned.sync,
    assigned.seed,
    assigned.unit,
    assigned.arm
), experiments AS (
  SELECT
    sync,
    seed,
    MIN(assigned_at) AS first_assigned_at,
    COUNT(CASE WHEN NOT is_complete THEN 1 END) AS pending
  FROM assigned
  GROUP BY
    sync,
    seed
), arms AS (
  SELECT
    sync,
    seed,
    COUNT(CASE WHEN arm = 'treated' THEN 1 END)::DOUBLE AS n1,
    COUNT(CASE WHEN arm = 'held_out' THEN 1 END)::DOUBLE AS n2,
    COUNT(CASE WHEN arm = 'treated' AND conversions > 0 THEN 1 END)::DOUBLE AS x1,
    COUNT(CASE WHEN arm = 'held_out' AND conversions > 0 THEN 1 END)::DOUBLE AS x2,
    AVG(CASE WHEN arm = 'treated' THEN revenue END) AS m1,
    AVG(CASE WHEN arm = 'held_out' THEN revenue END) AS m2,
    VARIANCE(CASE WHEN arm = 'treated' THEN revenue END) AS v1,
    VARIANCE(CASE WHEN arm = 'held_out' THEN revenue END) AS v2
  FROM outcomes
  GROUP BY
    sync,
    seed
), shares AS (
  SELECT
    *,
    1.959963984540054 AS z, /* 95 % */
    x1 / NULLIF(n1, 0) AS p1,
    x2 / NULLIF(n2, 0) AS p2,
    v1 / NULLIF(n1, 0) AS e1, /* Squared standard errors of the means */
    v2 / NULLIF(n2, 0) AS e2
  FROM arms
), wilson /* The score interval of each arm's rate */ AS (
  SELECT
    *,
    (
      2 * x1 + z * z - z * SQRT(z * z + 4 * x1 * (
        1 - p1
      ))
    ) / (
      2 * (
        n1 + z * z
      )
    ) AS l1,
    (
      2 * x1 + z * z + z * SQRT(z * z + 4 * x1 * (
        1 - p1
      ))
    ) / (
      2 * (
        n1 + z * z
      )
    ) AS u1,
    (
      2 * x2 + z * z - z * SQRT(z * z + 4 * x2 * (
        1 - p2
      ))
    ) / (
      2 * (
        n2 + z * z
      )
    ) AS l2,
    (
      2 * x2 + z * z + z * SQRT(z * z + 4 * x2 * (
        1 - p2
      ))
    ) / (
      2 * (
        n2 + z * z
      )
    ) AS u2,
    (
      e1 + e2
    ) * (
      e1 + e2
    ) / NULLIF(e1 * e1 / NULLIF(n1 - 1, 0) + e2 * e2 / NULLIF(n2 - 1, 0), 0) AS df
  FROM shares
), intervals AS (
  SELECT
    *,
    SQRT((
      p1 - l1
    ) * (
      p1 - l1
    ) + (
      u2 - p2
    ) * (
      u2 - p2
    )) AS below,
    SQRT((
      u1 - p1
    ) * (
      u1 - p1
    ) + (
      p2 - l2
    ) * (
      p2 - l2
    )) AS above,
    SQRT(e1 + e2) * (
      z + (
        POWER(z, 3) + z
      ) / (
        4 * df
      ) + (
        5 * POWER(z, 5) + 16 * POWER(z, 3) + 3 * z
      ) / (
        96 * df * df
      ) + (
        3 * POWER(z, 7) + 19 * POWER(z, 5) + 17 * POWER(z, 3) - 15 * z
      ) / (
        384 * df * df * df
      )
    ) AS spread /* Student's t by its expansion around the normal */
  FROM wilson
)
SELECT
  experiments.sync::TEXT AS sync, /* The sync */
  experiments.seed::TEXT AS seed, /* Seed of its holdout: another seed is another experiment */
  @lift_window_days::INT AS window_days, /* How many days after their assignment users are looked at */
  experiments.first_assigned_at::TIMESTAMP AS first_assigned_at, /* Since when there are arms, UTC */
  experiments.pending::BIGINT AS pending_users, /* Users whose days are not over yet */
  COALESCE(intervals.n1, 0)::BIGINT AS treated_users, /* Users the sync may send, days over */
  COALESCE(intervals.n2, 0)::BIGINT AS held_out_users, /* Users who are held out, days over */
  COALESCE(intervals.x1, 0)::BIGINT AS treated_converted, /* Treated users who booked */
  COALESCE(intervals.x2, 0)::BIGINT AS held_out_converted, /* Held-out users who booked */
  ROUND(intervals.p1, 6)::DOUBLE AS treated_conversion_rate, /* Share of treated users who booked; null without such users */
  ROUND(intervals.p2, 6)::DOUBLE AS held_out_conversion_rate, /* Share of held-out users who booked; null without such users */
  ROUND(intervals.p1 - intervals.p2, 6)::DOUBLE AS conversion_rate_lift, /* Treated less held-out */
  ROUND(intervals.p1 - intervals.p2 - intervals.below, 6)::DOUBLE AS conversion_rate_lift_low, /* Lower end of its 95 % interval */
  ROUND(intervals.p1 - intervals.p2 + intervals.above, 6)::DOUBLE AS conversion_rate_lift_high, /* Upper end of its 95 % interval */
  ROUND(intervals.m1, 4)::DOUBLE AS treated_revenue_per_user, /* Revenue per treated user, in the reporting currency */
  ROUND(intervals.m2, 4)::DOUBLE AS held_out_revenue_per_user, /* Revenue per held-out user, in the reporting currency */
  ROUND(intervals.m1 - intervals.m2, 4)::DOUBLE AS revenue_per_user_lift, /* Treated less held-out */
  ROUND(intervals.m1 - intervals.m2 - intervals.spread, 4)::DOUBLE AS revenue_per_user_lift_low, /* Lower end of its 95 % interval; null below two users an arm, or when no user's revenue differs */
  ROUND(intervals.m1 - intervals.m2 + intervals.spread, 4)::DOUBLE AS revenue_per_user_lift_high, /* Upper end of its 95 % interval */
  (
    intervals.p1 - intervals.p2 - intervals.below > 0
    OR intervals.p1 - intervals.p2 + intervals.above < 0
  )::BOOLEAN AS is_conclusive /* Whether the interval of the conversion rate leaves out zero; null without users in both arms */
FROM experiments
LEFT JOIN intervals
  ON intervals.sync = experiments.sync AND intervals.seed = experiments.seed
