AUDIT (
  name expected_clicks_are_clicks
);

/* Over all searches the curve expects as many clicks as there were: what is learnt from them cannot be off in sum. */
SELECT
  SUM(searches_with_click) AS clicks,
  SUM(expected_clicks) AS expected_clicks
FROM @this_model
HAVING
  ABS(SUM(searches_with_click) - SUM(expected_clicks)) > 0.001 + 0.000001 * SUM(searches_with_click)
