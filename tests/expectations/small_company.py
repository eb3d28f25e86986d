"""Literal rows of a small travel company: three searches, one user, one booking, and marts that agree with them."""

from datetime import UTC, datetime

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)

RAW = """
INSERT INTO raw.search_events VALUES
  ('11111111-0000-4000-8000-000000000001', '2026-03-02 09:00', 'u-1', 's-1',
   '{"query": "hotels in Lisbon", "platform": "web", "device_type": "mobile", "results_count": 12}',
   1, '2026-03-02 09:01', 'searchflow:events:search', '1-0', 'b-1'),
  ('11111111-0000-4000-8000-000000000002', '2026-03-02 10:00', NULL, 's-2',
   '{"query": "flights to Tokyo", "platform": "ios"}',
   1, '2026-03-02 10:01', 'searchflow:events:search', '2-0', 'b-1'),
  ('11111111-0000-4000-8000-000000000003', '2026-03-02 11:00', NULL, 's-2', '{"query": ""}',
   1, '2026-03-02 11:01', 'searchflow:events:search', '3-0', 'b-1');
INSERT INTO raw.click_events VALUES
  ('22222222-0000-4000-8000-000000000001', '2026-03-02 09:05', 'u-1', 's-1',
   '{"search_event_id": "11111111-0000-4000-8000-000000000001", "result_id": "r-1", "result_type": "hotel"}',
   1, '2026-03-02 09:06', 'searchflow:events:click', '1-0', 'b-2');
INSERT INTO raw.conversion_events VALUES
  ('33333333-0000-4000-8000-000000000001', '2026-03-02 09:30', 'u-1', 's-1',
   '{"click_event_id": "22222222-0000-4000-8000-000000000001", "booking_value": 100.01, "currency": "CAD"}',
   1, '2026-03-02 09:31', 'searchflow:events:conversion', '1-0', 'b-3');
INSERT INTO raw.user_profiles VALUES
  ('u-1', 'zoe.martin@example.org', 'Zoé Martin', 'fr-CA', 'America/Toronto', 'CA', TRUE, '2026-01-01', '2026-01-02',
   '{}', '2026-03-02 08:00', 'file:user_profiles.csv', '1', 'b-4');
INSERT INTO raw.ad_spend VALUES
  ('2026-03-02', 'google', 'spring', 'CAD', 12.5, 100, 4, '{}', '2026-03-02 08:00', 'file:ad_spend.csv', '1', 'b-5');
INSERT INTO raw.dead_letters VALUES
  ('d-1', '2026-03-02 09:01', 'searchflow:events:search', '4-0', 'search', 'invalid_json', 'not JSON', 'x'::BLOB, 'b-1',
   'open', NULL, NULL, NULL);
INSERT INTO ops.ingestion_batches (batch_id, shard, received, stored, duplicates, dead_letters, late) VALUES
  ('b-1', 'search', 25, 3, 21, 1, 0), ('b-2', 'click', 1, 1, 0, 0, 0), ('b-3', 'conversion', 1, 1, 0, 0, 0),
  ('b-4', 'file', 1, 1, 0, 0, 0), ('b-5', 'file', 1, 1, 0, 0, 0);
"""

MODELS = """
CREATE SCHEMA IF NOT EXISTS staging;
CREATE SCHEMA IF NOT EXISTS intermediate;
CREATE SCHEMA IF NOT EXISTS marts;
CREATE SCHEMA IF NOT EXISTS activation;
CREATE OR REPLACE TABLE staging.stg_conversion_events AS
  SELECT event_id, event_ts, 100.01::DECIMAL(18, 2) AS booking_value_reporting, ingested_at FROM raw.conversion_events;
CREATE OR REPLACE TABLE intermediate.int_user_journeys AS
  SELECT event_id AS conversion_event_id, 's-1:20260302T090000' AS touchpoint_id, user_id FROM raw.conversion_events;
CREATE OR REPLACE TABLE marts.fct_search_funnel AS
  SELECT event_id AS search_event_id, event_ts AS searched_at, event_ts::DATE AS search_date, session_id,
    session_id AS session_key, coalesce(user_id, 'anon:' || session_id) AS visitor_id, user_id,
    payload ->> '$.query' AS query, payload ->> '$.platform' AS platform, payload ->> '$.device_type' AS device_type,
    'CA' AS country, 'direct' AS channel, NULL::VARCHAR AS utm_source, NULL::VARCHAR AS utm_medium,
    NULL::VARCHAR AS utm_campaign, NULL::VARCHAR AS destination, 12 AS results_count, TRUE AS has_results,
    CASE WHEN user_id = 'u-1' THEN 1 ELSE 0 END AS clicks, NULL::INTEGER AS first_click_position,
    NULL::TIMESTAMP AS first_click_at, CASE WHEN user_id = 'u-1' THEN 1 ELSE 0 END AS conversions,
    CASE WHEN user_id = 'u-1' THEN 100.01 ELSE 0 END::DECIMAL(18, 2) AS revenue, FALSE AS is_bot,
    1 AS page, NULL::INTEGER AS lead_time_days, NULL::TIMESTAMP AS first_conversion_at
  FROM raw.search_events;
CREATE OR REPLACE TABLE marts.fct_search_funnel_daily AS
  SELECT search_date, platform, device_type, country, channel, count(*) AS searches, count(*) AS searches_with_results,
    count(*) FILTER (WHERE clicks > 0) AS searches_with_click, sum(clicks)::BIGINT AS clicks,
    count(*) FILTER (WHERE conversions > 0) AS searches_with_conversion, sum(conversions)::BIGINT AS conversions,
    sum(revenue)::DECIMAL(18, 2) AS revenue, 0 AS zero_result_searches,
    0::BIGINT AS searches_with_dates, 0::BIGINT AS lead_time_days, 0::BIGINT AS searches_with_far_dates
  FROM marts.fct_search_funnel GROUP BY ALL;
CREATE OR REPLACE TABLE marts.mart_kpi_daily AS
  SELECT search_date AS kpi_date, sum(searches)::BIGINT AS searches, 2 AS sessions, 2 AS visitors,
    sum(clicks)::BIGINT AS clicks, sum(conversions)::BIGINT AS conversions, sum(revenue)::DECIMAL(18, 2) AS revenue,
    0.33 AS click_through_rate, 0.33 AS conversion_rate, 0.0 AS zero_result_rate, 33.3 AS revenue_per_search,
    100.01 AS avg_booking_value, NULL::BIGINT AS searches_prev_day, NULL::BIGINT AS searches_prev_week,
    NULL::BIGINT AS searches_prev_month, NULL::BIGINT AS searches_prev_year, NULL::BIGINT AS conversions_prev_day,
    NULL::BIGINT AS conversions_prev_week, NULL::BIGINT AS conversions_prev_month,
    NULL::BIGINT AS conversions_prev_year, NULL::DECIMAL(18, 2) AS revenue_prev_day,
    NULL::DECIMAL(18, 2) AS revenue_prev_week, NULL::DECIMAL(18, 2) AS revenue_prev_month,
    NULL::DECIMAL(18, 2) AS revenue_prev_year, 0.9 AS finality, FALSE AS is_final,
    0.3 AS searches_to_come, 0.1 AS clicks_to_come, 0.1 AS conversions_to_come, 11.11 AS revenue_to_come,
    3.0 AS look_to_book, NULL::DOUBLE AS avg_lead_time_days, 0::BIGINT AS searches_with_far_dates
  FROM marts.fct_search_funnel_daily GROUP BY search_date;
CREATE OR REPLACE TABLE marts.dim_users AS
  SELECT 'u-1' AS user_id, TIMESTAMP '2026-03-02 09:00' AS first_seen_at, TIMESTAMP '2026-03-02 09:30' AS last_seen_at,
    TIMESTAMP '2026-03-02 09:30' AS first_converted_at, TIMESTAMP '2026-03-02 09:30' AS last_converted_at,
    1 AS searches, 1 AS clicks, 1 AS conversions, 100.01::DECIMAL(18, 2) AS lifetime_revenue, 'CA' AS country,
    'web' AS platform, 'mobile' AS device_type, 'fr-CA' AS locale, 'America/Toronto' AS time_zone,
    TRUE AS marketing_consent, 'Zoé Martin' AS name, 'zoe.martin@example.org' AS email;
CREATE OR REPLACE TABLE marts.mart_user_segments AS
  SELECT user_id, 'new_user' AS segment, lifetime_revenue, conversions, first_seen_at, last_seen_at,
    first_seen_at AS last_search_at, TIMESTAMP '2026-03-02 12:00' AS segment_as_of, last_converted_at,
    1 AS rfm_recency, 1 AS rfm_frequency, 1 AS rfm_monetary, '111' AS rfm FROM marts.dim_users;
CREATE OR REPLACE TABLE marts.mart_user_segment_history AS
  SELECT user_id, segment, first_seen_at AS valid_from, NULL::TIMESTAMP AS valid_to FROM marts.mart_user_segments;
CREATE OR REPLACE TABLE marts.mart_segment_transitions
  (month DATE, from_segment VARCHAR, to_segment VARCHAR, users BIGINT);
CREATE OR REPLACE TABLE marts.mart_campaign_attribution AS
  SELECT DATE '2026-03-02' AS attribution_date, unnest(['first_touch', 'last_touch', 'last_non_direct', 'linear',
    'position_based', 'time_decay', 'markov']) AS model, NULL::VARCHAR AS utm_source, NULL::VARCHAR AS utm_medium,
    NULL::VARCHAR AS utm_campaign, 'direct' AS channel, 1.0::DOUBLE AS conversions, 100.01::DECIMAL(18, 2) AS revenue,
    0::DECIMAL(18, 2) AS cost, NULL::DOUBLE AS roas, NULL::DOUBLE AS cost_per_booking,
    TIMESTAMP '2026-03-02 09:31' AS known_until;
CREATE OR REPLACE TABLE marts.mart_attribution_markov AS
  SELECT DATE '2026-03-02' AS effect_date, 'direct' AS channel, 2::BIGINT AS moves, 1.0::DOUBLE AS removal_effect;
CREATE OR REPLACE TABLE marts.mart_destination_demand AS
  SELECT search_date AS demand_date, NULL::VARCHAR AS destination, sum(searches)::BIGINT AS searches,
    0 AS zero_result_searches, sum(clicks)::BIGINT AS clicks, sum(conversions)::BIGINT AS bookings,
    sum(revenue)::DECIMAL(18, 2) AS revenue, 3.0 AS look_to_book, 33.3 AS revenue_per_search,
    NULL::DOUBLE AS avg_lead_time_days, 0::BIGINT AS searches_with_far_dates
  FROM marts.fct_search_funnel_daily GROUP BY search_date;
CREATE OR REPLACE TABLE marts.mart_recommendations AS
  SELECT '__popular__' AS user_id, 'Lisbon' AS destination, 1.0 AS score, 1 AS rank;
CREATE OR REPLACE TABLE marts.mart_sync_lift AS
  SELECT 'abandoned_search_emails' AS sync, 's' AS seed, 70 AS treated_users, 80 AS held_out_users,
    0.8 AS treated_conversion_rate, 0.6 AS held_out_conversion_rate, 0.2 AS conversion_rate_lift,
    0.0524 AS conversion_rate_lift_low, 0.3339 AS conversion_rate_lift_high, TRUE AS is_conclusive;
CREATE OR REPLACE TABLE marts.mart_recommendation_quality AS
  SELECT DATE '2026-02-23' AS held_out_from, DATE '2026-03-01' AS held_out_until, 'all' AS scope,
    unnest(['recommendations', 'popular']) AS recommender, 1::BIGINT AS users, 0::BIGINT AS users_without_list,
    1::BIGINT AS destinations, 1::BIGINT AS hits, 1.0::DOUBLE AS recall_at_10, 1.0::DOUBLE AS ndcg_at_10;
CREATE OR REPLACE TABLE marts.mart_position_clicks AS
  SELECT 1 AS "position", 1::BIGINT AS searches_shown, 1::BIGINT AS first_clicks, 1.0::DOUBLE AS click_rate;
CREATE OR REPLACE TABLE marts.mart_position_corrected_clicks AS
  SELECT DATE '2026-03-02' AS search_date, 'web' AS platform, 'mobile' AS device_type, 'direct' AS channel,
    1::BIGINT AS searches, 1::BIGINT AS searches_with_click, 1.0::DOUBLE AS expected_clicks, 1.0::DOUBLE AS click_rate,
    1.0::DOUBLE AS coec;
CREATE OR REPLACE TABLE marts.mart_abandoned_searches
  (user_id VARCHAR, search_event_id VARCHAR, searched_at TIMESTAMP, query VARCHAR, destination VARCHAR,
   trigger_window DATE, hours_since_search DOUBLE, marketing_consent BOOLEAN);
CREATE OR REPLACE TABLE activation.act_crm_user_segments AS
  SELECT user_id, segment, lifetime_revenue, conversions, last_seen_at, 'CA' AS country FROM marts.mart_user_segments;
CREATE OR REPLACE TABLE activation.act_abandoned_search_emails
  (idempotency_key VARCHAR, user_id VARCHAR, email VARCHAR, name VARCHAR, locale VARCHAR, time_zone VARCHAR,
   query VARCHAR, destination VARCHAR, searched_at TIMESTAMP);
CREATE OR REPLACE TABLE activation.act_recommendations AS SELECT * FROM marts.mart_recommendations;
"""
