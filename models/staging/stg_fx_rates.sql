/* Exchange rates to the reporting currency: one row per currency and range of days */
MODEL (
  name staging.stg_fx_rates,
  kind VIEW,
  cron '@daily',
  allow_partials FALSE,
  grain (currency, valid_from),
  audits (
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (currency, valid_from)),
    NOT_NULL(columns := (
      rate_to_reporting
    )),
    ASSERT_NEVER(condition := rate_to_reporting <= 0 OR rate_to_reporting > 1000000000)
  )
);

SELECT
  rates.currency::TEXT AS currency, /* ISO 4217 code */
  rates.valid_from::DATE AS valid_from, /* First day of the rate */
  rates.valid_to::DATE AS valid_to, /* Last day of the rate */
  (
    rates.rate_to_cad / reporting.rate_to_cad
  )::DECIMAL(18, 8) AS rate_to_reporting /* Reporting currency for one unit */
FROM seeds.fx_rates AS rates
INNER JOIN seeds.fx_rates AS reporting
  ON reporting.valid_from = rates.valid_from AND reporting.currency = @reporting_currency
