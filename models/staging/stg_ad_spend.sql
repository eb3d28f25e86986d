/* Cost of campaigns, in the reporting currency: one row per day, source and campaign */
MODEL (
  name staging.stg_ad_spend,
  kind VIEW,
  cron '@daily',
  allow_partials FALSE,
  grain (spend_date, utm_source, utm_campaign),
  audits (
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (spend_date, utm_source, utm_campaign)),
    NOT_NULL(columns := (
      spend_date
    )),
    NOT_NULL(columns := (
      cost_reporting
    ), blocking := FALSE),
    ASSERT_NEVER(condition := cost_reporting < 0 OR impressions < 0 OR clicks < 0)
  )
);

/* A day that arrives again replaces that day, as a whole. Cost goes through text: the digits that were sent, which a cast of the
double loses from 15 digits on */
WITH batches AS (
  SELECT
    spend_date,
    batch_id,
    ROW_NUMBER() OVER (PARTITION BY spend_date ORDER BY MAX(ingested_at) DESC, batch_id DESC) AS newest
  FROM raw.ad_spend
  GROUP BY
    spend_date,
    batch_id
)
SELECT
  spend.spend_date::DATE AS spend_date, /* Day of the spending */
  spend.utm_source::TEXT AS utm_source, /* The source on which the money was spent */
  spend.utm_campaign::TEXT AS utm_campaign, /* The campaign on which it was spent */
  SUM(ROUND(@TO_DECIMAL(spend.cost::TEXT, 38, 4) * rates.rate_to_reporting, 2))::DECIMAL(38, 4) AS cost_reporting, /* Cost in the reporting currency; null for a currency without a rate */
  SUM(spend.impressions)::DECIMAL(38, 0) AS impressions, /* How often the ad was shown */
  SUM(spend.clicks)::DECIMAL(38, 0) AS clicks /* How often the ad was clicked */
FROM raw.ad_spend AS spend
INNER JOIN batches
  ON batches.spend_date = spend.spend_date AND batches.batch_id = spend.batch_id AND batches.newest = 1
LEFT JOIN staging.stg_fx_rates AS rates
  ON rates.currency = UPPER(spend.currency)
  AND spend.spend_date BETWEEN rates.valid_from AND rates.valid_to
GROUP BY
  spend.spend_date,
  spend.utm_source,
  spend.utm_campaign
