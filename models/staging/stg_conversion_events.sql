/* Bookings with typed fields and money in the reporting currency: one row per booking */
MODEL (
  name staging.stg_conversion_events,
  kind VIEW,
  cron '@daily',
  allow_partials FALSE,
  grain (
    event_id
  ),
  audits (
    ASSERT_KNOWN(columns := (event_id, event_ts, session_id, click_event_id), time := event_ts),
    ASSERT_KNOWN(columns := (
      booking_value_reporting
    ), time := event_ts, blocking := FALSE),
    ASSERT_NOT_NEGATIVE(columns := (booking_value, commission), time := event_ts),
    ASSERT_RECENTLY_NEVER(condition := NOT unread IS NULL, time := event_ts, blocking := FALSE)
  )
);

WITH typed AS (
  SELECT
    event_id,
    event_ts,
    session_id,
    user_id,
    LOWER(@JSON_TEXT(payload, '$.click_event_id')) AS click_event_id,
    @TO_DECIMAL(@JSON_TEXT(payload, '$.booking_value'), 38, 4) AS booking_value,
    @TO_DECIMAL(@JSON_TEXT(payload, '$.commission'), 38, 4) AS commission,
    UPPER(COALESCE(@JSON_TEXT(payload, '$.currency'), 'CAD')) AS currency, /* the contract's default */
    @JSON_TEXT(payload, '$.product_type') AS product_type,
    @JSON_TEXT(payload, '$.provider') AS provider,
    ingested_at,
    @UNREAD(payload, 'booking_value: DECIMAL(38, 4)', 'commission: DECIMAL(38, 4)') AS unread
  FROM raw.conversion_events
  WHERE
    NOT event_id IN (
      SELECT
        event_id
      FROM ops.held_events
      WHERE
        event_type = 'conversion' AND released_at IS NULL
    )
)
SELECT
  typed.event_id::TEXT AS event_id, /* The booking */
  typed.event_ts::TIMESTAMP AS event_ts, /* When it happened, UTC */
  typed.session_id::TEXT AS session_id, /* The client's session */
  typed.user_id::TEXT AS user_id, /* Null for an anonymous visitor */
  typed.click_event_id::TEXT AS click_event_id, /* The click that led to it */
  typed.booking_value::DECIMAL(38, 4) AS booking_value, /* Price of the booking, in its currency */
  typed.commission::DECIMAL(38, 4) AS commission, /* What we earn, in its currency */
  typed.currency::TEXT AS currency, /* ISO 4217 code */
  ROUND(typed.booking_value * rates.rate_to_reporting, 2)::DECIMAL(38, 4) AS booking_value_reporting, /* Price in the reporting currency; null for a currency without a rate */
  ROUND(typed.commission * rates.rate_to_reporting, 2)::DECIMAL(38, 4) AS commission_reporting, /* Commission in the reporting currency */
  typed.product_type::TEXT AS product_type, /* flight, hotel, car, package; others are kept */
  typed.provider::TEXT AS provider, /* Who sells it */
  typed.ingested_at::TIMESTAMP AS ingested_at, /* When we knew, UTC */
  typed.unread::TEXT AS unread /* Fields whose value does not fit its column: it is null here and kept in raw; null when all fit */
FROM typed
LEFT JOIN staging.stg_fx_rates AS rates
  ON rates.currency = typed.currency AND typed.event_ts::DATE BETWEEN rates.valid_from AND rates.valid_to
