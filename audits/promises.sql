AUDIT (
  name assert_never
);

/* No row is in a state that must not be: the condition names the wrong state. */
SELECT
  *
FROM @this_model
WHERE
  @condition;

AUDIT (
  name assert_known
);

/* No recent row is without a value. For views: SQLMesh would read all their history at each run. */
SELECT
  *
FROM @this_model
WHERE
  @time >= @execution_ts::TIMESTAMP - @DAYS(@audited_days)
  AND (
    @OR(@EACH(@columns, c -> c IS NULL))
  );

AUDIT (
  name assert_not_negative
);

/* No recent row has a value below zero; null is allowed. For views, as assert_known. */
SELECT
  *
FROM @this_model
WHERE
  @time >= @execution_ts::TIMESTAMP - @DAYS(@audited_days) AND (
    @OR(@EACH(@columns, c -> c < 0))
  );

AUDIT (
  name assert_recently_never
);

/* No recent row is in a state that must not be: the condition names the wrong state. For views, as assert_known. */
SELECT
  *
FROM @this_model
WHERE
  @time >= @execution_ts::TIMESTAMP - @DAYS(@audited_days) AND (
    @condition
  )
