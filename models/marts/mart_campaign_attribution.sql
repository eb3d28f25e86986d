/* Campaign attribution: one row per day, attribution model and campaign (source, medium, campaign, channel).
   A booking's value is shared by the touchpoints of the window before it, in whole cents: each gets the cents that it is due
   in full, and the cents left over go to those with the largest remainder, so that every model's credits sum to what was
   booked. A booking without a touchpoint is credited to 'direct'. Spend stands on its own day, booked or not.
   A day's rows follow from the window before it alone: a changed visit changes the days until the window has passed. */
MODEL (
  name marts.mart_campaign_attribution,
  owner marketing,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column attribution_date,
    partition_by_time_column FALSE
  ),
  tags ('visits reach: attribution_window_days + markov_learning_days', 'spend'),
  grain (attribution_date, model, utm_source, utm_medium, utm_campaign, channel),
  audits (
    NOT_NULL(columns := (attribution_date, model, channel, conversions, revenue, cost)),
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (attribution_date, model, utm_source, utm_medium, utm_campaign, channel)),
    ACCEPTED_VALUES(
      "column" := model,
      is_in := ('first_touch', 'last_touch', 'last_non_direct', 'linear', 'position_based', 'time_decay', 'markov')
    ),
    ASSERT_NEVER(condition := conversions < 0 OR revenue < 0 OR cost < 0),
    credits_sum_to_booked_revenue,
    cost_is_the_spend_of_each_model
  )
);

WITH models AS (
  SELECT
    'first_touch' AS model
  UNION ALL
  SELECT
    'last_touch'
  UNION ALL
  SELECT
    'last_non_direct'
  UNION ALL
  SELECT
    'linear'
  UNION ALL
  SELECT
    'position_based'
  UNION ALL
  SELECT
    'time_decay'
  UNION ALL
  SELECT
    'markov'
), bookings AS (
  SELECT
    event_id AS conversion_event_id,
    event_ts AS converted_at,
    ingested_at,
    ROUND(COALESCE(booking_value_reporting, 0) * 100)::DECIMAL(38, 0) AS cents
  FROM staging.stg_conversion_events
  WHERE
    event_ts >= @start_ds::TIMESTAMP AND event_ts < @end_ds::TIMESTAMP + @DAYS(1) AND @KNOWN(ingested_at)
), journeys AS (
  /* A removal effect is of a channel, however often it was touched: its touchpoints share it. */
  SELECT
    journey.conversion_event_id,
    journey.position,
    journey.touchpoints,
    journey.utm_source,
    journey.utm_medium,
    journey.utm_campaign,
    journey.channel,
    DATE_DIFF('MILLISECOND', journey.touched_at, journey.converted_at) / 86400000.0 AS age_days,
    MAX(CASE WHEN journey.channel <> 'direct' THEN journey.position END) OVER (PARTITION BY journey.conversion_event_id) AS last_non_direct_position,
    COALESCE(effect.removal_effect, 0) / COUNT(*) OVER (PARTITION BY journey.conversion_event_id, journey.channel) AS removal_share
  FROM intermediate.int_user_journeys AS journey
  LEFT JOIN marts.mart_attribution_markov AS effect
    ON effect.channel = journey.channel AND effect.effect_date = journey.converted_at::DATE
  WHERE
    journey.converted_at >= @start_ds::TIMESTAMP AND journey.converted_at < @end_ds::TIMESTAMP + @DAYS(1)
), claims AS (
  /* What each touchpoint claims of its booking; only the proportions matter. */
  SELECT
    models.model,
    bookings.conversion_event_id,
    bookings.converted_at,
    bookings.cents,
    journeys.utm_source,
    journeys.utm_medium,
    journeys.utm_campaign,
    COALESCE(journeys.channel, 'direct') AS channel,
    COALESCE(journeys.position, 1) AS position,
    COALESCE(journeys.touchpoints, 1) AS touchpoints,
    CASE
      WHEN journeys.position IS NULL
      THEN 1.0
      WHEN models.model = 'first_touch'
      THEN CASE WHEN journeys.position = 1 THEN 1.0 ELSE 0.0 END
      WHEN models.model = 'last_touch'
      THEN CASE WHEN journeys.position = journeys.touchpoints THEN 1.0 ELSE 0.0 END
      WHEN models.model = 'last_non_direct'
      THEN CASE
        WHEN journeys.position = COALESCE(journeys.last_non_direct_position, journeys.touchpoints)
        THEN 1.0
        ELSE 0.0
      END
      WHEN models.model = 'linear'
      THEN 1.0
      WHEN models.model = 'position_based'
      THEN CASE
        WHEN journeys.touchpoints <= 2
        THEN 1.0
        WHEN journeys.position = 1
        THEN @position_based_first_share
        WHEN journeys.position = journeys.touchpoints
        THEN @position_based_last_share
        ELSE (
          1.0 - @position_based_first_share - @position_based_last_share
        ) / (
          journeys.touchpoints - 2
        )
      END
      WHEN models.model = 'time_decay'
      THEN POWER(0.5, journeys.age_days / @time_decay_half_life_days)
      ELSE journeys.removal_share
    END::DOUBLE AS claim
  FROM bookings
  CROSS JOIN models
  LEFT JOIN journeys
    ON journeys.conversion_event_id = bookings.conversion_event_id
), weights AS (
  SELECT
    model,
    conversion_event_id,
    converted_at,
    cents,
    utm_source,
    utm_medium,
    utm_campaign,
    channel,
    position,
    CASE WHEN SUM(claim) OVER booking > 0 THEN claim / SUM(claim) OVER booking ELSE 1.0 / touchpoints END AS weight /* When no touchpoint claims anything (no channel has a removal effect), all share alike. */
  FROM claims
  WINDOW booking AS (PARTITION BY model, conversion_event_id)
), dues AS (
  /* In whole numbers: a weight has twelve decimals, cut off (0.1999999999999999 is a fifth), so that no booking is credited
  more than it brought, however large. Remainders are rounded, so that equal ones stay equal on every engine. */
  SELECT
    model,
    conversion_event_id,
    converted_at,
    cents,
    utm_source,
    utm_medium,
    utm_campaign,
    channel,
    position,
    weight,
    FLOOR(cents * share)::DECIMAL(38, 0) AS whole_cents,
    ROUND(cents * share - FLOOR(cents * share), 6) AS remainder
  FROM (
    SELECT
      *,
      (
        FLOOR(weight * 1000000000000 + 0.0005) / 1000000000000
      )::DECIMAL(13, 12) AS share
    FROM weights
  ) AS shares
), left_over AS (
  SELECT
    *,
    (
      cents - SUM(whole_cents) OVER booking
    )::BIGINT AS cents_left,
    COUNT(CASE WHEN weight > 0 THEN 1 END) OVER booking AS claimants,
    ROW_NUMBER() OVER (
      PARTITION BY model, conversion_event_id
      ORDER BY CASE WHEN weight > 0 THEN 0 ELSE 1 END, remainder DESC, position
    ) AS place
  FROM dues
  WINDOW booking AS (PARTITION BY model, conversion_event_id)
), credits AS (
  /* A large booking leaves more cents over than it has touchpoints: all get as many, the first of them one more. */
  SELECT
    model,
    converted_at::DATE AS attribution_date,
    utm_source,
    utm_medium,
    utm_campaign,
    channel,
    weight,
    (
      whole_cents + CASE
        WHEN place <= claimants
        THEN cents_left // claimants + CASE WHEN place <= cents_left % claimants THEN 1 ELSE 0 END
        ELSE 0
      END
    )::DECIMAL(38, 0) AS credited_cents
  FROM left_over
), touches AS (
  SELECT
    session_date AS touch_date,
    utm_source,
    utm_campaign,
    utm_medium,
    channel,
    COUNT(*) AS touches
  FROM intermediate.int_search_sessions
  WHERE
    session_date > @start_ds::DATE - @DAYS(@attribution_window_days) AND session_date <= @end_ds::DATE
  GROUP BY
    session_date,
    utm_source,
    utm_campaign,
    utm_medium,
    channel
), spent AS (
  SELECT
    spend_date,
    utm_source,
    utm_campaign,
    COALESCE(cost_reporting, 0) AS cost /* Unknown without a rate, which staging warns of */
  FROM staging.stg_ad_spend
  WHERE
    spend_date BETWEEN @start_ds AND @end_ds
), campaigns AS (
  /* Spend names no medium: it goes to the medium and channel under which the campaign was touched most in the window before it. */
  SELECT
    spent.spend_date,
    spent.utm_source,
    spent.utm_campaign,
    touches.utm_medium,
    touches.channel,
    ROW_NUMBER() OVER (
      PARTITION BY spent.spend_date, spent.utm_source, spent.utm_campaign
      ORDER BY SUM(touches.touches) DESC, touches.utm_medium, touches.channel
    ) AS rank
  FROM spent
  INNER JOIN touches
    ON touches.utm_source IS NOT DISTINCT FROM spent.utm_source
    AND touches.utm_campaign IS NOT DISTINCT FROM spent.utm_campaign
    AND touches.touch_date <= spent.spend_date
    AND touches.touch_date > spent.spend_date - @DAYS(@attribution_window_days)
  GROUP BY
    spent.spend_date,
    spent.utm_source,
    spent.utm_campaign,
    touches.utm_medium,
    touches.channel
), spend AS (
  SELECT
    spent.spend_date,
    spent.utm_source,
    campaigns.utm_medium,
    spent.utm_campaign,
    COALESCE(campaigns.channel, @CHANNEL(spent.utm_source, campaigns.utm_medium, spent.utm_campaign)) AS channel,
    spent.cost
  FROM spent
  LEFT JOIN campaigns
    ON campaigns.spend_date = spent.spend_date
    AND campaigns.utm_source IS NOT DISTINCT FROM spent.utm_source
    AND campaigns.utm_campaign IS NOT DISTINCT FROM spent.utm_campaign
    AND campaigns.rank = 1
), entries AS (
  /* Credits and spend one below the other: a day with only one of them keeps its row. */
  SELECT
    attribution_date,
    model,
    utm_source,
    utm_medium,
    utm_campaign,
    channel,
    weight AS conversions,
    credited_cents AS revenue_cents,
    0::DECIMAL(38, 4) AS cost
  FROM credits
  WHERE
    weight > 0
  UNION ALL
  SELECT
    spend.spend_date,
    models.model,
    spend.utm_source,
    spend.utm_medium,
    spend.utm_campaign,
    spend.channel,
    0.0,
    0,
    spend.cost
  FROM spend
  CROSS JOIN models
), totals AS (
  SELECT
    attribution_date,
    model,
    utm_source,
    utm_medium,
    utm_campaign,
    channel,
    SUM(conversions) AS conversions,
    (
      SUM(revenue_cents)::DECIMAL(38, 0) * 0.01::DECIMAL(3, 2)
    )::DECIMAL(38, 4) AS revenue, /* A division would go through a double */
    SUM(cost)::DECIMAL(38, 4) AS cost
  FROM entries
  GROUP BY
    attribution_date,
    model,
    utm_source,
    utm_medium,
    utm_campaign,
    channel
), known AS (
  SELECT
    converted_at::DATE AS booking_date,
    MAX(ingested_at) AS known_until
  FROM bookings
  GROUP BY
    converted_at::DATE
)
SELECT
  totals.attribution_date::DATE AS attribution_date, /* The day of the booking; of the spend for cost */
  totals.model::TEXT AS model, /* first_touch, last_touch, last_non_direct, linear, position_based, time_decay or markov */
  totals.utm_source::TEXT AS utm_source, /* Where the visit came from; null for direct visits */
  totals.utm_medium::TEXT AS utm_medium, /* By what medium */
  totals.utm_campaign::TEXT AS utm_campaign, /* By which campaign */
  totals.channel::TEXT AS channel, /* The marketing channel */
  totals.conversions::DOUBLE AS conversions, /* Bookings credited, in fractions of a booking */
  totals.revenue::DECIMAL(38, 4) AS revenue, /* Booked value credited, in the reporting currency */
  totals.cost::DECIMAL(38, 4) AS cost, /* Ad spend of the day, in the reporting currency; the same for every model */
  (
    totals.revenue::DOUBLE / NULLIF(totals.cost, 0)::DOUBLE
  )::DOUBLE AS roas, /* Return on ad spend: revenue / cost; null without spend */
  (
    totals.cost::DOUBLE / NULLIF(totals.conversions, 0)
  )::DOUBLE AS cost_per_booking, /* cost / conversions; null without a booking */
  known.known_until::TIMESTAMP AS known_until /* Arrival of the newest of the day's bookings: later ones are in no row yet; null without a booking */
FROM totals
LEFT JOIN known
  ON known.booking_date = totals.attribution_date
WHERE
  totals.attribution_date BETWEEN @start_ds AND @end_ds
