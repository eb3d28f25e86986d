AUDIT (
  name each_user_is_in_one_arm
);

/* No user is in both arms of an experiment: such a user would make both arms alike. */
SELECT
  assignments.sync,
  assignments.seed,
  COUNT(*) AS assignments
FROM ops.sync_assignments AS assignments
INNER JOIN @this_model AS experiments
  ON experiments.sync = assignments.sync AND experiments.seed = assignments.seed
GROUP BY
  assignments.sync,
  assignments.seed
HAVING
  COUNT(*) <> COUNT(DISTINCT assignments.unit)
