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

/* No row of the days just made is without a value. For views, which SQLMesh does not cut to those days by itself. */
SELECT
  *
FROM @this_model
WHERE
  @time >= @start_ts::TIMESTAMP
  AND @time <= @end_ts::TIMESTAMP
  AND (
    @OR(@EACH(@columns, c -> c IS NULL))
  );

AUDIT (
  name assert_not_negative
);

/* No row of the days just made has a value below zero; null is allowed. For views, as assert_known. */
SELECT
  *
FROM @this_model
WHERE
  @time >= @start_ts::TIMESTAMP
  AND @time <= @end_ts::TIMESTAMP
  AND (
    @OR(@EACH(@columns, c -> c < 0))
  )
