/* Exchange rates: one row per currency and range of days */
MODEL (
  name seeds.fx_rates,
  kind SEED (
    path '$root/seeds/fx_rates.csv'
  ),
  columns (
    currency TEXT,
    valid_from TEXT,
    valid_to TEXT,
    rate_to_cad DECIMAL(18, 8)
  ),
  column_descriptions (
    currency = 'ISO 4217 code',
    valid_from = 'First day of the rate',
    valid_to = 'Last day of the rate',
    rate_to_cad = 'Canadian dollars for one unit; yearly averages, rounded: replace them with your treasury''s'
  ),
  ignored_rules ['nomissingunittest'],
  grain (currency, valid_from),
  audits (
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (currency, valid_from)),
    NOT_NULL(columns := (currency, valid_from, valid_to, rate_to_cad)),
    ASSERT_NEVER(condition := rate_to_cad <= 0 OR valid_to < valid_from)
  )
)
