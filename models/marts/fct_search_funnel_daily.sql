/* The funnel of people, without bots: one row per day, platform, device, country and channel. */
MODEL (
  name marts.fct_search_funnel_daily,
  owner product,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column search_date,
    partition_by_time_column FALSE
  ),
  grain (search_date, platform, device_type, country, channel),
  audits (
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (search_date, platform, device_type, country, channel)),
    NOT_NULL(columns := (search_date, channel, searches, revenue)),
    ASSERT_NEVER(
      condition := searches_with_conversion > searches_with_click
      OR searches_with_click > searches
      OR searches_with_results + zero_result_searches > searches
    )
  )
);

SELECT
  search_date::DATE AS search_date, /* Day of the searches, UTC */
  platform::TEXT AS platform, /* Platform of the searches; null is unknown */
  device_type::TEXT AS device_type, /* Device type of the searches; null is unknown */
  country::TEXT AS country, /* Country of the searches; null is unknown */
  channel::TEXT AS channel, /* What brought the visitors */
  COUNT(*)::BIGINT AS searches, /* Searches */
  COUNT(CASE WHEN has_results THEN 1 END)::BIGINT AS searches_with_results, /* ... that found something */
  COUNT(CASE WHEN clicks > 0 THEN 1 END)::BIGINT AS searches_with_click, /* ... that led to a click */
  SUM(clicks)::BIGINT AS clicks, /* Clicks on their results */
  COUNT(CASE WHEN conversions > 0 THEN 1 END)::BIGINT AS searches_with_conversion, /* ... that led to a booking */
  SUM(conversions)::BIGINT AS conversions, /* Bookings after those clicks */
  SUM(revenue)::DECIMAL(38, 4) AS revenue, /* Booked value of those bookings in the reporting currency */
  COUNT(CASE WHEN NOT has_results THEN 1 END)::BIGINT AS zero_result_searches, /* Searches that found nothing */
  COUNT(CASE WHEN lead_time_days <= @longest_lead_time_days THEN 1 END)::BIGINT AS searches_with_dates, /* Searches that said when the stay begins, at most three years ahead */
  COALESCE(SUM(CASE WHEN lead_time_days <= @longest_lead_time_days THEN lead_time_days END), 0)::BIGINT AS lead_time_days, /* Days from those searches to the stay, summed */
  COUNT(CASE WHEN lead_time_days > @longest_lead_time_days THEN 1 END)::BIGINT AS searches_with_far_dates /* Searches for a stay further ahead: left out of the lead time */
FROM marts.fct_search_funnel
WHERE
  NOT COALESCE(is_bot, FALSE) AND search_date BETWEEN @start_ds AND @end_ds
GROUP BY
  search_date,
  platform,
  device_type,
  country,
  channel
