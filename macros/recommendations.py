"""The one rule that scores destinations for users, as of any moment: for today's lists and for their evaluation."""

from sqlglot import exp, parse_one
from sqlmesh import macro

# A visitor counts for a pair as much as for the weaker of their two interests. Likeness is the cosine: a place that
# everybody looks at is not like everything; it lies between 0 and 1, and is 1 for the place itself. Nobody is offered
# what they just booked.
SCORES = """
WITH interests AS (
  SELECT as_of, visitor_id, destination, MAX(user_id) AS user_id, SUM(interest) AS interest, SUM(bookings) AS bookings
  FROM looks
  GROUP BY as_of, visitor_id, destination
), askers AS (
  SELECT DISTINCT as_of, user_id
  FROM asked
  WHERE NOT user_id IS NULL
), popularity AS (
  SELECT as_of, destination, SUM(interest) AS interest
  FROM interests
  GROUP BY as_of, destination
), covisits AS (
  SELECT seen.as_of, seen.destination AS seen, other.destination AS other,
    SUM(LEAST(seen.interest, other.interest)) AS interest
  FROM interests AS seen
  INNER JOIN interests AS other
    ON other.as_of = seen.as_of AND other.visitor_id = seen.visitor_id AND other.destination <> seen.destination
  GROUP BY seen.as_of, seen.destination, other.destination
), likeness AS (
  SELECT covisits.as_of, covisits.seen, covisits.other,
    covisits.interest / SQRT(seen.interest * other.interest) AS likeness,
    ROW_NUMBER() OVER (
      PARTITION BY covisits.as_of, covisits.seen
      ORDER BY covisits.interest / SQRT(seen.interest * other.interest) DESC, covisits.other
    ) AS nearness
  FROM covisits
  INNER JOIN popularity AS seen ON seen.as_of = covisits.as_of AND seen.destination = covisits.seen
  INNER JOIN popularity AS other ON other.as_of = covisits.as_of AND other.destination = covisits.other
  UNION ALL
  SELECT as_of, destination, destination, 1.0, 0
  FROM popularity
), candidates AS (
  SELECT interests.as_of, interests.user_id, likeness.other AS destination,
    SUM(interests.interest * likeness.likeness) AS points
  FROM interests
  INNER JOIN likeness
    ON likeness.as_of = interests.as_of AND likeness.seen = interests.destination AND likeness.nearness <= :neighbours
  INNER JOIN askers ON askers.as_of = interests.as_of AND askers.user_id = interests.user_id
  GROUP BY interests.as_of, interests.user_id, likeness.other
  UNION ALL
  SELECT as_of, '__popular__', destination, interest
  FROM popularity
), offers AS (
  SELECT candidates.as_of, candidates.user_id, candidates.destination, candidates.points
  FROM candidates
  LEFT JOIN interests AS booked
    ON booked.as_of = candidates.as_of
    AND booked.user_id = candidates.user_id
    AND booked.destination = candidates.destination
    AND booked.bookings > 0
  WHERE booked.user_id IS NULL
), best AS (
  SELECT as_of, user_id, MAX(points) AS points
  FROM offers
  GROUP BY as_of, user_id
)
SELECT offers.as_of, offers.user_id, offers.destination, ROUND(offers.points / best.points, 3) AS score
FROM offers
INNER JOIN best ON best.as_of = offers.as_of AND best.user_id = offers.user_id
"""


@macro()
def recommendation_scores(evaluator, looks, asked=None):  # type: ignore[no-untyped-def]
    """Scores of destinations, above all by who looked at both: one row per moment, user ('__popular__' too) and destination.

    `looks` names a relation with as_of, visitor_id, user_id, destination, interest and bookings; only what was known at
    the moment `as_of` may be in it. A score is relative to the user's best, which has 1; one of 0 is no recommendation.
    All teach, but only users in `asked`, a relation with as_of and user_id, get a list; without it everybody does.
    Example: `FROM @RECOMMENDATION_SCORES(looks) AS scores` renders `FROM (WITH interests AS (...) SELECT ...) AS scores`.
    """
    query = parse_one(SCORES, dialect="duckdb")
    neighbours = exp.Literal.number(evaluator.var("recommendation_neighbours"))
    names = {"looks": looks.name, "asked": asked.name if asked is not None else looks.name}
    for place in query.find_all(exp.Placeholder):
        place.replace(neighbours.copy())
    for table in query.find_all(exp.Table):
        if table.name in names:
            table.set("this", exp.to_identifier(names[table.name]))
    return query.subquery(copy=False)
